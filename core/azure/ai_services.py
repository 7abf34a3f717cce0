"""Azure AI services: accounts of the resource group, and a hub's connections to them. Fine-tuning needs none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from core.azure.clients import Azure, finished
from core.azure.data import TAG
from core.azure.faults import AzureError, asking

PROVIDER = "Microsoft.CognitiveServices"
KIND = "AIServices"
SKU = "S0"
API = "2024-10-01"
COST = "Nothing until it is used; then by the call."
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{1,31}[a-zA-Z0-9]")
"""Both an account's own subdomain and a connection can be called so."""


@dataclass(frozen=True)
class Account:
    """An AI services account: its name, ARM id, region, and whether finetui made it."""

    name: str
    id: str
    region: str
    own: bool = False


@dataclass(frozen=True)
class Place:
    """The hub of the chosen project: its resource group, name and region."""

    group: str
    hub: str
    region: str


def accounts(azure: Azure) -> list[Account]:
    """The AI services accounts of the chosen resource group, by name.

    Raises:
        AzureError: Azure can't be asked.
    """
    with asking("The list of AI services accounts"):
        found = azure.resources.resources.list_by_resource_group(
            azure.account.resource_group, filter=f"resourceType eq '{PROVIDER}/accounts'"
        )
        items = [
            Account(str(item.name), str(item.id), str(item.location), TAG in (item.tags or {}))
            for item in found
            if str(item.kind).lower() == KIND.lower()
        ]
    return sorted(items, key=lambda item: item.name.lower())


def place(azure: Azure) -> Place | None:
    """The hub of the chosen project; None for a plain workspace, which has none.

    Raises:
        AzureError: the project can't be asked.
    """
    with asking("The project"):
        found = azure.service.workspaces.get(*azure.place)
    parts = str(found.properties.hub_resource_id or "").split("/")
    return Place(parts[4], parts[-1], str(found.location)) if len(parts) > 4 else None


def connected(azure: Azure, hub: Place) -> list[str]:
    """The ARM ids of the accounts that a hub is connected to.

    Raises:
        AzureError: the hub can't be asked.
    """
    with asking(f"The connections of the hub {hub.hub}"):
        found = azure.workspace(hub.group, hub.hub).connections.list()
        return [_account_of(item) for item in found if str(item.type).lower() == "azure_ai_services"]


def _account_of(connection: Any) -> str:
    return str(connection.ai_services_resource_id or "")


def refuse_name(name: str) -> None:
    """Refuse what no account can be called.

    Raises:
        AzureError: the name can't be used.
    """
    if not NAME.fullmatch(name):
        raise AzureError(
            f"An AI services account can't be called {name!r}.",
            "A name has 3 to 33 letters, digits and -, and begins and ends with a letter or digit.",
            "Choose another name.",
        )


def connect(azure: Azure, name: str) -> Iterator[str]:
    """Connect an account to the hub of the chosen project, by Entra id: no key is asked for or kept.

    One of the name in the resource group is taken; where there is none it is made. Done already is no harm.

    Raises:
        AzureError: the name can't be used, the project has no hub, or Azure refuses.
    """
    from azure.ai.ml.entities import AzureAIServicesConnection

    refuse_name(name)
    hub = place(azure)
    if hub is None:
        raise AzureError(
            f"{azure.account.project} belongs to no hub.",
            "AI services are connected to a hub, for all its projects.",
            "Choose a project of a hub.",
        )
    arm_id = f"{_group_id(azure)}/providers/{PROVIDER}/accounts/{name}"
    if arm_id.lower() in map(str.lower, connected(azure, hub)):
        yield f"{name} is connected to the hub {hub.hub} already"
        return
    found = _get(azure, arm_id)
    if found is None:
        yield f"Azure makes the AI services account {name}"
        found = _make(azure, name, arm_id, hub.region)
    elif str(found.kind).lower() != KIND.lower():
        raise AzureError(
            f"{name} is there, and it is no AI services account but of the kind {found.kind}.",
            "",
            "Choose another name.",
        )
    with asking(f"The connection to {name}"):
        wanted = AzureAIServicesConnection(
            name=name,
            endpoint=str((found.properties or {}).get("endpoint") or ""),
            ai_services_resource_id=arm_id,
        )
        azure.workspace(hub.group, hub.hub).connections.create_or_update(wanted)
    yield f"{name} is connected to the hub {hub.hub}"


def _group_id(azure: Azure) -> str:
    return f"/subscriptions/{azure.account.subscription}/resourceGroups/{azure.account.resource_group}"


def _get(azure: Azure, arm_id: str) -> Any:
    """An account as Azure has it, or None."""
    from azure.core.exceptions import ResourceNotFoundError

    with asking("The AI services account"):
        try:
            return azure.resources.resources.get_by_id(arm_id, api_version=API)
        except ResourceNotFoundError:
            return None


def _make(azure: Azure, name: str, arm_id: str, region: str) -> Any:
    wanted = {
        "location": region,
        "kind": KIND,
        "sku": {"name": SKU},
        "identity": {"type": "SystemAssigned"},
        "tags": {TAG: "-"},
        # Entra ids are taken at an address of its own only
        "properties": {"customSubDomainName": name.lower()},
    }
    with asking(f"The AI services account {name}"):
        making = azure.resources.resources.begin_create_or_update_by_id(arm_id, wanted, api_version=API)
        finished(making)
    made = _get(azure, arm_id)
    assert made is not None
    return made
