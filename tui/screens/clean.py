"""What can go from the disk, a page over the runs: marked, looked at, deleted for good."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import events, on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.errors import FinetuiError
from tui.actions import bindings
from tui.format import one_line, size
from tui.screens.page import Page
from tui.widgets.picklist import Pick, PickList
from tui.widgets.textpane import TextPane

if TYPE_CHECKING:
    from core.runs.clean import Item, Outcome

LOOKING = "Looking at what is there ..."
NOTHING = (
    "There is nothing to clean.\n\n"
    "Checkpoints that nothing needs, models, frozen rows and copies of files that no run uses, and deleted runs are "
    "listed here when there are any.\nesc goes back."
)


class CleanScreen(Page):
    """A list of what can go, with sizes and reasons."""

    MODE = "clean"
    OVER = "runs"
    HELP = (
        "What can go from the disk, by kind, the largest first. Proposed things come marked; others go only when you "
        "mark them. What a run at work, a deployment or a run to be resumed needs has no box: it stays."
    )
    HOME = "#picks"
    CSS_PATH = "clean.tcss"
    BINDINGS = bindings("clean")

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Item] = {}
        self.loaded = False
        self.freed = 0
        self.empty = Static(LOOKING, id="empty", markup=False)
        self.picks = PickList(id="picks")
        self.details = TextPane("", follow=False, id="details")

    def compose_body(self) -> Iterable[Widget]:
        yield self.empty
        yield self.picks
        yield self.details

    def on_mount(self) -> None:
        super().on_mount()
        self.context = "free space"
        self.set_class(True, "-empty")
        self._look()

    # -- what there is

    @work(thread=True, exclusive=True, group="look")
    def _look(self) -> None:
        from core.runs.clean import propose

        try:
            items = propose()
        except FinetuiError as error:
            self.app.call_from_thread(self._failed, error)
            return
        self.app.call_from_thread(self._show, items)

    def _failed(self, error: FinetuiError) -> None:
        self.empty.update(
            Content(NOTHING if self.loaded else f"{one_line(error.what)}\n\n{one_line(error.next_step)}")
        )
        self.finetui.show_error(error)

    def _show(self, items: list[Item]) -> None:
        from core.runs.clean import KINDS
        from tui.clean_text import why

        first, self.loaded = not self.loaded, True
        self.items = {item.id: item for item in items}
        picks: list[Pick] = []
        kind = ""
        for item in items:
            if item.kind != kind:
                kind = item.kind
                picks.append(Pick("", KINDS[kind]))
            note = why(item)
            picks.append(Pick(item.id, one_line(item.title), size(item.bytes), note, bool(item.held)))
        self.set_class(not items, "-empty")
        self.empty.update(Content(NOTHING))
        self.picks.show(picks, self._title())
        if first:
            self.picks.mark({item.id for item in items if item.proposed})
        self._say()

    def _title(self) -> str:
        marked = self.marked()
        freed = f"   {size(self.freed)} freed" if self.freed else ""
        free = sum(not item.held for item in self.items.values())
        return f"Can go  {free}   {len(marked)} marked, {size(sum(item.bytes for item in marked))}{freed}"

    def marked(self) -> list[Item]:
        """What is to go, in the order of the list."""
        return [item for item in self.items.values() if item.id in self.picks.marked]

    def _say(self) -> None:
        from tui.clean_text import details

        self.picks.border_title = Content(self._title())
        pick = self.picks.chosen
        item = self.items.get(pick.id) if pick else None
        self.details.title = one_line(item.title) if item else ""
        self.details.set_paragraphs(details(item) if item else [])
        self.details.show_titles()
        self.refresh_bindings()

    @on(PickList.Moved)
    @on(PickList.Marked)
    def _moved(self) -> None:
        self._say()

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self.picks.refresh)

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("delete", "copy"):
            return bool(self.picks.marked)
        if action in ("mark", "mark_all"):
            return bool(self.items)
        return super().check_action(action, parameters)

    def action_mark(self) -> None:
        self.picks.toggle()

    def action_mark_all(self) -> None:
        proposed = {item.id for item in self.items.values() if item.proposed}
        self.picks.mark(set() if self.picks.marked >= proposed and self.picks.marked else proposed)

    def action_refresh(self) -> None:
        self._look()

    def action_copy(self) -> None:
        self.finetui.copy(f"finetui clean {' '.join(shlex.quote(item.id) for item in self.marked())} --yes")

    @work(group="delete")
    async def action_delete(self) -> None:
        from tui.clean_text import loses
        from tui.widgets.dialogs import Confirm

        marked = self.marked()
        count = f"{len(marked)} things" if len(marked) > 1 else one_line(marked[0].title)
        question = Confirm(f"Delete {count} for good?", loses(marked), "Delete")
        if await self.app.push_screen_wait(question):
            self._remove([item.id for item in marked])

    @work(thread=True, exclusive=True, group="remove")
    def _remove(self, ids: list[str]) -> None:
        from core.runs.clean import propose, remove

        try:
            outcomes = remove(ids)
            items = propose()
        except FinetuiError as error:
            self.app.call_from_thread(self.finetui.show_error, error)
            return
        self.app.call_from_thread(self._removed, outcomes, items)

    def _removed(self, outcomes: list[Outcome], items: list[Item]) -> None:
        freed = sum(outcome.freed_bytes for outcome in outcomes)
        self.freed += freed
        self.finetui.notify(f"{size(freed)} freed")
        self._show(items)
        stayed = [outcome.error for outcome in outcomes if outcome.error is not None]
        if len(stayed) == 1:
            self.finetui.show_error(stayed[0])
        elif stayed:
            causes = "\n".join(f"{error.what} {error.cause}".strip() for error in stayed)
            self.finetui.show_error(FinetuiError(f"{len(stayed)} things stayed.", causes, "r looks again."))
