"""Whose Azure it is: the way to sign in, and the subscription, group and project in use. Nothing here is secret."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from core import paths
from core.azure.faults import AzureError

Identity = Literal["azure_cli", "device_code", "service_principal", "managed_identity"]
IDENTITIES: tuple[Identity, ...] = get_args(Identity)
UNATTENDED: tuple[Identity, ...] = ("azure_cli", "service_principal", "managed_identity")
"""Those that renew themselves, so that a run watches its job without anybody."""
IN_WORDS = {
    "azure_cli": "the Azure CLI's own sign-in (`az login`)",
    "device_code": "a code typed into a browser, on any machine",
    "service_principal": "a service principal, from AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
    "managed_identity": "the managed identity of this machine in Azure",
}


@dataclass(frozen=True)
class Account:
    """What is chosen; empty: not chosen yet.

    Args:
        identity: the way to sign in.
        tenant: id or domain of the Entra tenant; empty: the identity's own.
        subscription: id of the subscription that pays.
        resource_group: where the project lies.
        project: the hub-based project (or workspace) that jobs and endpoints belong to.
        region: of the project, e.g. `eastus2`.
    """

    identity: Identity = "azure_cli"
    tenant: str = ""
    subscription: str = ""
    resource_group: str = ""
    project: str = ""
    region: str = ""

    @property
    def workspace(self) -> str:
        """The ARM id of the project."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.project}"
        )

    @property
    def missing(self) -> list[str]:
        """What has to be chosen before a job can be sent."""
        return [name for name in ("subscription", "resource_group", "project") if not getattr(self, name)]

    def changed(self, **values: str) -> Account:
        """The same with other values; those that are empty stay. What lies inside something else that has changed
        is no longer chosen. A managed identity has one tenant, which can't be chosen.

        Raises:
            AzureError: the identity is none of `IDENTITIES`, or a tenant is named for a managed identity.
        """
        given = {name: value for name, value in values.items() if value}
        if given.get("identity", "azure_cli") not in IDENTITIES:
            raise AzureError(
                f"There is no way to sign in called {given['identity']!r}.",
                "",
                f"Use one of {', '.join(IDENTITIES)}.",
            )
        made = replace(self, **given)  # type: ignore[arg-type]
        if made.identity == "managed_identity":
            if "tenant" in given:
                raise AzureError(
                    "A managed identity takes no tenant.",
                    "It belongs to the tenant of the machine's own subscription.",
                    "Leave the tenant out, or sign in another way.",
                )
            made = replace(made, tenant="")
        for outer, inner in (
            ("subscription", "resource_group"),
            ("resource_group", "project"),
            ("project", "region"),
        ):
            if getattr(made, outer) != getattr(self, outer) and inner not in given:
                made = replace(made, **{inner: ""})  # type: ignore[arg-type]
        return made

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def account_path() -> Path:
    """Where the choice is kept."""
    return paths.data_dir() / "azure.json"


def load() -> Account:
    """The account in use; where nothing is chosen, a service principal in the environment decides.

    Raises:
        AzureError: the file is damaged.
    """
    try:
        return of(json.loads(account_path().read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Account(identity="service_principal") if os.environ.get("AZURE_CLIENT_ID") else Account()
    except (OSError, ValueError, TypeError) as error:
        raise AzureError(
            f"{account_path()} can't be read.", str(error), "Delete the file, then `finetui azure login`."
        ) from error


def save(account: Account) -> None:
    """Keep the choice, readable by this user alone."""
    paths.make_private(account_path().parent)
    paths.write_private(account_path(), json.dumps(asdict(account), indent=2).encode() + b"\n")


def of(record: dict[str, Any]) -> Account:
    """The account of a stored record; keys of other versions are passed over."""
    known = {item.name for item in fields(Account)}
    values = {name: str(value) for name, value in record.items() if name in known}
    if values.get("identity") == "managed_identity":  # an earlier version kept a tenant that meant nothing
        values.pop("tenant", None)
    return Account().changed(**values)


def note() -> str:
    """What must be said on every screen and by every command, e.g. that this is no real Azure; mostly empty."""
    return os.environ.get("FINETUI_AZURE_NOTE", "")
