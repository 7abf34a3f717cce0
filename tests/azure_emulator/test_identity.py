"""Signing in by every way, with azure-identity, and what ARM makes of the tokens."""

from __future__ import annotations

import os
import threading

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    AzureCliCredential,
    ClientSecretCredential,
    CredentialUnavailableError,
    DeviceCodeCredential,
    ManagedIdentityCredential,
)

from tests.azure_emulator import state
from tests.azure_emulator.conftest import Client, job_body
from tests.azure_emulator.emulator import Emulator

OTHER_TENANT = "00000000-0000-0000-0000-0000000000ee"
OTHER_SUBSCRIPTION = "00000000-0000-0000-0000-000000000002"


def claims(token: str) -> dict[str, object]:
    found: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return found


def secret_credential(
    azure: Emulator, secret: str = state.SECRET, tenant: str = state.TENANT
) -> ClientSecretCredential:
    return ClientSecretCredential(
        tenant, state.CLIENT, secret, authority=azure.url, disable_instance_discovery=True
    )


def test_service_principal(sdk: Emulator) -> None:
    held = claims(secret_credential(sdk).get_token(f"{sdk.url}/.default").token)
    assert (held["aud"], held["tid"], held["oid"]) == (sdk.url, state.TENANT, state.CLIENT_OBJECT)
    assert held["appid"] == state.CLIENT


def test_wrong_secret_and_unknown_tenant(sdk: Emulator) -> None:
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        secret_credential(sdk, "wrong").get_token(f"{sdk.url}/.default")
    with pytest.raises(ClientAuthenticationError, match="authority configuration"):
        secret_credential(sdk, tenant="11111111-0000-0000-0000-000000000000").get_token(f"{sdk.url}/.default")


def test_device_code_waits_for_its_approval_and_renews(sdk: Emulator) -> None:
    shown: list[str] = []

    def prompt(address: str, code: str, until: object) -> None:
        shown.append(code)
        threading.Timer(0.2, sdk.entra.approve, [code]).start()

    credential = DeviceCodeCredential(
        authority=sdk.url, disable_instance_discovery=True, prompt_callback=prompt, tenant_id=state.TENANT
    )
    record = credential.authenticate(scopes=[f"{sdk.url}/.default"])
    assert record.tenant_id == state.TENANT
    assert record.username == "ada@loopback.example"
    held = claims(credential.get_token("https://storage.azure.com/.default").token)
    assert (held["aud"], held["oid"]) == ("https://storage.azure.com", state.PERSON)
    assert len(shown) == 1
    assert len(shown[0]) == 9
    polls = [status for _, path, status, _ in sdk.requests if path.endswith("/token")]
    assert polls == [400, 200, 200]


def test_a_revoked_refresh_token_asks_again(sdk: Emulator) -> None:
    from azure.identity import AuthenticationRequiredError

    sdk.settings.device_code_approves_after = 0.0
    credential = DeviceCodeCredential(
        authority=sdk.url,
        disable_instance_discovery=True,
        disable_automatic_authentication=True,
        prompt_callback=lambda *_: None,
    )
    with pytest.raises(AuthenticationRequiredError):
        credential.get_token(f"{sdk.url}/.default")
    credential.authenticate(scopes=[f"{sdk.url}/.default"])
    sdk.entra.revoke()
    with pytest.raises(AuthenticationRequiredError):
        credential.get_token("https://storage.azure.com/.default")


