"""Everything finetui made in Azure, with what it costs: marked, looked at, deleted for good."""

from __future__ import annotations

from collections.abc import Iterable
from time import time as now
from typing import Any

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.errors import FinetuiError
from tui.actions import bindings
from tui.azure_lists import in_use, loses, thing_details, thing_picks
from tui.azurework import Desk, Task
from tui.format import count, one_line
from tui.screens.azure_page import AzurePage
from tui.widgets.picklist import PickList
from tui.widgets.textpane import TextPane

Plain = dict[str, Any]
ASKING = "Asking Azure for what finetui made ..."
NOT_SIGNED_IN = "The project is asked with your sign-in.\n\ntab goes to Get ready, where i signs in."
NOTHING = (
    "Nothing of finetui's is in this project.\n\nEndpoints, tuned models, uploaded rows and jobs are listed here when "
    "there are any, with what they cost."
)


class AzureSweepScreen(AzurePage):
    """What can be deleted in Azure."""

    MODE = "azure_sweep"
    HELP = (
        "Everything that finetui made in this project: endpoints, tuned models, uploaded rows, jobs, with what each "
        "costs. What you mark is deleted after a question, endpoints before the models they serve. A model that an "
        "endpoint serves stays until that endpoint goes."
    )
    HOME = "#picks"
    BINDINGS = bindings("azure_sweep")

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.empty = Static(ASKING, id="empty", markup=False)
        self.picks = PickList(id="picks")
        self.details = TextPane("", follow=False, id="details")

    def compose_body(self) -> Iterable[Widget]:
        yield self.empty
        yield self.picks
        yield self.details

    # -- the list

    @property
    def things(self) -> dict[str, Plain]:
        """What there is, by its key."""
        return {thing["key"]: thing for thing in self.desk.things or ()}

    async def load(self) -> None:
        if self.desk.signed_in:
            found = await self.answer(self.desk.ask("sweep"))
            self.desk.things = found["things"] if found else None
            if found and found["not_listed"]:
                self.problem.show_error(_not_listed(found["not_listed"]))
            self.show()

    def show(self) -> None:
        things = self.desk.things or []
        self.show_empty(not things)
        words = NOTHING if self.desk.things == [] else ASKING
        self.empty.update(Content(words if self.desk.signed_in else NOT_SIGNED_IN))
        self.picks.show(thing_picks(things), self._title())
        self._say()

    def _title(self) -> str:
        return f"Made by finetui  {count(len(self.things))}   {count(len(self.picks.marked))} marked"

    @on(PickList.Moved)
    @on(PickList.Marked)
    def _say(self) -> None:
        self.picks.border_title = Content(self._title())
        pick = self.picks.chosen
        thing = self.things.get(pick.id) if pick else None
        self.details.title = f"{thing['kind'].replace('_', ' ')} {one_line(thing['name'])}" if thing else ""
        self.details.set_paragraphs(thing_details(thing, now()) if thing else [])
        self.details.show_titles()
        self.refresh_bindings()

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "delete":
            return bool(self.picks.marked) and self.desk.task is None
        if action in ("mark", "mark_all"):
            return bool(self.things)
        if action == "look":
            return bool(self.desk.signed_in)
        if action == "copy":
            return bool(self.picks.marked or self.desk.code[1])
        return super().check_action(action, parameters)

    def action_mark(self) -> None:
        self.picks.toggle()

    def action_mark_all(self) -> None:
        free = {key for key, thing in self.things.items() if not thing["stays"]}
        self.picks.mark(set() if self.picks.marked >= free else free)

    def action_look(self) -> None:
        self.desk.things = None
        self.show()
        self.begin()

    def copied(self) -> str:
        marked = [thing for key, thing in self.things.items() if key in self.picks.marked]
        return "\n".join(f"{thing['key']}  {thing['cost']}" for thing in marked)

    @work(group="ask")
    async def action_delete(self) -> None:
        from tui.widgets.dialogs import Confirm

        wanted = set(self.picks.marked)
        await self.load()  # a command may have made or deleted something since it was listed
        marked = [thing for key, thing in self.things.items() if key in self.picks.marked]
        if self.desk.things is not None and len(marked) < len(wanted):
            self.finetui.notify(
                f"{count(len(wanted) - len(marked))} of those marked can't be deleted any more."
            )
        if not marked:
            return
        for thing in marked:
            if user := in_use(thing, self.picks.marked):
                self.finetui.show_error(_kept(thing, user))
                return
        what = (
            f"{count(len(marked))} things"
            if len(marked) > 1
            else f"the {marked[0]['kind']} {one_line(marked[0]['name'])}"
        )
        if await self.app.push_screen_wait(Confirm(f"Delete {what} in Azure?", loses(marked), "Delete")):
            task = Task("sweep", f"deleting {count(len(marked))} in Azure")
            keys = [thing["key"] for thing in marked]
            self.desk.begin(self.finetui, task, "sweep_delete", self._deleted, keys=keys)

    def _deleted(self, found: Plain) -> None:
        self.desk.forget_made()
        self.finetui.notify(f"{count(found['deleted'])} deleted in Azure.")


def _not_listed(errors: list[Plain]) -> FinetuiError:
    """What Azure refused to list; what it did list stands in the list all the same."""
    causes = "\n".join(f"{error['what']} {error['cause']}".strip() for error in errors)
    return FinetuiError("This is not all of it.", causes, "r asks again.")


def _kept(thing: Plain, user: str) -> FinetuiError:
    """Why a model stays."""
    return FinetuiError(
        f"The model {thing['name']} is in use.",
        f"The endpoint {user} serves it.",
        f"space on the endpoint {user} marks it too: it goes first. Or x on Endpoints deletes it alone.",
    )
