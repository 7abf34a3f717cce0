"""The project's serverless endpoints, finetui's and others: made, talked to, their keys changed, deleted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from time import time as now
from typing import Any

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.errors import FinetuiError
from tui.actions import bindings
from tui.azure_lists import bill, deploy_costs, deploy_terms, endpoint_details, endpoint_rows, per_hour
from tui.azurework import Desk, Task
from tui.format import count, one_line
from tui.screens.azure_page import AzurePage
from tui.widgets.table import Column, Table
from tui.widgets.textpane import TextPane

Plain = dict[str, Any]
ASKING = "Asking Azure for the endpoints ..."
NOT_SIGNED_IN = "The project is asked with your sign-in.\n\ntab tab goes to Get ready, where i signs in."
NONE_YET = (
    "No endpoints.\n\nAn endpoint answers with a model that was tuned in Azure. It is charged by the hour from the "
    "moment it is made, used or not.\nd deploys a tuned model."
)


class AzureEndpointsScreen(AzurePage):
    """The endpoints."""

    MODE = "azure_endpoints"
    HELP = (
        "All serverless endpoints of the project, also those that finetui did not make, with what an hour of each "
        "costs. An endpoint is charged from its making to its deletion, used or not; idle ones are marked. What is "
        "being made goes on when you leave the page."
    )
    HOME = "#endpoints"
    BINDINGS = bindings("azure_endpoints")

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.bill = Static("", id="bill", markup=False)
        self.empty = Static(ASKING, id="empty", markup=False)
        self.table = Table(
            (
                Column("name", "Endpoint", 0),
                Column("state", "State", 12),
                Column("model", "Model", 34, from_width=120),
                Column("cost", "An hour", 9, right=True),
                Column("use", "Use", 14),
                Column("safety", "Filter", 10, from_width=100),
                Column("by", "Made by", 9, from_width=120),
            ),
            id="endpoints",
        )
        self.details = TextPane("", follow=False, id="details")

    def compose_body(self) -> Iterable[Widget]:
        yield self.bill
        yield self.empty
        yield self.table
        yield self.details

    # -- the list

    async def load(self) -> None:
        if self.desk.signed_in:
            self.desk.endpoints = await self.answer(self.desk.ask("endpoints"))
            self.show()
        (verb, model), self.desk.wish = self.desk.wish, ("", "")
        if verb and self.desk.endpoints is not None:
            self._grant(verb, model)

    def _grant(self, verb: str, model: str) -> None:
        """Do what another screen wanted of a tuned model."""
        served = [item["model"] for item in self.desk.endpoints or ()]
        if model in served:
            self.table.go(served.index(model))
            if verb == "chat":
                self.action_chat()
        elif verb == "chat":
            self.finetui.show_error(_not_served(model))
        else:
            self._deploy(model)

    def show(self) -> None:
        endpoints = self.desk.endpoints or []
        self.show_empty(not endpoints)
        words = NONE_YET if self.desk.endpoints == [] else ASKING
        self.empty.update(Content(words if self.desk.signed_in else NOT_SIGNED_IN))
        warning = bill(endpoints)
        self.bill.update(warning)
        self.set_class(bool(warning), "-billed")
        self.table.show(endpoint_rows(endpoints, now()), f"Endpoints  {count(len(endpoints))}")
        self._show_endpoint()

    def endpoint(self) -> Plain | None:
        """The one under the cursor."""
        return next((item for item in self.desk.endpoints or () if item["name"] == self.table.chosen), None)

    @on(Table.Moved)
    def _show_endpoint(self) -> None:
        item = self.endpoint()
        if item is not None:
            self.details.title = one_line(item["name"])
            self.details.set_paragraphs(endpoint_details(item, now()))
            self.details.show_titles()
        self.refresh_bindings()

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        item, free = self.endpoint(), self.desk.task is None
        match action:
            case "deploy":
                return free and bool(self.desk.signed_in)
            case "look":
                return bool(self.desk.signed_in)
            case "delete":
                return free and item is not None
            case "rotate":
                return free and item is not None and bool(item["address"])
            case "chat":
                return item is not None and item["state"] == "Online"
            case "copy":
                return item is not None or bool(self.desk.code[1])
        return super().check_action(action, parameters)

    def action_look(self) -> None:
        self.desk.endpoints = None
        self.show()
        self.begin()

    @on(Table.Chosen)
    def action_chat(self) -> None:
        item = self.endpoint()
        if item is None or not self.check_action("chat", ()):
            return
        self.finetui.chat_with(f"azure:{item['name']}")

    def copied(self) -> str:
        item = self.endpoint()
        return str(item["address"] or item["name"]) if item else ""

    def action_deploy(self) -> None:
        self._deploy("")

    @work(group="ask")
    async def _deploy(self, chosen: str | None) -> None:
        """Choose a tuned model unless one is chosen, then its endpoint's name and filter, with the price beside."""
        from tui.screens.azure_dialogs import DeployDialog
        from tui.widgets.dialogs import Choose

        models = await self.answer(self.desk.ask("registered_models"))
        if models is None:
            return
        free = {f"{item['name']}:{item['version']}": item for item in models if not item["endpoint"]}
        if not free:
            self.finetui.show_error(_nothing_to_deploy(models))
            return
        options = [(key, key, f"run {item['run']}" if item["run"] else "") for key, item in free.items()]
        if len(free) == 1:
            chosen = next(iter(free))
        elif chosen not in free:
            chosen = await self.app.push_screen_wait(Choose("Deploy which model?", options))
        if not chosen:
            return
        item = free[chosen]
        costs = deploy_costs(await self._quotes(item["base"]), str(self.desk.account.get("region", "")))
        terms = deploy_terms(*await asyncio.to_thread(_licence, item["base"]))
        answer = await self.app.push_screen_wait(DeployDialog(chosen, _name(item["name"]), costs, terms))
        if answer is not None:
            name, safety = answer
            self.desk.begin(
                self.finetui, Task("deploy", f"deploying {name}"), "deploy", self._made,
                name=name, model=chosen, content_safety=safety, run=item["run"],
            )  # fmt: skip

    async def _quotes(self, base: str) -> Plain:
        """The quotes of a base model by their kind; unknown where the model is."""
        try:
            return await self.desk.prices(base)
        except FinetuiError as error:
            unknown = {"amount": None, "why": one_line(error.what), "asked": ""}
            return dict.fromkeys(("hosting", "input", "output"), unknown)

    def _made(self, endpoint: Plain) -> None:
        self.desk.forget_made()
        self.finetui.notify(
            f"{endpoint['name']} is {endpoint['state'].lower()}, and charged by the hour from now on."
        )

    @work(group="ask")
    async def action_rotate(self) -> None:
        from tui.widgets.dialogs import Choose, Confirm

        item = self.endpoint()
        if item is None:
            return
        name = item["name"]
        options = [("Primary", "primary", "the one that finetui uses"), ("Secondary", "secondary", "")]
        which = await self.app.push_screen_wait(Choose(f"New key for {one_line(name)}", options))
        if which is None:
            return
        loses = "Whoever has the old one is locked out at once. The new one is fetched when it is used, kept nowhere."
        if await self.app.push_screen_wait(Confirm(f"Make a new {which.lower()} key?", loses, "New key")):
            task = Task("rotate", f"making a new key for {name}")
            self.desk.begin(self.finetui, task, "rotate", self._rotated, name=name, which=which)

    def _rotated(self, found: Plain) -> None:
        self.finetui.notify(f"{found['rotated']} has a new {found['which'].lower()} key.")

    @work(group="ask")
    async def action_delete(self) -> None:
        from tui.widgets.dialogs import Confirm

        item = self.endpoint()
        if item is None:
            return
        name = item["name"]
        loses = (
            f"Its address and keys are gone for good. Its model {one_line(item['model'])} stays. It costs "
            f"{per_hour(item['hosting'])}."
        )
        if await self.app.push_screen_wait(
            Confirm(f"Delete the endpoint {one_line(name)}?", loses, "Delete")
        ):
            self.desk.begin(
                self.finetui, Task("undeploy", f"deleting {name}"), "undeploy", self._deleted, name=name
            )

    def _deleted(self, found: Plain) -> None:
        self.desk.forget_made()
        self.finetui.notify(f"{found['deleted']} is deleted and no longer charged.")


def _licence(base: str) -> tuple[str, str]:
    """A base model's licence, empty where the catalogue doesn't know it, and its partner, empty for Microsoft."""
    from core import catalog
    from core.azure.models import partner_of

    entry = catalog.by_registry_id(base)
    return entry.licence if entry else "", partner_of(base)


def _name(model: str) -> str:
    """A name for an endpoint, from its model's: letters, digits and hyphens only."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", model).strip("-")[:50].strip("-")


def _not_served(model: str) -> FinetuiError:
    return FinetuiError(
        f"No endpoint serves {model}.",
        "A model in Azure answers behind an endpoint only, and that is charged by the hour.",
        "d deploys it, after its price.",
    )


def _nothing_to_deploy(models: list[Plain]) -> FinetuiError:
    if models:
        served = ", ".join(f"{item['name']}:{item['version']} by {item['endpoint']}" for item in models)
        return FinetuiError(
            "Every tuned model has its endpoint.",
            f"Azure gives a tuned model one: {served}.",
            "enter talks to the one under the cursor.",
        )
    return FinetuiError(
        "There is no tuned model in this project yet.", "", "esc goes to the form: a run in Azure makes one."
    )
