"""The checklist: what an account needs before a model can be tuned, each line with its meaning, cost and remedy."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from core.azure import ai_services, choices, data, endpoints, known, models
from core.azure.clients import Azure, text
from core.azure.faults import SIGN_IN_NEEDED, AzureError, asking
from core.azure.marketplace import SUBSCRIBED, status
from core.azure.permissions import CONNECT, CREATE, DEPLOY, LEARNING, TRAIN, Grants, grants, missing_of

State = Literal["ok", "missing", "warning", "unknown", "waiting", "optional"]
NETWORK = "Microsoft.Network"
PROVIDERS = {
    NETWORK: "Azure's networks. The serverless service asks for it although nothing is made in it.",
    LEARNING: "Azure Machine Learning, whose part the serverless service is.",
}
FREE = "Nothing."
HUB_COST = "The hub is free; its storage account and key vault are charged by what they hold."


@dataclass(frozen=True)
class Line:
    """One line of the checklist.

    Args:
        key: its name for programs.
        title: what is looked at.
        state: ok; missing (forbids); warning (may hinder); unknown (Azure doesn't tell); waiting (for a line above);
            optional (not there, and not needed).
        found: what was found, or what is missing.
        meaning: what it is for.
        cost: what having it costs.
        fix: what repairs it: `register NAMESPACE`, `create_group`, `create_project`, `connect_ai_services`, `choose`,
            or empty.
        ask: whom to ask, where finetui can't.
    """

    key: str
    title: str
    state: State
    found: str = ""
    meaning: str = ""
    cost: str = FREE
    fix: str = ""
    ask: str = ""


class _Checks:
    """The lines, in the order in which each needs those before it."""

    def __init__(self, azure: Azure, model: str) -> None:
        self.azure = azure
        self.account = azure.account
        self.model = model
        self.group_there = False
        self.region = ""
        self.project_there = False
        self.held: Grants = []
        self.registered: set[str] = set()

    def steps(self) -> Iterator[tuple[str, str, Callable[[], Line]]]:
        """(key, title, look) of each line."""
        yield "subscription", "Subscription", self.subscription
        for namespace in PROVIDERS:
            yield f"provider {namespace}", f"Resource provider {namespace}", partial(self.provider, namespace)
        yield "group", "Resource group", self.group
        yield "role", "Your role", self.role
        yield "project", "Hub and project", self.project
        yield "region", "Region", self.region_line
        if models.partner_of(self.model):
            yield "marketplace", "Marketplace", self.marketplace
        yield "storage", "Storage", self.storage
        yield "quota", "Quota", self.quota
        yield "ai_services", "AI services", self.services

    def subscription(self) -> Line:
        meaning = "It pays."
        title = "Subscription"
        if not self.account.subscription:
            return Line("subscription", title, "missing", "None is chosen.", meaning, fix="choose")
        found = next(
            (it for it in choices.subscriptions(self.azure) if it.id == self.account.subscription), None
        )
        if found is None:
            words = f"{self.account.subscription} is not among those you can see."
            return Line("subscription", title, "missing", words, meaning, fix="choose", ask="An owner of it.")
        state: State = "ok" if found.state == "Enabled" else "missing"
        ask = "" if state == "ok" else "Its owner: it must be enabled in the Azure portal."
        return Line("subscription", title, state, f"{found.name} is {found.state.lower()}.", meaning, ask=ask)

    def provider(self, namespace: str) -> Line:
        key, title = f"provider {namespace}", f"Resource provider {namespace}"
        if not self.account.subscription:
            return _waiting(key, title, PROVIDERS[namespace])
        with asking(title):
            state = text(self.azure.resources.providers.get(namespace).registration_state)
        if state == "Registered":
            self.registered.add(namespace)
            return Line(key, title, "ok", "Registered.", PROVIDERS[namespace])
        return Line(key, title, "missing", f"{state}.", PROVIDERS[namespace], fix=f"register {namespace}")

    def group(self) -> Line:
        from azure.core.exceptions import ResourceNotFoundError

        title, meaning = "Resource group", "The folder that everything made here lies in."
        if not self.account.resource_group or not self.account.subscription:
            return Line("group", title, "missing", "None is chosen.", meaning, fix="create_group")
        with asking(title):
            try:
                found = self.azure.resources.resource_groups.get(self.account.resource_group)
            except ResourceNotFoundError:
                words = f"{self.account.resource_group} does not exist."
                return Line("group", title, "missing", words, meaning, fix="create_group")
        self.group_there = True
        return Line("group", title, "ok", f"{found.name}, in {found.location}.", meaning)

    def role(self) -> Line:
        title = "Your role"
        meaning = (
            "Training takes Azure AI Developer on the group, or Contributor; making a hub takes Contributor."
        )
        if not self.group_there:
            return _waiting("role", title, meaning)
        self.held = grants(self.azure)
        lacking = missing_of([*TRAIN, *DEPLOY], self.held)
        if lacking:
            ask = f"An owner of the resource group {self.account.resource_group}: for the role Azure AI Developer."
            return Line("role", title, "missing", f"It lacks {', '.join(lacking)}.", meaning, ask=ask)
        if missing_of(CREATE, self.held):
            return Line(
                "role", title, "ok", "Enough to train and deploy, not to make a hub or project.", meaning
            )
        return Line("role", title, "ok", "Enough to train, to deploy and to make hubs and projects.", meaning)

    def project(self) -> Line:
        from azure.core.exceptions import ResourceNotFoundError

        title = "Hub and project"
        meaning = "Jobs, models and endpoints belong to a project; a hub holds what its projects share."
        if not self.group_there:
            return _waiting("project", title, meaning, HUB_COST)
        ask = "" if not missing_of(CREATE, self.held) else "Someone with the role Contributor: to make them."
        fix = "" if ask else "create_project"
        if not self.account.project:
            return Line("project", title, "missing", "No project is chosen.", meaning, HUB_COST, fix, ask)
        with asking(title):
            try:
                found = self.azure.service.workspaces.get(*self.azure.place)
            except ResourceNotFoundError:
                words = f"{self.account.project} does not exist."
                return Line("project", title, "missing", words, meaning, HUB_COST, fix, ask)
        self.region, self.project_there = str(found.location), True
        return _project_line(found, title, meaning)

    def region_line(self) -> Line:
        title, meaning = "Region", "A model is tuned in some regions only, and the project must lie in one."
        if not self.project_there:
            return _waiting("region", title, meaning)
        if not self.model:
            return Line(
                "region", title, "ok", f"The project is in {self.region}; no model is asked about.", meaning
            )
        try:
            name = models.registry_id(self.model).removeprefix(models.PREFIX)
        except AzureError as error:
            return Line("region", title, "missing", error.what, meaning, ask=error.next_step)
        try:
            found = models.get(self.azure, name)
        except AzureError as error:
            if error.status != 404:
                raise
            return Line("region", title, "missing", f"Azure's registry has no model {name}.", meaning)
        against = found.why_not(self.region)
        if against:  # another project helps where there is a region that tunes it
            fix = "create_project" if found.tunable else ""
            return Line("region", title, "missing", against, meaning, HUB_COST, fix)
        return Line("region", title, "ok", f"{self.region} tunes {name}.", meaning)

    def marketplace(self) -> Line:
        title, partner = "Marketplace", models.partner_of(self.model)
        meaning = f"{partner}'s models are tuned and served in projects that have taken its offer."
        cost = f"Nothing by itself; {partner}'s own prices then, beside Azure's."
        if not self.project_there:
            return _waiting("marketplace", title, meaning, cost)
        how = status(self.azure, self.model)
        if how == SUBSCRIBED:
            return Line("marketplace", title, "ok", "The project has the offer.", meaning, cost)
        found = f"The project's subscription is {how}." if how else "The project has not taken the offer."
        ask = f"Someone who may accept its terms: `finetui azure subscribe {self.model}` takes it."
        return Line("marketplace", title, "missing", found, meaning, cost, ask=ask)

    def storage(self) -> Line:
        title, meaning = "Storage", "Rows are uploaded to the project's own storage."
        cost = "What the rows' gigabytes cost in Azure Storage: mostly cents a month."
        if not self.project_there or LEARNING not in self.registered:  # azure-ai-ml would register it unasked
            return _waiting("storage", title, meaning, cost)
        path = f"finetui-check/{secrets.token_hex(8)}"
        try:
            with asking("Writing to it"):
                store = data.container(self.azure)
                store.upload_blob(path, b"finetui checks that it may write here\n")
                store.delete_blob(path)
        except AzureError as error:
            ask = "An owner: for Storage Blob Data Contributor on the storage, and a network rule that lets you in."
            return Line("storage", title, "missing", f"{error.what} {error.cause}", meaning, cost, ask=ask)
        return Line("storage", title, "ok", "A test file was written and deleted.", meaning, cost)

    def quota(self) -> Line:
        title, meaning = "Quota", "Azure limits how many endpoints and jobs there may be at once."
        if not self.project_there:
            return _waiting("quota", title, meaning)
        count = len(endpoints.endpoints(self.azure))
        many = f"{count} endpoint{'' if count == 1 else 's'}"
        words = f"Azure tells no quota for serverless tuning. This project has {many}."
        return Line("quota", title, "unknown", words, meaning)

    def services(self) -> Line:
        key, title, cost = "ai_services", "AI services", ai_services.COST
        meaning = (
            "Speech, vision, content safety and more for the hub's projects in the portal. Fine-tuning needs none of "
            "them. AI Search, which the portal offers beside them, is skipped: it bills by the hour."
        )
        hub = ai_services.place(self.azure) if self.project_there else None
        if hub is None:
            words = "They are connected to a hub: the project has none."
            if not self.project_there:
                words = "Not needed. They can be connected once there is a hub."
            return Line(key, title, "optional", words, meaning, cost)
        names = [it.rpartition("/")[2] for it in ai_services.connected(self.azure, hub)]
        if names:
            return Line(key, title, "ok", f"{', '.join(names)}, for the hub {hub.hub}.", meaning, cost)
        ask = "Someone with the role Contributor: to connect them." if missing_of(CONNECT, self.held) else ""
        words = f"Not needed: the hub {hub.hub} is connected to none."
        return Line(key, title, "optional", words, meaning, cost, "" if ask else "connect_ai_services", ask)


def _waiting(key: str, title: str, meaning: str, cost: str = FREE) -> Line:
    return Line(key, title, "waiting", "It waits for a line above.", meaning, cost)


def _project_line(found: Any, title: str, meaning: str) -> Line:
    state = text(found.properties.provisioning_state) or "Succeeded"
    kind = str(found.kind or "Default")
    hub = str(found.properties.hub_resource_id or "").rpartition("/")[2]
    words = (
        f"{found.name}, of the hub {hub}, in {found.location}."
        if hub
        else f"{found.name} ({kind}), in {found.location}."
    )
    if kind.lower() == "hub":
        words = f"{found.name} is a hub; jobs need one of its projects."
        return Line("project", title, "missing", words, meaning, HUB_COST, "choose")
    if state != "Succeeded":
        return Line("project", title, "warning", f"{words} It is {state.lower()}.", meaning, HUB_COST)
    return Line("project", title, "ok", words, meaning, HUB_COST)


def checklist(azure: Azure, model: str = "") -> Iterator[Line]:
    """The lines, as each is known. What can't be asked is a line of the state `unknown` that says why.

    Args:
        azure: the account.
        model: a recipe's model, whose regions matter; empty: none.

    Raises:
        AzureError: nobody is signed in, or Azure can't be reached at all.
    """
    azure.signed_in()
    lines = []
    for key, title, look in _Checks(azure, model).steps():
        try:
            line = look()
        except AzureError as error:
            if error.code in (SIGN_IN_NEEDED, "unreachable"):
                raise
            line = Line(key, title, "unknown", f"{error.what} {error.cause}", ask=error.next_step)
        lines.append(line)
        yield line
    _keep(azure, model, lines)


def _keep(azure: Azure, model: str, lines: list[Line]) -> None:
    """Remember what a model lacks, so that a plan need not say that nobody asked; not where a line is open."""
    try:
        name = models.registry_id(model)
    except AzureError:  # no model, or none that Azure has: its region line says so
        return
    if all(line.state != "unknown" or line.key == "quota" for line in lines):
        lacks = [line.title for line in lines if line.state in ("missing", "waiting")]
        known.note_checked(azure.account, name, lacks)
