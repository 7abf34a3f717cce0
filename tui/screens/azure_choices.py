"""How an Azure account is put together: ways to sign in, what to choose, what to make, each asked for by a dialog."""

from __future__ import annotations

import asyncio
from typing import Any

from textual import work

from tui.azure_text import FIXES, IDENTITIES, IN_SENTENCES, SIGN_IN
from tui.azurework import Task
from tui.format import one_line
from tui.screens.azure_page import AzurePage

Plain = dict[str, Any]
NEW = "new"
CHOICES = (
    ("subscription", "Subscription", "who pays"),
    ("resource_group", "Resource group", "where everything lies; made here if you like"),
    ("project", "Project", "what jobs and endpoints belong to; made here if you like"),
    ("tenant", "Tenant", "of the identity, where it has more than one"),
)
FREE = "It is free; what is put into it may cost."
HUB_COST = (
    "Azure makes a hub with a storage account and a key vault, and a project in it. The hub is free, the storage and "
    "the vault are charged by what they hold: mostly cents a month. AI Search, which bills by the hour, is skipped."
)
SERVICES_COST = (
    "AI services cost nothing until they are used, then by the call; fine-tuning uses none of them."
)
NO_SERVICES = "No AI services are connected."
NONE = "none"


class AzureChoices(AzurePage):
    """The part of the checklist that changes something."""

    # -- what a line offers

    def fix_of(self, line: Plain) -> str:
        """What can be done about a line; empty while something is being done, or where nobody here can."""
        verb = str(line["fix"])
        return verb if verb.partition(" ")[0] in FIXES and self.desk.task is None else ""

    def fix(self, line: Plain) -> None:
        """Do what a line offers, with a question where something is made."""
        verb, _, what = str(line["fix"]).partition(" ")
        if verb == "register":
            self._register(what, line["meaning"])
        elif verb == SIGN_IN:
            self.action_sign_in()
        elif verb == "choose":
            self._choose("project" if line["key"] == "project" else "subscription")
        elif verb == "connect_ai_services":
            self._connect()
        else:
            self._choose("resource_group" if verb == "create_group" else "project")

    @work(group="ask")
    async def _register(self, namespace: str, meaning: str) -> None:
        from tui.widgets.dialogs import Confirm

        loses = f"{meaning} Registering is free, takes some minutes and changes nothing that is there."
        if await self.app.push_screen_wait(Confirm(f"Register {namespace}?", loses, "Register")):
            task = Task("fix", f"registering {namespace}")
            self.desk.begin(self.finetui, task, "fix", self._fixed, action=f"register {namespace}")

    def _fixed(self, account: Plain) -> None:
        """Something was registered or made, and chosen."""
        self.desk.account = account
        self.desk.forget()

    # -- signing in

    @work(group="ask")
    async def action_sign_in(self) -> None:
        from core.azure.account import IN_WORDS
        from tui.widgets.dialogs import Choose

        options = [(name, title, IN_WORDS[name]) for name, title in IDENTITIES.items()]
        current = str(self.desk.account.get("identity", ""))
        identity = await self.app.push_screen_wait(Choose("Sign in by", options, current))
        if identity is not None:
            self._sign_in(identity)

    def _sign_in(self, identity: str) -> None:
        task = Task(SIGN_IN, f"signing in by {IN_SENTENCES[identity]}")
        self.desk.begin(self.finetui, task, "sign_in", self._signed_in, identity=identity)

    def _signed_in(self, found: Plain) -> None:
        self.desk.account, self.desk.signed_in, self.desk.who = found, True, found
        self.desk.forget()
        user = f" as {one_line(found['user'])}" if found["user"] else ""
        self.finetui.notify(f"Signed in{user} by {found['identity_words']}.")

    async def settle(self) -> None:
        """Choose what there is but one of."""
        for name, listed in (
            ("subscription", "subscriptions"),
            ("resource_group", "groups"),
            ("project", "projects"),
        ):
            if name not in self.desk.account["missing"]:
                continue
            found = await self.answer(self.desk.ask(listed))
            if found is None or len(found) != 1:
                break
            await self.answer(self.desk.choose(**self._values(name, found[0])))

    # -- choosing

    @work(group="ask")
    async def action_choose(self) -> None:
        from tui.widgets.dialogs import Choose

        account = self.desk.account
        options = [(name, title, str(account[name]) or words) for name, title, words in CHOICES]
        first = account["missing"][0] if account["missing"] else "subscription"
        name = await self.app.push_screen_wait(Choose("Choose", options, first))
        if name == "tenant":
            await self._choose_tenant()
        elif name is not None:
            self._choose(name)

    async def _choose_tenant(self) -> None:
        from tui.widgets.dialogs import Ask

        note = "Id or domain of the Entra tenant. Signing in again follows."
        tenant = await self.app.push_screen_wait(
            Ask("Tenant", self.desk.account["tenant"], "contoso.com", note)
        )
        if tenant and tenant.strip():
            await self.answer(self.desk.choose(tenant=tenant.strip()))
            self._sign_in(self.desk.account["identity"])

    @work(group="ask")
    async def _choose(self, name: str) -> None:
        """Choose a subscription, a group or a project, or make one of the latter two."""
        from tui.widgets.dialogs import Choose

        if name != "subscription" and not self.desk.account["subscription"]:
            name = "subscription"
        lists = {"subscription": "subscriptions", "resource_group": "groups", "project": "projects"}
        found = await self.answer(self.desk.ask(lists[name]))
        if found is None:
            return
        options = [(str(at), item["name"], _about(name, item)) for at, item in enumerate(found)]
        if name != "subscription":
            options.append((NEW, "a new one ...", "made by Azure, after a question"))
        title = next(title for key, title, _ in CHOICES if key == name)
        key = "id" if name == "subscription" else "name"
        here = [str(at) for at, item in enumerate(found) if item[key] == self.desk.account[name]]
        chosen = await self.app.push_screen_wait(Choose(title, options, here[0] if here else ""))
        if chosen == NEW:
            await (self._make_group() if name == "resource_group" else self._make_project())
        elif chosen is not None:
            await self._keep(self._values(name, found[int(chosen)]))

    async def _keep(self, values: dict[str, str]) -> None:
        """Keep a choice, and what follows from it."""
        if await self.answer(self.desk.choose(**values)) is not None:
            self.begin()

    def _values(self, name: str, item: Plain) -> dict[str, str]:
        """What is kept when an item of a list is chosen.

        With a subscription its tenant, except for a sign-in by code: that holds for one tenant, and would be lost.
        """
        if name == "subscription":
            own = {"tenant": str(item["tenant"])} if self.desk.account["unattended"] else {}
            return {"subscription": item["id"], **own}
        if name == "resource_group":
            return {"resource_group": item["name"]}
        return {"resource_group": item["group"], "project": item["name"], "region": item["region"]}

    # -- making

    async def _make_group(self) -> None:
        from tui.widgets.dialogs import Ask, Confirm

        name = await self.app.push_screen_wait(Ask("Name of the resource group", "finetui"))
        region = await self._region() if name and name.strip() else None
        if not name or not region:
            return
        question = Confirm(f"Make the resource group {name.strip()} in {region}?", FREE, "Make it")
        if await self.app.push_screen_wait(question):
            task = Task("fix", f"making the resource group {name.strip()}")
            self.desk.begin(
                self.finetui,
                task,
                "fix",
                self._fixed,
                action="create_group",
                name=name.strip(),
                region=region,
            )

    async def _make_project(self) -> None:
        from tui.widgets.dialogs import Ask, Choose, Confirm

        if not self.desk.account["resource_group"]:
            self._choose("resource_group")
            return
        hubs = await self.answer(self.desk.ask("projects", hubs=True))
        name = (
            await self.app.push_screen_wait(Ask("Name of the project", "finetui-project"))
            if hubs is not None
            else None
        )
        if not name or not name.strip():
            return
        project = name.strip()
        options = [(item["name"], item["name"], item["region"]) for item in hubs or ()]
        new = f"{project}-hub"
        hub = (
            await self.app.push_screen_wait(Choose("Its hub", [*options, (NEW, f"a new one: {new}", "")]))
            if options
            else NEW
        )
        if hub is None:
            return
        there = next((item for item in hubs or () if item["name"] == hub), None)
        if there is None:
            new = (await self.app.push_screen_wait(Ask("Name of its hub", new)) or "").strip()
        region = there["region"] if there else await self._region() if new else None
        if not region:
            return
        what = (
            f"Make the project {project} in {region}, in the hub {hub}?"
            if there
            else f"Make the hub {new} and the project {project} in {region}?"
        )
        cost, services = "A project costs nothing.", ""
        if not there:
            wanted = await self._services(project, [(NONE, "none", "fine-tuning needs none")])
            if wanted is None:
                return
            services = wanted
            beside = f"{services} is connected: {SERVICES_COST}" if services else NO_SERVICES
            cost = f"{HUB_COST} {beside}"
        if await self.app.push_screen_wait(Confirm(what, cost, "Make it")):
            task = Task("fix", f"making the project {project}")
            self.desk.begin(
                self.finetui, task, "fix", self._fixed,
                action="create_project", name=project, hub=hub if there else new, region=region,
                ai_services=services,
            )  # fmt: skip

    @work(group="ask")
    async def _connect(self) -> None:
        """Connect AI services to the project's hub."""
        from tui.widgets.dialogs import Confirm

        name = await self._services(self.desk.account["project"], [])
        what = f"Connect the AI services account {name} to the project's hub?"
        if name is not None and await self.app.push_screen_wait(Confirm(what, SERVICES_COST, "Connect")):
            task = Task("fix", f"connecting the AI services account {name}")
            self.desk.begin(
                self.finetui, task, "fix", self._fixed, action="connect_ai_services", ai_services=name
            )

    async def _services(self, project: str, before: list[tuple[str, str, str]]) -> str | None:
        """Name of an AI services account, there or new; empty for none of them, None where there was no answer."""
        from tui.widgets.dialogs import Ask, Choose

        there = await self.answer(self.desk.ask("ai_services"))
        if there is None:
            return None
        options = [*before, *((str(at), item["name"], item["region"]) for at, item in enumerate(there))]
        new = (NEW, "a new one ...", "made by Azure, after a question")
        chosen = await self.app.push_screen_wait(Choose("Azure AI services", [*options, new]))
        if chosen == NEW:
            note = "It must be the only one in the world."
            name = await self.app.push_screen_wait(
                Ask("Name of the AI services account", f"{project.replace('_', '-')[:30]}-ai", note=note)
            )
            return (name or "").strip() or None
        if chosen in (None, NONE):
            return None if chosen is None else ""
        return str(there[int(chosen)]["name"])

    async def _region(self) -> str | None:
        """A region that tunes the form's model, or some model of the catalogue."""
        from tui.widgets.dialogs import Choose

        regions = await asyncio.to_thread(_regions, self.desk.model)
        options = [(name, name, f"tunes {models}") for name, models in regions.items()]
        return await self.app.push_screen_wait(Choose("Region", options, self.desk.account["region"]))


def _about(name: str, item: Plain) -> str:
    if name == "subscription":
        return f"{item['state'].lower()}, {item['id']}"
    if name == "resource_group":
        return str(item["region"])
    return f"{item['kind'].lower()} in {item['region']}" + (f", hub {item['hub']}" if item["hub"] else "")


def _regions(model: str) -> dict[str, str]:
    """Regions that can tune, with the models they tune; only those of one model where it has any."""
    from core import catalog

    entries = [
        entry
        for entry in catalog.entries()
        if entry.azure and entry.azure.tuned_in and not entry.azure.retired
    ]
    own = [entry for entry in entries if entry.id == model]
    found: dict[str, list[str]] = {}
    for entry in own or entries:
        for region in entry.azure.tuned_in if entry.azure else ():
            found.setdefault(region, []).append(entry.id)
    return {region: ", ".join(models) for region, models in found.items()}
