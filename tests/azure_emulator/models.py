"""The models registered in a workspace; finished jobs register theirs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.azure_emulator import data, workspaces
from tests.azure_emulator.state import State, Workspace
from tests.azure_emulator.wire import Answer, Call, Refusal, Table

if TYPE_CHECKING:
    from tests.azure_emulator.jobs import Job

MODEL = workspaces.WORKSPACE + "/models/{n}"


def routes(table: Table) -> None:
    table.add("GET", workspaces.WORKSPACE + "/models", containers)
    table.add("GET", MODEL, container)
    table.add("PUT", MODEL, archive)
    table.add("DELETE", MODEL, delete_container)
    table.add("GET", MODEL + "/versions", versions)
    table.add("GET", MODEL + "/versions/{v}", version)
    table.add("PUT", MODEL + "/versions/{v}", put_version)
    table.add("DELETE", MODEL + "/versions/{v}", delete_version)


def register(state: State, workspace: Workspace, job: Job) -> None:
    """What the service's own registering step does with a finished job's adapter."""
    held = workspace.models.setdefault(job.registers_as, {})
    number = data.next_version(held)
    base = re.sub(r"/versions/[^/]+$", "", job.properties["fineTuningDetails"]["model"]["uri"])
    held[number] = _version(
        state,
        workspace,
        job.registers_as,
        number,
        {
            "description": f"Fine-tuned by job {job.name}.",
            "tags": dict(job.properties.get("tags") or {}),
            "properties": {
                "baseModelId": base,
                "baseWeightsId": base.rsplit("/", 1)[-1],
                "baseModelWeightsVersion": "1.0",
                "hasDeltaWeights": "true",
                "maas-finetuning": "true",
            },
            "isArchived": False,
            "isAnonymous": False,
            "modelType": "mlflow_model",
            "flavors": {},
            "jobName": job.name,
            "modelUri": (
                f"azureml:/{workspace.arm_id.replace('/providers/Microsoft.MachineLearningServices', '')}"
                f"/datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{job.name}/outputs"
            ),
        },
    )
    for output in (job.properties.get("outputs") or {}).values():
        output["uri"] = f"azureml:{job.registers_as}:{number}"


def _version(
    state: State, workspace: Workspace, name: str, number: str, properties: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": f"{workspace.arm_id}/models/{name}/versions/{number}",
        "name": number,
        "type": "Microsoft.MachineLearningServices/workspaces/models/versions",
        "systemData": state.system_data(),
        "properties": properties,
    }


def _held(call: Call, workspace: Workspace) -> dict[str, Any]:
    found = workspace.models.get(call.names["n"])
    if not found:
        raise Refusal(404, "UserError", f"models container {call.names['n']} not found")
    return found


def containers(call: Call) -> Answer:
    workspace = workspaces.find(call)
    return data.listing(
        call,
        [data.as_container(call, workspace, "models", name, held) for name, held in workspace.models.items()],
    )


def container(call: Call) -> Answer:
    workspace = workspaces.find(call)
    return Answer(body=data.as_container(call, workspace, "models", call.names["n"], _held(call, workspace)))


def archive(call: Call) -> Answer:
    workspace = workspaces.find(call)
    held = _held(call, workspace)
    for one in held.values():
        one["properties"]["isArchived"] = bool(call.body["properties"].get("isArchived"))
    return Answer(body=data.as_container(call, workspace, "models", call.names["n"], held))


def versions(call: Call) -> Answer:
    return data.listing(call, data.newest_first(_held(call, workspaces.find(call))))


def version(call: Call) -> Answer:
    found = workspaces.find(call).models.get(call.names["n"], {}).get(call.names["v"])
    if not found:
        raise Refusal(
            404, "UserError", f"models container {call.names['n']} version {call.names['v']} not found"
        )
    return Answer(body=found)


def put_version(call: Call) -> Answer:
    workspace = workspaces.find(call)
    held = workspace.models.setdefault(call.names["n"], {})
    existing = held.get(call.names["v"])
    properties = {**(existing["properties"] if existing else {"flavors": {}}), **call.body["properties"]}
    held[call.names["v"]] = _version(
        call.azure.state, workspace, call.names["n"], call.names["v"], properties
    )
    return Answer(200 if existing else 201, held[call.names["v"]])


def _refuse_in_use(workspace: Workspace, name: str, numbers: list[str]) -> None:
    """A model with a deployment can't be deleted."""
    for endpoint in workspace.endpoints.values():
        if endpoint.custom_model in {(name, number) for number in numbers}:
            # Invented text: that it is refused is documented, the words and the status are not.
            raise Refusal(
                409,
                "Conflict",
                f"Model {name} is in use by serverless endpoint '{endpoint.name}'. Delete the deployment first.",
            )


def delete_version(call: Call) -> Answer:
    workspace = workspaces.find(call)
    held = workspace.models.get(call.names["n"], {})
    if call.names["v"] not in held:
        return Answer(204)
    _refuse_in_use(workspace, call.names["n"], [call.names["v"]])
    del held[call.names["v"]]
    if not held:
        del workspace.models[call.names["n"]]
    return Answer(200)


def delete_container(call: Call) -> Answer:
    workspace = workspaces.find(call)
    if call.names["n"] not in workspace.models:
        return Answer(204)
    _refuse_in_use(workspace, call.names["n"], list(workspace.models[call.names["n"]]))
    del workspace.models[call.names["n"]]
    return Answer(200)
