"""What the checklist offers to do: register a resource provider, make a resource group, make a hub and a project."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator

from core.azure import account as accounts
from core.azure import ai_services as services
from core.azure.clients import Azure, finished, poll_s, text
from core.azure.data import TAG
from core.azure.faults import AzureError, asking
from core.azure.readiness import PROVIDERS, Line

REGISTER_S = 15 * 60.0
GROUP = re.compile(r"[\w.()-]{0,89}[\w()-]")
WORKSPACE = re.compile(r"[a-zA-Z0-9][\w-]{2,32}")
OWN = {TAG: "-"}
"""On what finetui makes for no run in particular."""


def register(azure: Azure, namespace: str) -> Iterator[str]:
    """Register a resource provider; yields its state until it is registered.

    Raises:
        AzureError: finetui uses nothing of it, Azure refuses, or it takes longer than a quarter of an hour.
    """
    if namespace not in (*PROVIDERS, services.PROVIDER):
        raise AzureError(f"{namespace} is not needed.", "", f"Those needed are {', '.join(PROVIDERS)}.")
    with asking(f"The registration of {namespace}"):
        azure.resources.providers.register(namespace)
        end = time.monotonic() + REGISTER_S
        while time.monotonic() < end:
            state = text(azure.resources.providers.get(namespace).registration_state)
            yield state
            if state == "Registered":
                return
            time.sleep(min(poll_s(), 5.0))
    raise AzureError(
        f"{namespace} is still not registered.",
        "It goes on in Azure.",
        "`finetui azure check` looks again later.",
    )


def create_group(azure: Azure, name: str, region: str) -> accounts.Account:
    """Make a resource group and choose it; one that is there is chosen as it is.

    Raises:
        AzureError: the name can't be used, or Azure refuses.
    """
    refuse_names(group=name)
    if not region_of(azure, name):
        if not region:
            raise AzureError("A resource group needs its region.", "", "Name one, e.g. eastus2.")
        with asking(f"The resource group {name}"):
            azure.resources.resource_groups.create_or_update(name, {"location": region, "tags": OWN})
    return _choose(azure, resource_group=name)


def region_of(azure: Azure, group: str) -> str:
    """Where a resource group lies; empty where there is none of the name.

    Raises:
        AzureError: Azure can't be asked.
    """
    from azure.core.exceptions import ResourceNotFoundError

    with asking(f"The resource group {group}"):
        try:
            return str(azure.resources.resource_groups.get(group).location)
        except ResourceNotFoundError:
            return ""


def refuse_names(group: str | None = None, workspaces: Iterable[str] = ()) -> None:
    """Refuse what Azure takes for no name of a resource group, or of a hub or project.

    Raises:
        AzureError: a name can't be used.
    """
    if group is not None and not GROUP.fullmatch(group):
        raise AzureError(
            f"A resource group can't be called {group!r}.",
            "Use up to 90 letters, digits and . _ - ( ).",
            "Choose another.",
        )
    for name in workspaces:
        if not WORKSPACE.fullmatch(name):
            raise AzureError(
                f"A hub or project can't be called {name!r}.",
                "A name has 3 to 33 letters, digits, - and _, and begins with a letter or digit.",
                "Choose another name.",
            )


def refuse_options(azure: Azure, lines: list[Line], group: str, project: str, hub: str, region: str) -> None:
    """Refuse, before anything is made, names that are lacking for what is to be made, and names that nothing takes.

    A project is made only where it is named.

    Args:
        azure: the account.
        lines: of the checklist.
        group: of those that were given, as are the others; empty: not given.
        project: the same.
        hub: the same.
        region: the same.

    Raises:
        AzureError: one lacks, or names another thing than the one that is chosen and there.
    """
    makes = {line.key: line.fix for line in lines if line.state == "missing"}
    waiting = {line.key for line in lines if line.state == "waiting"}
    makes_group = makes.get("group") == "create_group"
    moves = makes.get("region") == "create_project"  # the model asks for a project in another region
    makes_project = (
        makes.get("project") == "create_project" or (makes_group and "project" in waiting) or moves
    )
    chosen = azure.account
    if not makes_group:
        _refuse_other("group", group, chosen.resource_group)
    if not makes_project:
        _refuse_other("project", project, chosen.project)
        if hub:
            raise AzureError("--hub: no project is to be made.", "", "Leave it out.")
    if not makes_group and not makes_project:
        _refuse_other("region", region, chosen.region)
    wanted = (group if makes_group else "") or chosen.resource_group
    placed = region or (not moves and (chosen.region or (wanted and region_of(azure, wanted))))
    lacking = [
        option
        for option, lacks in (
            ("--group NAME", makes_group and not wanted),
            ("--project NAME", makes_project and not project),
            ("--region REGION", (makes_group or makes_project) and not placed),
        )
        if lacks
    ]
    if lacking:
        raise AzureError(
            "Nothing was made: --fix needs more.", "", f"Give {' '.join(lacking)} too.", code="not_chosen"
        )


def _refuse_other(option: str, given: str, chosen: str) -> None:
    if given and chosen and given.lower() != chosen.lower():
        other = "--project P" if option == "region" else f"--{option} {given}"
        raise AzureError(
            f"--{option} {given}: {chosen} is chosen already.",
            "--fix makes what is missing only.",
            f"Leave it out; `finetui azure login {other}` chooses another.",
            code="chosen",
        )


def create_project(azure: Azure, hub: str, project: str, region: str) -> Iterator[str]:
    """Make a hub, where there is none of the name, and a project in it, and choose the project.

    Azure makes a storage account and a key vault with the hub. AI Search is not needed and not made; AI services are
    not needed for fine-tuning either, `connect_ai_services` connects them.

    Raises:
        AzureError: a name can't be used, what is there doesn't fit, or Azure refuses.
    """
    from azure.ai.ml.entities import Hub, Project

    refuse_names(workspaces=(hub, project))
    there = _kind(azure, hub)
    if there not in ("", "hub"):
        raise AzureError(
            f"{hub} is there, and it is no hub but a {there}.", "", "Choose another name for the hub."
        )
    if not there:
        yield f"Azure makes the hub {hub}: some minutes"
        with asking(f"The hub {hub}"):
            finished(azure.in_group().workspaces.begin_create(Hub(name=hub, location=region, tags=dict(OWN))))
    held = _kind(azure, project)
    if held not in ("", "project"):
        raise AzureError(
            f"{project} is there, and it is a {held}.", "", "Choose another name for the project."
        )
    if not held:
        yield f"Azure makes the project {project}"
        hub_id = azure.account.workspace.rpartition("/")[0] + f"/{hub}"
        with asking(f"The project {project}"):
            made = Project(name=project, hub_id=hub_id, location=region, tags=dict(OWN))
            finished(azure.in_group().workspaces.begin_create(made))
    with asking(f"The project {project}"):
        where = str(azure.in_group().workspaces.get(project).location)
    _choose(azure, project=project, region=where)
    yield f"{project} is chosen"


def connect_ai_services(azure: Azure, name: str) -> Iterator[str]:
    """Connect an AI services account to the hub of the chosen project; what is not there is made, and its provider
    registered first.

    Raises:
        AzureError: the name can't be used, the project has no hub, or Azure refuses.
    """
    services.refuse_name(name)
    with asking("AI services"):
        state = text(azure.resources.providers.get(services.PROVIDER).registration_state)
    if state != "Registered":
        yield f"{services.PROVIDER} is registered first"
        yield from register(azure, services.PROVIDER)
    yield from services.connect(azure, name)


def hub_of(project: str) -> str:
    """The name of the hub that is made for a project where none is named."""
    return f"{project}-hub"


def _kind(azure: Azure, name: str) -> str:
    """What a workspace of the group is (`hub`, `project`, `default`), or empty when there is none."""
    from azure.core.exceptions import ResourceNotFoundError

    with asking(name):
        try:
            found = azure.in_group().workspaces.get(name)
        except ResourceNotFoundError:
            return ""
    return str(found._kind or "default").lower()


def _choose(azure: Azure, **values: str) -> accounts.Account:
    """Keep a choice, for these clients too."""
    azure.account = azure.account.changed(**values)
    accounts.save(azure.account)
    azure.forget()
    return azure.account


def fixed(
    azure: Azure, action: str, name: str, hub: str, region: str, ai_services: str = ""
) -> Iterator[str]:
    """Do what a line of the checklist offers; yields what happens.

    Args:
        azure: the account.
        action: the line's `fix`.
        name: of the group or the project.
        hub: of the project.
        region: of what is made.
        ai_services: the AI services account to connect; with a project's making empty for none.

    Raises:
        AzureError: it can't be done.
    """
    verb, _, what = action.partition(" ")
    match verb:
        case "register":
            yield from register(azure, what)
        case "create_group":
            create_group(azure, name or azure.account.resource_group, region or azure.account.region)
            yield f"{azure.account.resource_group} is there and chosen"
        case "create_project":
            project = name or azure.account.project
            there = region or azure.account.region or region_of(azure, azure.account.resource_group)
            if ai_services:
                services.refuse_name(ai_services)
            yield from create_project(azure, hub or hub_of(project), project, there)
            if ai_services:
                yield from connect_ai_services(azure, ai_services)
        case "connect_ai_services":
            yield from connect_ai_services(azure, ai_services)
        case _:
            raise AzureError(f"{action!r} can't be done here.", "", "`finetui azure login` chooses.")
