"""A loopback Azure for a test, and a plain HTTP client that is signed in to it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.azure_emulator import emulator, state
from tests.azure_emulator.emulator import Emulator

VERSION = {"api-version": "2024-10-01-preview"}
BASE_MODEL = "azureml://registries/azureml/models/Phi-4-mini-instruct"


class Client:
    """Requests to an emulator, with a token and the API version of jobs and endpoints."""

    def __init__(self, azure: Emulator, principal: str = state.PERSON, tenant: str = state.TENANT) -> None:
        self.azure = azure
        self.token = azure.entra.token(azure.url, tenant, principal)
        # Only this emulator's certificates are trusted, and no proxy is in the way.
        self._http = httpx.Client(
            base_url=azure.url,
            verify=ssl.create_default_context(cafile=str(azure.certificates.authority)),
            trust_env=False,
        )

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        return self._http.request(
            method,
            path,
            json=body,
            params={**VERSION, **query},
            headers={"Authorization": f"Bearer {self.token}"},
        )

    def workspace(self, method: str, rest: str = "", body: Any = None, **query: str) -> httpx.Response:
        """A request to something in the ready project."""
        where = (
            f"/subscriptions/{state.SUBSCRIPTION}/resourceGroups/{state.GROUP}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{state.PROJECT}"
        )
        return self.ask(method, where + rest, body, **query)

    def close(self) -> None:
        self._http.close()


def job_body(model: str = f"{BASE_MODEL}/versions/1", **details: Any) -> dict[str, Any]:
    """A fine-tuning job as the SDK sends it."""
    return {
        "properties": {
            "jobType": "FineTuning",
            "displayName": "d",
            "experimentName": "e",
            "fineTuningDetails": {
                "taskType": "chatCompletion",
                "modelProvider": "Custom",
                "model": {"uri": model, "jobInputType": "mlflow_model"},
                "trainingData": {
                    "uri": "azureml://datastores/workspaceblobstore/paths/a.jsonl",
                    "jobInputType": "uri_file",
                },
                "hyperParameters": {"num_train_epochs": "1"},
                **details,
            },
            "outputs": {"registered_model": {"assetName": "tuned", "jobOutputType": "mlflow_model"}},
        }
    }


def endpoint_body(model: str = BASE_MODEL, **properties: Any) -> dict[str, Any]:
    """A serverless endpoint as the SDK sends it."""
    return {
        "location": state.REGION,
        "sku": {"name": "Consumption"},
        "properties": {"authMode": "Key", "modelSettings": {"modelId": model}, **properties},
    }


@pytest.fixture
def azure() -> Iterator[Emulator]:
    """Without a blob store, and everything instant unless a test says otherwise."""
    settings = state.Settings(
        seconds_per_status=0.0, operation_seconds=0.0, register_seconds=0.0, token_pause=0.0
    )
    with emulator.running(blob=False, settings=settings) as running:
        yield running


@pytest.fixture
def client(azure: Emulator) -> Iterator[Client]:
    made = Client(azure)
    yield made
    made.close()


@pytest.fixture
def sdk(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The emulator, with this process's environment leading the SDKs to it."""
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    return azure
