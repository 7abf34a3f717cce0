"""Azure's registry of models: what can be tuned, where, for how much, and what is retired."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from core.errors import FinetuiError
from tui.actions import bindings
from tui.azure_lists import model_details, model_rows, sorted_models
from tui.azurework import Desk
from tui.format import count, one_line
from tui.screens.azure_page import AzurePage
from tui.widgets.field import Field
from tui.widgets.table import Column, Table
from tui.widgets.textpane import TextPane

ASKING = "Asking Azure's registry ..."
NOT_SIGNED_IN = "The registry is asked with your sign-in.\n\n[ goes to Get ready, where i signs in."
NO_MATCH = (
    "No model of the registry has all of these words in its name: {words}\n\n"
    "/ changes them; empty shows those that finetui knows."
)


class AzureModelsScreen(AzurePage):
    """The models."""

    MODE = "azure_models"
    HELP = (
        "Models of Azure's registry, asked live: what each can be tuned for, in which regions, its context, licence "
        "and price, and whether Azure has retired it. Without words those are shown that finetui knows. enter takes "
        "the model under the cursor into the form of a new run in Azure."
    )
    HOME = "#models"
    BINDINGS = bindings("azure_models")

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.search = Field(
            placeholder="parts of the name, e.g. phi 4 mini", id="search", select_on_focus=True
        )
        self.empty = Static(ASKING, id="empty", markup=False)
        self.table = Table(
            (
                Column("name", "Model", 26),
                Column("state", "Tuning", 0),
                Column("context", "Context", 7, right=True),
                Column("licence", "Licence", 12, from_width=100),
                Column("training", "1M tokens", 11, from_width=120, right=True),
                Column("hosting", "Endpoint/h", 11, from_width=120, right=True),
            ),
            id="models",
        )
        self.details = TextPane("", follow=False, id="details")
        self.prices: dict[str, dict[str, Any]] = {}

    def compose_body(self) -> Iterable[Widget]:
        yield self.search
        yield self.empty
        yield self.table
        yield self.details

    @property
    def place(self) -> str:
        """Where the project lies."""
        return str(self.desk.account.get("region", ""))

    # -- the list

    async def load(self) -> None:
        if self.desk.models is None and self.desk.signed_in:
            await self._ask("")
        else:
            self._price()

    async def _ask(self, words: str) -> None:
        self.empty.update(Content(ASKING))
        self.desk.models, self.desk.words = None, words
        self.show()
        found = await self.answer(self.desk.ask("models", words=words))
        self.desk.models = None if found is None else sorted_models(found, self.place)
        self.show()
        self._price()

    @work(exclusive=True, group="price")
    async def _price(self) -> None:
        """Ask for the prices one after the other; a list that can't be had makes them unknown, and says why."""
        for model in self.desk.models or ():
            if model["regions"] and model["name"] not in self.prices:
                try:
                    self.prices[model["name"]] = await self.desk.prices(model["id"])
                except FinetuiError as error:
                    self.problem.show_error(error)
                    return
                self.show()

    def show(self) -> None:
        models = self.desk.models
        self.show_empty(not models)
        if models is None and not self.desk.signed_in:
            self.empty.update(Content(NOT_SIGNED_IN))
        elif models == []:
            self.empty.update(Content(NO_MATCH.format(words=one_line(self.desk.words))))
        found = f"   named {one_line(self.desk.words)}" if self.desk.words else "   / searches the registry"
        self.table.show(
            model_rows(models or (), self.place, self.prices), f"Models  {count(len(models or ()))}{found}"
        )
        self._show_model()

    def model(self) -> dict[str, Any] | None:
        """The one under the cursor."""
        return next((item for item in self.desk.models or () if item["name"] == self.table.chosen), None)

    @on(Table.Moved)
    def _show_model(self) -> None:
        model = self.model()
        if model is not None:
            self.details.title = one_line(model["title"])
            self.details.set_paragraphs(model_details(model, self.place, self.prices.get(model["name"])))
            self.details.show_titles()
        self.refresh_bindings()

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("use", "copy"):
            return self.model() is not None or (action == "copy" and bool(self.desk.code[1]))
        if action in ("search", "look"):
            return bool(self.desk.signed_in)
        return super().check_action(action, parameters)

    def action_search(self) -> None:
        self.add_class("-searching")
        self.search.value = self.desk.words
        self.set_focus(self.search)

    @on(Input.Submitted, "#search")
    def _search(self, event: Input.Submitted) -> None:
        self.remove_class("-searching")
        self.go_home()
        self._find(event.value.strip())

    @work(exclusive=True, group="begin")
    async def _find(self, words: str) -> None:
        await self._ask(words)

    def action_look(self) -> None:
        self.prices.clear()
        self._find(self.desk.words)

    def action_back(self) -> None:
        """`esc` leaves the search before the page."""
        if self.typing:
            self.remove_class("-searching")
            self.go_home()
        else:
            self.close_overlay()

    @on(Table.Chosen)
    def _entered(self) -> None:
        self.action_use()

    def action_use(self) -> None:
        """Take the model into the form; one that Azure has retired names what follows it."""
        model = self.model()
        if model is None:
            return
        if model["retired"]:
            after = f" {model['successor']} follows it." if model["successor"] else ""
            local = (
                " On this machine it can still be trained (b on the form)." if model["catalogue_id"] else ""
            )
            self.finetui.notify(
                f"Azure retired the tuning of {model['name']} on {model['retired']}.{after}{local}",
                severity="warning",
            )
            return
        self.close_overlay()
        self.desk.use(model["catalogue_id"] or model["id"])

    def copied(self) -> str:
        model = self.model()
        return str(model["id"]) if model else ""
