"""What Azure's refusals become: cause with code and request id, and what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from core.azure import choices, jobs, sign_in
from core.azure.clients import Azure
from core.azure.faults import AzureError, scrubbed
from tests.azure_emulator.emulator import Emulator

KINDS = [
    # kind, code, status, passes, in the next step
    ("server_error", "InternalServerError", 500, True, "status.azure.com"),
    ("forbidden", "AuthorizationFailed", 403, False, "Azure AI Developer"),
    ("expired_token", "ExpiredAuthenticationToken", 401, False, "finetui azure login"),
    pytest.param(  # azure-ai-ml registers it itself first, and looks every ten seconds
        "unregistered",
        "MissingSubscriptionRegistration",
        409,
        False,
        "finetui azure check --fix",
        marks=pytest.mark.slow,
    ),  # fmt: skip
    ("wrong_region", "ServerlessModelNotAvailableInRegion", 400, False, "finetui azure models"),
    ("throttled", "TooManyRequests", 429, True, "Wait"),
]


@pytest.mark.parametrize(("kind", "code", "status", "passes", "step"), KINDS)
def test_a_refusal_names_its_code_its_request_and_the_next_step(
    azure: Emulator, clients: Azure, kind: str, code: str, status: int, passes: bool, step: str
) -> None:
    azure.faults.add("GET jobs", kind=kind, times=100, retry_after=0)
    with pytest.raises(AzureError) as refused:
        jobs.find(clients, "any")
    error = refused.value
    assert (error.code, error.status, error.transient) == (code, status, passes)
    assert code in error.cause
    assert error.request_id in error.cause
    assert error.request_id
    assert step in error.next_step


def test_a_connection_that_is_cut_passes(azure: Emulator, clients: Azure) -> None:
    clients.signed_in()
    azure.faults.add("GET jobs", kind="reset", times=100)
    with pytest.raises(AzureError, match="can't be reached") as refused:
        jobs.find(clients, "any")
    assert refused.value.transient


def test_no_call_waits_for_ever(azure: Emulator, clients: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    clients.signed_in()
    for name, value in {"read_timeout": 0.3, "retry_total": 0, "retry_read": 0}.items():
        monkeypatch.setitem(sign_in.TIMEOUTS, name, value)
    for ask in (lambda: jobs.find(clients, "any"), lambda: choices.groups(clients)):
        clients.forget()
        azure.faults.add("GET jobs", kind="slow", seconds=3)
        azure.faults.add("GET resourcegroups", kind="slow", seconds=3)
        with pytest.raises(AzureError, match="can't be reached") as refused:
            ask()
        assert refused.value.transient
        azure.faults.clear()


def test_a_clock_that_is_wrong_is_named(azure: Emulator, clients: Azure) -> None:
    clients.signed_in()
    azure.settings.clock_skew = 7200.0
    with pytest.raises(AzureError) as refused:
        jobs.find(clients, "any")
    assert "This machine's clock is 120 minutes behind Azure's." in refused.value.cause


def test_an_unknown_job_is_no_error_but_an_unknown_group_is(azure: Emulator, clients: Azure) -> None:
    assert jobs.find(clients, "any") is None
    with pytest.raises(AzureError, match="no job any"):
        jobs.get(clients, "any")
    clients.account = clients.account.changed(resource_group="nowhere", project="p")
    clients.forget()
    with pytest.raises(AzureError) as refused:
        jobs.find(clients, "any")
    assert refused.value.code == "ResourceGroupNotFound"


def test_secrets_in_texts_of_others_are_left_out() -> None:
    text = (
        "PUT https://x.blob.core.windows.net/c/f?sv=2025&se=soon&sp=rw&sig=aB%2F9 "
        "with Bearer eyJhbGciOi.eyJhdWQiOi.c2ln\n"
        "and AccountKey=abc== and client_secret=hush"
    )
    told = scrubbed(text)
    for secret in ("aB%2F9", "eyJhbGciOi", "c2ln", "abc==", "hush"):
        assert secret not in told
    assert told.startswith("PUT https://x.blob.core.windows.net/c/f?")
    assert "\n" not in told
    assert len(scrubbed("x" * 5000)) == 600


def test_a_cloud_whose_description_can_not_be_had_is_told_in_a_sentence(azure: Emulator) -> None:
    """In a process of its own: azure-ai-ml reads the cloud when it is imported, and warns by a paragraph."""
    script = (
        "from core.azure.account import load; from core.azure.clients import Azure\n"
        "from core.errors import FinetuiError\n"
        "try: Azure(load()).signed_in()\n"
        "except FinetuiError as error: print(error)"
    )
    lost = {"ARM_CLOUD_METADATA_URL": "https://127.0.0.1:1/metadata", "HTTPS_PROXY": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env={**os.environ, **lost},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    assert "Azure can't be reached" in done.stdout
    assert (
        "Cause: The cloud's own description (ARM_CLOUD_METADATA_URL=https://127.0.0.1:1/metadata)"
        in done.stdout
    )
    assert "Next: Check the network" in done.stdout


def test_missing_certificates_are_waited_for(clients: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    clients.signed_in()
    assert jobs.find(clients, "any") is None
    fresh = Azure(clients.account)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "/nowhere/certificates.pem")
    with pytest.raises(AzureError, match="certificates is missing") as refused:
        jobs.find(clients, "any")
    assert refused.value.transient
    assert "REQUESTS_CA_BUNDLE" in refused.value.next_step
    with pytest.raises(AzureError) as refused:
        fresh.signed_in()
    assert refused.value.transient
