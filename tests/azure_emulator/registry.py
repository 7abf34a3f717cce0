"""The `azureml` registry, with the Phi models that can be tuned and those that are retired; and a partner's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.azure_emulator import data
from tests.azure_emulator.state import State
from tests.azure_emulator.wire import Answer, Call, Refusal, Table

MODELS = (
    "/mferp/managementfrontend/subscriptions/{rs}/resourceGroups/{rg}/providers"
    "/Microsoft.MachineLearningServices/registries/{registry}/models"
)
REGIONS = ("eastus2", "eastus", "northcentralus", "southcentralus", "westus", "westus3")


@dataclass(frozen=True)
class BaseModel:
    """A model of the registry; `versions` from old to new."""

    name: str
    versions: tuple[str, ...]
    context: int
    summary: str
    tasks: tuple[str, ...] = ("chat-completion",)
    regions: tuple[str, ...] = REGIONS
    retired: str = ""


LIVE = (
    BaseModel("Phi-4", ("7", "8"), 16384, "Phi-4 14B, a highly capable model for low latency scenarios."),
    BaseModel("Phi-4-mini-instruct", ("1",), 131072, "3.8B parameters, strong for its size, long context."),
    BaseModel(
        "Phi-4-multimodal-instruct", ("1",), 131072, "5.6B parameters; text, images and speech in, text out."
    ),
    BaseModel("Phi-4-mini-reasoning", ("1",), 131072, "Mathematics, step by step.", tasks=(), regions=()),
)
RETIRED = tuple(
    BaseModel(name, versions, context, summary, retired="2025-08-30T00:00:00.000000Z")
    for name, versions, context, summary in (
        ("Phi-3-mini-128k-instruct", ("12", "13"), 131072, "3.8B parameters, long context."),
        ("Phi-3-mini-4k-instruct", ("14", "15"), 4096, "3.8B parameters, short context."),
        ("Phi-3.5-mini-instruct", ("5", "6"), 131072, "3.8B parameters, more languages."),
    )
)


PARTNERS = (
    BaseModel("Meta-Llama-3.1-8B-Instruct", ("4",), 131072, "8B parameters.", regions=("westus3",)),
    BaseModel("Llama-Guard-3-8B", ("2",), 131072, "Classifies what is harmful.", tasks=(), regions=()),
)


def all_models() -> dict[str, dict[str, BaseModel]]:
    """Registries by name, their models by name."""
    return {
        "azureml": {model.name: model for model in (*LIVE, *RETIRED)},
        "azureml-meta": {model.name: model for model in PARTNERS},
    }


def routes(table: Table) -> None:
    table.add("GET", MODELS, containers, "token")
    table.add("GET", MODELS + "/{n}", container, "token")
    table.add("GET", MODELS + "/{n}/versions", versions, "token")
    table.add("GET", MODELS + "/{n}/versions/{v}", version, "token")


def as_version(state: State, registry: str, model: BaseModel, number: str) -> dict[str, Any]:
    tags = {
        "task": "chat-completion",
        "license": "mit",
        "author": "Microsoft",
        "summary": model.summary,
        "textContextWindow": str(model.context),
        "inferenceTasks": json.dumps(["chat-completion"]),
        "fineTuningTasks": json.dumps(list(model.tasks)),
        "maas-inference": "true",
        "maas-finetuning": "true" if model.regions else "false",
        "maas-finetuning-deploy-regions": json.dumps(list(model.regions)),
        "model_specific_defaults": json.dumps(
            {
                "num_train_epochs": 1,
                "per_device_train_batch_size": 1,
                "learning_rate": 5e-6,
                "apply_lora": "true",
            }
        ),
    }
    properties = {"finetuneRetirementDate": model.retired} if model.retired else {}
    return {
        "id": f"azureml://registries/{registry}/models/{model.name}/versions/{number}",
        "name": number,
        "type": "Microsoft.MachineLearningServices/registries/models/versions",
        "systemData": state.system_data(1_750_000_000 + int(number)),
        "properties": {
            "description": model.summary,
            "tags": tags,
            "properties": properties,
            "isArchived": bool(model.retired),
            "isAnonymous": False,
            "modelType": "mlflow_model",
            "flavors": {"python_function": {"data": {"loader_module": "mlflow.transformers"}}},
            "modelUri": f"azureml://registries/{registry}/models/{model.name}/versions/{number}",
            "stage": "Production",
        },
    }


def _registry(call: Call) -> dict[str, BaseModel]:
    found = call.azure.registries.get(call.names["registry"])
    if found is None:
        raise Refusal(404, "RegistryNotFound", f"Registry {call.names['registry']} was not found.")
    return found


def _model(call: Call) -> BaseModel:
    found = _registry(call).get(call.names["n"])
    if not found:
        raise Refusal(404, "UserError", f"models container {call.names['n']} not found")
    return found


def _container(call: Call, model: BaseModel) -> dict[str, Any]:
    newest = as_version(call.azure.state, call.names["registry"], model, model.versions[-1])
    return {
        "id": f"azureml://registries/{call.names['registry']}/models/{model.name}",
        "name": model.name,
        "type": "Microsoft.MachineLearningServices/registries/models",
        "systemData": newest["systemData"],
        "properties": {
            "description": model.summary,
            "tags": newest["properties"]["tags"],
            "properties": {},
            "isArchived": bool(model.retired),
            "latestVersion": model.versions[-1],
            "nextVersion": str(int(model.versions[-1]) + 1),
        },
    }


def containers(call: Call) -> Answer:
    return data.listing(call, [_container(call, model) for model in _registry(call).values()])


def container(call: Call) -> Answer:
    return Answer(body=_container(call, _model(call)))


def versions(call: Call) -> Answer:
    """Newest first; all of them, archived or not, as a lookup of the latest one needs no listing view."""
    model = _model(call)
    made = [
        as_version(call.azure.state, call.names["registry"], model, one) for one in reversed(model.versions)
    ]
    return Answer(body={"value": made[: int(call.query.get("$top", len(made)))]})


def version(call: Call) -> Answer:
    model = _model(call)
    if call.names["v"] not in model.versions:
        raise Refusal(404, "UserError", f"models container {model.name} version {call.names['v']} not found")
    return Answer(body=as_version(call.azure.state, call.names["registry"], model, call.names["v"]))
