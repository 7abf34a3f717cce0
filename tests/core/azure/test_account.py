"""The account's choice: kept private, without secrets, and never half valid."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from core.azure.account import Account, account_path, load, note, save
from core.azure.clients import Azure
from core.azure.faults import AzureError
from tests.azure_emulator.emulator import Emulator

FULL = Account("azure_cli", "t", "s", "g", "p", "eastus2")


def test_it_is_kept_for_this_user_alone() -> None:
    save(FULL)
    assert stat.S_IMODE(account_path().stat().st_mode) == 0o600
    assert load() == FULL


def test_what_lies_inside_something_changed_is_no_longer_chosen() -> None:
    assert FULL.changed(subscription="other") == Account("azure_cli", "t", "other")
    assert FULL.changed(resource_group="other") == Account("azure_cli", "t", "s", "other")
    assert FULL.changed(project="other").region == ""
    assert FULL.changed(project="other", region="westus").region == "westus"
    assert FULL.changed(subscription="", project="") == FULL


def test_a_way_to_sign_in_that_does_not_exist_is_refused() -> None:
    with pytest.raises(AzureError, match="no way to sign in"):
        FULL.changed(identity="password")


def test_a_damaged_file_says_so() -> None:
    save(FULL)
    account_path().write_text("{", encoding="utf-8")
    with pytest.raises(AzureError, match="can't be read"):
        load()


def test_the_emulator_is_named(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert note() == "emulator"
    monkeypatch.delenv("FINETUI_AZURE_NOTE")
    assert note() == ""


@pytest.mark.parametrize("identity", ["service_principal", "azure_cli", "managed_identity"])
def test_every_unattended_identity_signs_in(
    identity: str, azure: Emulator, clients: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    if identity != "service_principal":
        for name in azure.service_principal:
            monkeypatch.delenv(name)
    if identity == "azure_cli":
        monkeypatch.setenv("PATH", str(azure.cli_path), prepend=":")
    if identity == "managed_identity":
        for name, value in azure.managed_identity.items():
            monkeypatch.setenv(name, value)
    clients.account = replace(clients.account, identity=identity, tenant="")  # type: ignore[arg-type]
    clients.signed_in()
    assert clients.get("/subscriptions", **{"api-version": "2022-12-01"})["value"]


def test_a_device_code_signs_in(azure: Emulator, clients: Azure) -> None:
    shown: list[tuple[str, str]] = []

    def prompt(address: str, code: str) -> None:
        shown.append((address, code))
        azure.entra.approve(code)

    here = Azure(replace(clients.account, identity="device_code"), prompt)
    with pytest.raises(AzureError) as refused:
        here.signed_in()
    assert refused.value.code == "sign_in_needed"
    assert here.sign_in()
    here.signed_in()
    assert len(shown) == 1


def test_an_azure_cli_without_a_sign_in_says_how_to_get_one(
    azure: Emulator, clients: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure.settings.cli_signed_in = False
    monkeypatch.setenv("PATH", str(azure.cli_path), prepend=":")
    with pytest.raises(AzureError) as refused:
        Azure(replace(clients.account, identity="azure_cli", tenant="")).signed_in()
    assert "az login" in refused.value.next_step
    assert not refused.value.transient
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(AzureError) as refused:
        Azure(replace(clients.account, identity="azure_cli", tenant="")).signed_in()
    assert "Install the Azure CLI" in refused.value.next_step


def test_an_incomplete_service_principal_names_what_is_missing(
    clients: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    with pytest.raises(AzureError, match="incomplete") as refused:
        clients.signed_in()
    assert "AZURE_CLIENT_SECRET" in refused.value.cause


def test_a_wrong_secret_is_told_without_the_secret(clients: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong-secret-Zq81")
    with pytest.raises(AzureError) as refused:
        clients.signed_in()
    assert "AADSTS7000215" in refused.value.cause
    assert "wrong-secret-Zq81" not in str(refused.value)
    assert not refused.value.transient


def test_a_service_principal_of_another_tenant_is_refused(azure: Emulator, clients: Azure) -> None:
    with pytest.raises(AzureError, match="not signed in to the tenant other.example") as refused:
        Azure(replace(clients.account, tenant="other.example")).signed_in()
    assert azure.tenant in refused.value.cause
    Azure(replace(clients.account, tenant=azure.tenant.upper())).signed_in()


def test_a_wrong_tenant_is_named_as_the_cause(clients: Azure) -> None:
    here = Azure(replace(clients.account, identity="device_code", tenant="wrong.example"))
    with pytest.raises(AzureError) as first:
        here.signed_in()
    try:
        raise first.value
    except AzureError:
        with pytest.raises(AzureError, match="tenant wrong.example") as refused:
            here.sign_in()
    assert refused.value.code == "sign_in_failed"
    assert "tenant is likely wrong" in refused.value.next_step
