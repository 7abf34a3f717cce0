"""What there is to choose from: subscriptions, resource groups, hubs and projects of the signed-in identity."""

from __future__ import annotations

from dataclasses import dataclass

from core.azure.clients import Azure
from core.azure.data import TAG
from core.azure.faults import asking

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
