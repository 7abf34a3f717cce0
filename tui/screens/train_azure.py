"""The form's part of Azure: whose account it is, what a run costs there, and the way to the Azure pages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from textual import work

from core.errors import FinetuiError
from tui.azure_text import form_note
from tui.screens.train_actions import TrainActions

if TYPE_CHECKING:
    from core.pipes import PipeClient
    from core.recipe import Recipe
    from tui.azurework import Desk

AZURE = "azure"


class TrainAzure(TrainActions):
    """The Train screen with Azure behind a key."""

    def __init__(self) -> None:
        super().__init__()
        self._desk: Desk | None = None
        self._looking = False

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

        assert self.form is not None
        self.desk.model = await asyncio.to_thread(_in_registry, str(self.form.values.get("model", "")))
        self.app.push_screen(page("azure", self.desk))

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
        """Whether the user wants a job in Azure, after its price."""
        from tui.plan_text import spends
        from tui.planning import check
        from tui.widgets.dialogs import Confirm

        sizes = (await check(self.planner(), recipe)).remote
        assert sizes is not None
        quotes: dict[str, Any] = await self.desk.prices(recipe.model)
        return await self.app.push_screen_wait(
            Confirm("Send this run to Azure?", spends(sizes, quotes), "Send")
        )

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
