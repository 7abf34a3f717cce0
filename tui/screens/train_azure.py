"""The form's part of Azure: whose account it is, what a run costs there, and the way to the Azure pages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import work

from core.errors import FinetuiError
from tui.azure_text import form_note
from tui.format import one_line
from tui.screens.train_actions import TrainActions

if TYPE_CHECKING:
    from core.azure.account import Account
    from core.pipes import PipeClient
    from core.recipe import Recipe
    from tui.azurework import Desk

AZURE = "azure"
CODE_FIRST = " The run signs in by itself: the monitor shows a code, and nothing is sent before it is typed."


class TrainAzure(TrainActions):
    """The Train screen with Azure behind a key."""

    def __init__(self) -> None:
        super().__init__()
        self._desk: Desk | None = None
        self._looking = False
        self._ready: bool | None = None

    def on_screen_resume(self) -> None:
        """The plan says what the checklist found meanwhile."""
        if self._desk is None or not self.on_azure or self.form is None:
            return
        ready = self._desk.ready(str(self.form.values.get("model", "")))
        if ready != self._ready:
            self._ready = ready
            self.form_changed()

    @property
    def desk(self) -> Desk:
        """What the Azure pages share; it lives as long as the form."""
        from tui.azurework import Desk

        if self._desk is None:
            self._desk = Desk(self.use_model)
        return self._desk

    @property
    def on_azure(self) -> bool:
        """Whether the form is for a run in Azure."""
        return self.form is not None and self.form.values.get("backend") == AZURE

    @property
    def current_field(self) -> str:
        """Name of the field under the cursor."""
        raise NotImplementedError

    def form_changed(self) -> None:
        """Draw the form anew."""
        raise NotImplementedError

    def planner(self) -> PipeClient:
        """The planner process, started with the first question."""
        raise NotImplementedError

    def use_model(self, model: str) -> None:
        """Set the form to a model of Azure's registry, trained there; one step of undo."""
        assert self.form is not None
        self.form.replace({**self.form.values, "model": model, "backend": AZURE})
        self.form_changed()

    @work(exclusive=True, group="azure")
    async def action_azure(self) -> None:
        from tui.screens.azure_page import page

        values = self.form.values if self.form is not None else {}
        self.desk.model = await asyncio.to_thread(_in_registry, str(values.get("model", "")))
        self.app.push_screen(page("azure", self.desk))

    @work(exclusive=True, group="azure")
    async def action_asset(self) -> None:
        """Choose a data asset for the field under the cursor where that takes rows, else for `data`."""
        from time import time

        from tui.azure_lists import asset_options
        from tui.widgets.dialogs import Choose

        try:
            found = await self.desk.ask("assets")
        except FinetuiError as error:
            self.finetui.show_error(error)
            return
        options = asset_options(found, time())
        if not options:
            self.finetui.notify("The project has no data asset yet: a run uploads its rows as one.")
            return
        assert self.form is not None
        field = "validation" if self.current_field == "validation" else "data"
        chosen = await self.app.push_screen_wait(Choose(f"Data asset for {field}", options))
        if chosen is not None:
            self.form.set(field, chosen if field == "validation" else [chosen])
            self.form_changed()
            await self._look_at(chosen)

    async def _look_at(self, ref: str) -> None:
        """Fetch and check the rows of a data asset, so that the plan can count them."""
        from tui.azure_lists import looked_at

        assert self.form is not None
        try:
            found = await self.desk.ask("asset", ref=ref, task=str(self.form.values.get("task", "chat")))
        except FinetuiError as error:
            self.finetui.show_error(error)
            return
        self.finetui.notify(
            looked_at(found), severity="warning" if found["faults"] or found["why"] else "information"
        )
        self.form_changed()

    def to_endpoints(self, wish: tuple[str, str]) -> None:
        """Open the endpoints with something to be done there: (verb, `name:version` of a tuned model)."""
        from tui.screens.azure_page import AzurePage, page

        self.desk.wish = wish
        made = page("azure_endpoints", self.desk)
        if isinstance(self.app.screen, AzurePage):
            self.app.switch_screen(made)
        else:
            self.app.push_screen(made)

    def azure_note(self) -> str:
        """What is said beside the backend; asks who is signed in when nobody has yet."""
        from core.azure.account import note

        if self.desk.signed_in is None and not self._looking:
            self._looking = True
            self._look()
        words = form_note(self.desk.account, self.desk.signed_in)
        return f"{note()}: {words}" if note() else words

    @work(group="look")
    async def _look(self) -> None:
        try:
            await self.desk.look()
        except FinetuiError as error:
            self.desk.signed_in, self.desk.why = False, error.as_dict()
        self._looking = False
        self.form_changed()

    async def may_spend(self, recipe: Recipe) -> bool:
        """Whether the user wants a job in Azure, after its price; asked again where the account in use, which the
        run takes, has become another meanwhile."""
        from core.azure.account import UNATTENDED
        from tui.plan_text import spends
        from tui.planning import check
        from tui.widgets.dialogs import Confirm

        account, note = await self._account_now(), ""
        while True:
            await self._look_for(recipe)
            sizes = (await check(self.planner(), recipe.absolute(Path.cwd()))).remote
            quotes: dict[str, Any] = await self.desk.prices(recipe.model)
            words = note + spends(recipe, sizes, quotes)
            if account.identity not in UNATTENDED:
                words += CODE_FIRST
            if not await self.app.push_screen_wait(Confirm("Send this run to Azure?", words, "Send")):
                return False
            asked, account = account, await self._account_now()
            if account == asked:
                return True
            note = (
                "The account was changed meanwhile, elsewhere: the run goes to the project "
                f"{one_line(account.project) or '(none is chosen)'} in {one_line(account.region) or 'no region'}. "
            )

    async def _look_for(self, recipe: Recipe) -> None:
        """Have the rows of the recipe's data assets here; one that is not there makes no run.

        Raises:
            FinetuiError: there is no such asset, or it has rows that Azure can't take.
        """
        from core.backends.azure_rows import not_looked_at
        from tui.azure_lists import looked_at

        for _, ref in await asyncio.to_thread(not_looked_at, recipe):
            found = await self.desk.ask("asset", ref=ref, task=recipe.value("task"))
            if found["faults"]:
                raise FinetuiError(f"{ref} can't be used.", looked_at(found), "Choose another: a lists them.")

    async def _account_now(self) -> Account:
        """The account in use, as another app or a command may have left it. Read here: the worker may be busy."""
        from core.azure import account

        found = await asyncio.to_thread(account.load)
        if any(self.desk.account.get(name) != value for name, value in found.as_dict().items()):
            self.desk.forget()
            self._look()
        return found

    async def close_desk(self) -> None:
        """End the Azure workers, if there are any."""
        if self._desk is not None:
            await self._desk.close()


def _in_registry(model: str) -> str:
    """The model, if Azure's registry has it as far as the catalogue knows; else empty."""
    from core.azure.models import registry_id

    try:
        registry_id(model)
    except FinetuiError:
        return ""
    return model