def test_managed_identity(sdk: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sdk.managed_identity.items():
        monkeypatch.setenv(name, value)
    held = claims(ManagedIdentityCredential().get_token(f"{sdk.url}/.default").token)
    assert (held["aud"], held["oid"]) == (sdk.url, state.MANAGED_IDENTITY)


def test_azure_cli(sdk: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{sdk.cli_path}{os.pathsep}{os.environ['PATH']}")
    held = claims(AzureCliCredential(tenant_id=state.TENANT).get_token(f"{sdk.url}/.default").token)
    assert (held["aud"], held["upn"]) == (sdk.url, "ada@loopback.example")
    sdk.settings.cli_signed_in = False
    with pytest.raises(CredentialUnavailableError, match="az login"):
        AzureCliCredential().get_token(f"{sdk.url}/.default")


@pytest.mark.parametrize(
    ("header", "code"),
    [("", "AuthenticationFailed"), ("Bearer nonsense", "InvalidAuthenticationToken")],
)
def test_no_token_and_a_forged_one(client: Client, header: str, code: str) -> None:
    answer = client._http.get("/subscriptions", headers={"Authorization": header})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)


def test_an_old_token(client: Client) -> None:
    client.azure.settings.clock_skew = 3601
    answer = client.ask("GET", "/subscriptions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "ExpiredAuthenticationToken")


def test_a_token_for_storage_is_not_for_arm(client: Client) -> None:
    client.token = client.azure.entra.token("https://storage.azure.com", state.TENANT, state.PERSON)
    answer = client.ask("GET", "/subscriptions")
    assert answer.json()["error"]["code"] == "InvalidAuthenticationTokenAudience"


def test_another_tenant_has_other_subscriptions(azure: Emulator) -> None:
    azure.state.add_subscription(OTHER_SUBSCRIPTION, "Other", OTHER_TENANT)
    here, there = Client(azure), Client(azure, tenant=OTHER_TENANT)
    listed = [
        [one["subscriptionId"] for one in who.ask("GET", "/subscriptions").json()["value"]]
        for who in (here, there)
    ]
    assert listed == [[state.SUBSCRIPTION], [OTHER_SUBSCRIPTION]]
    answer = there.workspace("GET")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationTokenTenant")
    assert len(here.ask("GET", "/tenants").json()["value"]) == 2


GROUP_SCOPE = f"/subscriptions/{state.SUBSCRIPTION}/resourceGroups/{state.GROUP}"


@pytest.mark.parametrize(
    ("role", "scope", "submits", "makes_hub", "registers"),
    [
        (state.OWNER, "", 201, 201, 200),
        (state.CONTRIBUTOR, "", 201, 201, 200),
        (state.CONTRIBUTOR, GROUP_SCOPE, 201, 201, 403),
        (state.AI_DEVELOPER, GROUP_SCOPE, 201, 403, 403),
        (state.READER, "", 403, 403, 403),
        (None, "", 403, 403, 403),
    ],
)
def test_roles(
    client: Client, role: str | None, scope: str, submits: int, makes_hub: int, registers: int
) -> None:
    client.azure.state.set_role(role, scope or f"/subscriptions/{state.SUBSCRIPTION}")
    hub = {"location": state.REGION, "kind": "Hub", "properties": {}}
    path = f"{GROUP_SCOPE}/providers/Microsoft.MachineLearningServices/workspaces/hub-2"
    register = f"/subscriptions/{state.SUBSCRIPTION}/providers/Microsoft.Network/register"
    found = (
        client.workspace("PUT", "/jobs/j", job_body()).status_code,
        client.ask("PUT", path, hub).status_code,
        client.ask("POST", register).status_code,
    )
    assert found == (submits, makes_hub, registers)


def test_refusal_names_the_action(client: Client) -> None:
    client.azure.state.set_role(state.READER)
    error = client.workspace("PUT", "/jobs/j", job_body()).json()["error"]
    assert error["code"] == "AuthorizationFailed"
    assert "Microsoft.MachineLearningServices/workspaces/jobs/write" in error["message"]


def test_starting_states(client: Client) -> None:
    held = client.azure.state
    held.set_provider(state.SUBSCRIPTION, "Microsoft.MachineLearningServices", "NotRegistered")
    answers = [client.workspace("PUT", "/jobs/j", job_body())]
    held.subscriptions[state.SUBSCRIPTION].state = "Disabled"
    answers.append(client.workspace("PUT", "/jobs/j", job_body()))
    held.groups.clear()
    answers.append(client.workspace("GET"))
    held.subscriptions.clear()
    answers.append(client.workspace("GET"))
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in answers] == [
        (409, "MissingSubscriptionRegistration"),
        (409, "ReadOnlyDisabledSubscription"),
        (404, "ResourceGroupNotFound"),
        (404, "SubscriptionNotFound"),
    ]
