"""Signing in: credentials of azure-identity. Tokens live in this process's memory; nothing is cached on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.azure.account import Account
from core.azure.faults import CLOUD_METADATA, AzureError

if TYPE_CHECKING:
    from datetime import datetime

    from azure.core.credentials import TokenCredential

Prompt = Callable[[str, str], None]
"""Called with the address to open and the code to type there."""

TIMEOUTS: dict[str, Any] = {
    "connection_timeout": 10,
    "read_timeout": 30,
    "retry_total": 3,
    "retry_connect": 2,
    "retry_read": 2,
    "retry_backoff_max": 10,
}
CLI_S = 30
NEEDED = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID")
EITHER = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH")


def credential(account: Account, prompt: Prompt | None = None) -> TokenCredential:
    """The credential of an account; asking it for a token is what signs in.

    Args:
        account: says how.
        prompt: for a device code: shows it while the call waits. Without it such a sign-in fails with the code
            `sign_in_needed` when it is first used.

    Raises:
        AzureError: a service principal lacks a variable, or belongs to another tenant than the account's.
    """
    from azure import identity

    common = {**TIMEOUTS, **_cloud()}
    tenant = {"tenant_id": account.tenant} if account.tenant else {}
    match account.identity:
        case "azure_cli":
            return identity.AzureCliCredential(process_timeout=CLI_S, **tenant)
        case "managed_identity":
            return identity.ManagedIdentityCredential(client_id=os.environ.get("AZURE_CLIENT_ID"), **TIMEOUTS)
        case "service_principal":
            _refuse_incomplete()
            _refuse_other_tenant(account.tenant)
            return identity.EnvironmentCredential(**common)
        case "device_code":

            def shown(address: str, code: str, _: datetime) -> None:
                if prompt is not None:
                    prompt(address, code)

            return identity.DeviceCodeCredential(
                prompt_callback=shown, disable_automatic_authentication=True, **tenant, **common
            )


def authenticate(held: TokenCredential, scopes: list[str]) -> str:
    """Sign in now, waiting for the user where a code has to be typed; returns the signed-in user's name, or empty.

    Raises:
        Exception: azure-identity's own; wrap it in `faults.asking`.
    """
    from azure.identity import DeviceCodeCredential

    if isinstance(held, DeviceCodeCredential):
        return str(held.authenticate(scopes=scopes).username)
    held.get_token(*scopes)
    return ""


def scope_of(resource_manager: str) -> str:
    """What a token for Azure's resource manager is asked for."""
    return f"{resource_manager.rstrip('/')}/.default"


def _cloud() -> dict[str, Any]:
    """A cloud of one's own is not known to Entra's discovery; the public ones are checked against it."""
    settings: dict[str, Any] = {}
    if os.environ.get("AZURE_AUTHORITY_HOST"):
        settings["authority"] = os.environ["AZURE_AUTHORITY_HOST"]
    if os.environ.get(CLOUD_METADATA):
        settings["disable_instance_discovery"] = True
    return settings


def _refuse_incomplete() -> None:
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if not any(os.environ.get(name) for name in EITHER):
        missing.append(" or ".join(EITHER))
    if missing:
        raise AzureError(
            "The service principal is incomplete.",
            f"The environment has no {', no '.join(missing)}.",
            "Set them, or choose another way with `finetui azure login --identity`.",
            code="sign_in_failed",
        )


def _refuse_other_tenant(tenant: str) -> None:
    """azure-identity takes a service principal's tenant from the environment alone."""
    own = os.environ["AZURE_TENANT_ID"]
    if tenant and tenant.lower() != own.lower():
        raise AzureError(
            f"The service principal is not signed in to the tenant {tenant}.",
            f"AZURE_TENANT_ID names another: {own}.",
            f"Set AZURE_TENANT_ID, or use its own: `finetui azure login --tenant {own}`.",
            code="sign_in_failed",
        )
