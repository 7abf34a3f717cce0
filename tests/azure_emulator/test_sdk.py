"""The unpatched SDKs against the loopback Azure and the real Azurite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azure_emulator import azurite, cloud, emulator, state
from tests.azure_emulator.emulator import Emulator

BASE = "azureml://registries/azureml/models/Phi-4-mini-instruct"
missing = azurite.missing()
pytestmark = pytest.mark.skipif(missing is not None, reason=missing or "")


@pytest.fixture(scope="module")
def azure() -> Iterator[Emulator]:
    with emulator.running(settings=state.Settings(seconds_per_status=0.1, operation_seconds=0.1)) as running:
        yield running


@pytest.fixture(scope="module")
def seen(azure: Emulator) -> dict[str, Any]:
    """What a process saw that walked through everything."""
    azure.state.set_provider(azure.subscription, "Microsoft.Network", "NotRegistered")
    given = {
        **azure.service_principal,
        "url": azure.url,
        "subscription": azure.subscription,
        "resource_group": azure.resource_group,
        "workspace": azure.workspace,
        "region": azure.region,
        "oid": state.CLIENT_OBJECT,
    }
    walked = subprocess.run(
        [sys.executable, "-m", "tests.azure_emulator.sdk_walk"],
        input=json.dumps(given),
        env={**os.environ, **azure.environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert walked.returncode == 0, walked.stderr[-4000:]
    found: dict[str, Any] = json.loads(walked.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_getting_ready(seen: dict[str, Any]) -> None:
    assert seen["network before"] == "NotRegistered"
    assert seen["group exists"] is True
    assert seen["groups"] == ["another-rg", "finetui-rg"]
    assert seen["role"] == "Contributor"
    assert seen["actions"] == ["*"]
    assert seen["new project"] == ["new-project", "eastus2", "new-hub"]
    assert seen["workspaces"] == ["finetui-hub", "finetui-project", "new-hub", "new-project"]


@pytest.mark.slow
def test_registry(seen: dict[str, Any]) -> None:
    assert seen["base model"] == f"{BASE}/versions/1"
    assert set(seen["regions"]) == {
        "eastus2",
        "eastus",
        "northcentralus",
        "southcentralus",
        "westus",
        "westus3",
    }
    assert {"Phi-4", "Phi-4-mini-instruct", "Phi-4-multimodal-instruct"} <= set(seen["registry models"])
    assert not [name for name in seen["registry models"] if name.startswith("Phi-3")]


@pytest.mark.slow
def test_data_is_in_azurite_once(azure: Emulator, seen: dict[str, Any]) -> None:
    assert azure.blobs is not None
    content = azure.blobs.content(azure.project.container)
    first, second = seen["data paths"]
    assert first == second
    assert seen["data versions"] == ["1", "2"]
    path = first.removeprefix("azureml://datastores/workspaceblobstore/paths/")
    assert list(content) == [path]
    assert len(content[path].splitlines()) == 20


@pytest.mark.slow
def test_job(azure: Emulator, seen: dict[str, Any]) -> None:
    assert seen["job names"] == ["ft-1", "ft-1"]
    assert azure.state.jobs["ft-1"].puts == 2
    assert seen["job"] == "Completed"
    assert seen["streamed"] is True
    assert seen["cancelled"] == "Canceled"
    assert seen["jobs"] == ["ft-1", "ft-2"]
    assert seen["jobs after deletion"] == ["ft-1"]
    assert len(seen["losses"]) == 20
    assert seen["losses"] == sorted(seen["losses"], reverse=True)


@pytest.mark.slow
def test_model_and_endpoint(seen: dict[str, Any]) -> None:
    assert seen["model properties"] == {
        "baseModelId": BASE,
        "baseWeightsId": "Phi-4-mini-instruct",
        "baseModelWeightsVersion": "1.0",
        "hasDeltaWeights": "true",
        "maas-finetuning": "true",
    }
    assert seen["endpoint"] == "succeeded"
    assert seen["chat"] == ["tuned-rows heard: one two", 4]
    assert seen["filtered"] == "content_filter"
    assert seen["key changed"] == [True, True]
    assert seen["content safety"] == "Disabled"
    assert seen["model in use"] == "Conflict"
    assert seen["endpoints left"] == []
    assert seen["marketplace"] == "subscribed"


@pytest.mark.slow
def test_a_retired_model_is_refused(seen: dict[str, Any]) -> None:
    assert seen["retired"] == [400, "UserError"]


@pytest.mark.slow
def test_every_body_fits_its_type(azure: Emulator, seen: dict[str, Any]) -> None:
    if not azure.schemas.checking:
        pytest.skip("the ARM types are not at hand: FINETUI_ARM_TYPES names no folder with arm_schema.py")
    assert azure.schema_errors == []
    assert azure.schemas.checked["request workspaces/jobs"] >= 4
    assert azure.schemas.checked["response workspaces/serverlessEndpoints"] >= 4


def test_storage_takes_a_token(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A datastore without a secret: the token of the signed-in identity, by name and through the proxy."""
    from azure.identity import ClientSecretCredential
    from azure.storage.blob import BlobClient

    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    given = azure.service_principal
    credential = ClientSecretCredential(
        given["AZURE_TENANT_ID"],
        given["AZURE_CLIENT_ID"],
        given["AZURE_CLIENT_SECRET"],
        authority=azure.url,
        disable_instance_discovery=True,
    )
    address = f"https://{azurite.ACCOUNT}.blob.core.localhost:{azure.blob_port}"
    blob = BlobClient(address, azure.project.container, "by-token.txt", credential=credential)
    blob.upload_blob(b"seven")
    assert azure.blobs is not None
    assert azure.blobs.content(azure.project.container)["by-token.txt"] == b"seven"


def test_environment_names_the_cloud(azure: Emulator) -> None:
    assert azure.environment["AZUREML_CURRENT_CLOUD"] == cloud.NAME
    assert azure.service_principal["AZURE_CLIENT_SECRET"] not in azure.environment.values()


def test_azurite_lock_names_no_registry() -> None:
    lock = (azurite.SCRIPT.parents[5] / "package-lock.json").read_text(encoding="utf-8")
    packages = json.loads(lock)["packages"]
    assert packages["node_modules/azurite"]["version"] == "3.37.0"
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert all("integrity" in package for name, package in packages.items() if name)
