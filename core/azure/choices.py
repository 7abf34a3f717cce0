"""What there is to choose from: subscriptions, resource groups, hubs and projects of the signed-in identity."""

from __future__ import annotations

from dataclasses import dataclass

from core.azure.account import Account
from core.azure.clients import Azure
from core.azure.data import TAG
from core.azure.faults import AzureError, asking

SUBSCRIPTIONS = "2022-12-01"
GROUPS = "2021-04-01"
WORKSPACES = "2024-10-01"
LEARNING = "Microsoft.MachineLearningServices/workspaces"


@dataclass(frozen=True)
class Subscription:
    """A subscription: its id, name, state (Enabled, Disabled, Warned ...) and tenant."""

    id: str
    name: str
    state: str
    tenant: str


@dataclass(frozen=True)
class Group:
    """A resource group and its region."""

    name: str
    region: str


@dataclass(frozen=True)
class Project:
    """A project, plain workspace or hub: its name, kind, group, region, the hub it belongs to, and whether finetui
    made it."""

    name: str
    kind: str
    group: str
    region: str
    hub: str
    own: bool = False


def subscriptions(azure: Azure) -> list[Subscription]:
    """All subscriptions the identity can see, by name.

    Raises:
        AzureError: Azure can't be asked.
    """
    with asking("The list of subscriptions"):
        items = azure.pages("/subscriptions", **{"api-version": SUBSCRIPTIONS})
    found = [
        Subscription(
            str(item["subscriptionId"]),
            str(item["displayName"]),
            str(item["state"]),
            str(item.get("tenantId") or ""),
        )
        for item in items
    ]
    return sorted(found, key=lambda item: item.name.lower())


def groups(azure: Azure) -> list[Group]:
    """The resource groups of the chosen subscription, by name.

    Raises:
        AzureError: Azure can't be asked.
    """
    with asking("The list of resource groups"):
        found = azure.pages(
            f"/subscriptions/{azure.account.subscription}/resourcegroups", **{"api-version": GROUPS}
        )
    return sorted(
        (Group(str(item["name"]), str(item["location"])) for item in found), key=lambda it: it.name.lower()
    )


def projects(azure: Azure, kinds: tuple[str, ...] = ("project", "default")) -> list[Project]:
    """The projects and workspaces of the chosen subscription (of the chosen group, where one is), by name.

    Args:
        azure: the account.
        kinds: of workspaces, in lower case; hubs are `hub`.

    Raises:
        AzureError: Azure can't be asked.
    """
    chosen = azure.account
    group = f"/resourceGroups/{chosen.resource_group}" if chosen.resource_group else ""
    path = f"/subscriptions/{chosen.subscription}{group}/providers/{LEARNING}"
    with asking("The list of projects"):
        items = azure.pages(path, **{"api-version": WORKSPACES})
    found = [
        Project(
            str(item["name"]),
            str(item.get("kind") or "Default"),
            str(item["id"]).split("/")[4],
            str(item["location"]),
            str((item.get("properties") or {}).get("hubResourceId") or "").rpartition("/")[2],
            TAG in (item.get("tags") or {}),
        )
        for item in items
    ]
    return sorted((it for it in found if it.kind.lower() in kinds), key=lambda it: it.name.lower())


def regions(azure: Azure) -> list[str]:
    """The names of the chosen subscription's regions, e.g. `eastus2`.

    Raises:
        AzureError: Azure can't be asked.
    """
    with asking("The list of regions"):
        found = azure.pages(
            f"/subscriptions/{azure.account.subscription}/locations", **{"api-version": SUBSCRIPTIONS}
        )
    return sorted(str(item["name"]) for item in found)


def refuse_without_subscription(every: list[Subscription], group: str, project: str, region: str) -> None:
    """Refuse a group, project or region while it is open in which subscription.

    Raises:
        AzureError: one of them is named.
    """
    named = {"--group": group, "--project": project, "--region": region}
    given = [name for name, value in named.items() if value]
    if given:
        raise AzureError(
            f"{' and '.join(given)}: in which subscription?",
            f"There are {', '.join(f'{item.name} ({item.id})' for item in every) or 'none'}.",
            "Give --subscription too.",
        )


def with_project(azure: Azure, project: str, region: str) -> tuple[Account, str]:
    """The account with a project and a region chosen, and the project's name if it must be made first.

    A project that is not there is meant to be made where its region is named too, or where there is none at all; so is
    the group with it.

    Args:
        azure: the account; its subscription is chosen, its group may be.
        project: to choose; empty: the one in use stays.
        region: of the project, or of the one that is to be made; empty: the project's own.

    Raises:
        AzureError: there is no such project or region, the project lies in another region, or Azure can't be asked.
    """
    chosen, region = azure.account, region.lower()
    group_to_make = bool(region and chosen.resource_group) and chosen.resource_group.lower() not in (
        item.name.lower() for item in groups(azure)
    )
    there = [] if group_to_make else projects(azure)
    wanted = project or chosen.project or (there[0].name if len(there) == 1 else "")
    found = next((item for item in there if item.name.lower() == wanted.lower()), None)
    if found is not None:
        if region and region != found.region.lower():
            raise AzureError(
                f"The project {found.name} lies in {found.region}, not in {region}.",
                "A project stays where it was made.",
                "Leave --region out, or name the project to make there with --project.",
            )
        return chosen.changed(resource_group=found.group, project=found.name, region=found.region), ""
    if project and there and not region:
        where = f"the resource group {chosen.resource_group}" if chosen.resource_group else "the subscription"
        raise AzureError(
            f"There is no project {project!r} in {where}.",
            f"There are {', '.join(item.name for item in there)}.",
            "Name one of these; a new one is chosen with its region, --region REGION, and made by "
            f"`finetui azure check --fix --project {project}`.",
        )
    if region and region not in regions(azure):
        raise AzureError(
            f"The subscription has no region {region!r}.",
            f"There are {', '.join(regions(azure))}.",
            "Name one of these.",
        )
    return chosen.changed(project=project, region=region), project
