"""Hubs, projects, their datastores and the secrets of those."""

from __future__ import annotations

import time
from typing import Any

from tests.azure_emulator import arm, azurite
from tests.azure_emulator.state import MANAGED_IDENTITY, TENANT, Operation, Workspace
from tests.azure_emulator.wire import Answer, Call, Refusal, Table

SERVICE = "/providers/Microsoft.MachineLearningServices"
WORKSPACES = arm.GROUP + SERVICE + "/workspaces"
WORKSPACE = WORKSPACES + "/{w}"
DATASTORES = ("workspaceblobstore", "workspaceartifactstore")


def routes(table: Table) -> None:
    table.add("GET", arm.SUBSCRIPTION + SERVICE + "/workspaces", every)
    table.add("GET", arm.SUBSCRIPTION + SERVICE + "/locations/{location}/usages", usages)
    table.add("GET", WORKSPACES, every)
    table.add("GET", WORKSPACE, get)
    table.add("PUT", WORKSPACE, put)
    table.add("PATCH", WORKSPACE, patch)
    table.add("DELETE", WORKSPACE, delete)
    table.add("GET", WORKSPACE + "/datastores", datastores)
    table.add("GET", WORKSPACE + "/datastores/{datastore}", datastore)
    table.add("POST", WORKSPACE + "/datastores/{datastore}/listSecrets", secrets)


def find(call: Call) -> Workspace:
    """The workspace a path names; ARM's 404 when there is none."""
    found = call.azure.state.workspace(call.names["w"], call.names["g"], call.names["s"])
    if not found:
        raise Refusal(
            404,
            "ResourceNotFound",
            f"The Resource 'Microsoft.MachineLearningServices/workspaces/{call.names['w']}' under resource group "
            f"'{call.names['g']}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
        )
    return found


def as_resource(call: Call, workspace: Workspace) -> dict[str, Any]:
    storage = (
        f"/subscriptions/{workspace.subscription}/resourceGroups/{workspace.group}"
        f"/providers/Microsoft.Storage/storageAccounts/{azurite.ACCOUNT}"
    )
    tracking = call.azure.url.replace("https://", "azureml://")
    properties = {
        "friendlyName": workspace.friendly_name or workspace.name,
        "description": workspace.description,
        "workspaceId": workspace.id,
        "discoveryUrl": f"{call.azure.url}/discovery",
        "mlFlowTrackingUri": f"{tracking}/mlflow/v1.0{workspace.arm_id}",
        "provisioningState": "Succeeded",
        "storageAccount": storage,
        "publicNetworkAccess": workspace.public_network,
    }
    if workspace.hub:
        properties["hubResourceId"] = workspace.hub
    return {
        "id": workspace.arm_id,
        "name": workspace.name,
        "type": "Microsoft.MachineLearningServices/workspaces",
        "location": workspace.location,
        "kind": workspace.kind,
        "identity": {"type": "SystemAssigned", "principalId": MANAGED_IDENTITY, "tenantId": TENANT},
        "sku": {"name": "Basic", "tier": "Basic"},
        "tags": workspace.tags,
        "properties": properties,
        "systemData": call.azure.state.system_data(workspace.made),
    }


def every(call: Call) -> Answer:
    group = call.names.get("g", "").lower()
    kind = call.query.get("kind", "").lower()
    found = [
        one
        for one in call.azure.state.workspaces.values()
        if one.subscription == call.names["s"]
        and (not group or one.group.lower() == group)
        and (not kind or one.kind.lower() in kind.split(","))
    ]
    return Answer(body={"value": [as_resource(call, one) for one in found]})


def get(call: Call) -> Answer:
    return Answer(body=as_resource(call, find(call)))


def put(call: Call) -> Answer:
    """Make a workspace without a template; an existing one keeps its content."""
    body, names, state = call.body, call.names, call.azure.state
    given = body.get("properties", {})
    workspace = Workspace(
        names["s"],
        names["g"],
        names["w"],
        str(body.get("kind", "Default")).capitalize(),
        body["location"],
        hub=given.get("hubResourceId"),
        friendly_name=given.get("friendlyName") or "",
        description=given.get("description") or "",
        tags=body.get("tags") or {},
    )
    if workspace.hub and not arm.hub_of(call, workspace.hub):
        raise Refusal(400, "BadRequest", f"The hub {workspace.hub} was not found.")
    existing = state.workspace(names["w"], names["g"], names["s"])
    if existing:
        return Answer(200, as_resource(call, existing))
    failed = state.settings.workspace_ending == "Failed"

    def finish(done: Operation) -> None:
        if done.status == "Succeeded":
            call.azure.add_workspace(workspace)

    running = Operation(
        time.time() + state.settings.operation_seconds,
        finish,
        ending="Failed" if failed else "Succeeded",
        error={"code": "BadRequest", "message": "The storage account could not be made."} if failed else None,
    )
    made = as_resource(call, workspace)
    made["properties"]["provisioningState"] = "Creating"
    return Answer(201, made, arm.follow(call, state.start(running)))


def patch(call: Call) -> Answer:
    workspace = find(call)
    given = call.body.get("properties", {})
    workspace.tags |= call.body.get("tags") or {}
    workspace.friendly_name = given.get("friendlyName") or workspace.friendly_name
    workspace.description = given.get("description") or workspace.description
    workspace.public_network = given.get("publicNetworkAccess") or workspace.public_network
    return Answer(body=as_resource(call, workspace))


def delete(call: Call) -> Answer:
    workspace, state = find(call), call.azure.state
    inside = [
        one.name
        for one in state.workspaces.values()
        if one.hub and one.hub.lower() == workspace.arm_id.lower()
    ]
    if inside:
        # Invented text: that a hub with projects is refused is documented, the words are not.
        raise Refusal(409, "Conflict", f"The hub has projects: {', '.join(inside)}. Delete those first.")

    def finish(_: Operation) -> None:
        state.workspaces.pop((workspace.subscription, workspace.group.lower(), workspace.name.lower()), None)

    running = Operation(time.time() + state.settings.operation_seconds, finish)
    return Answer(202, headers=arm.follow(call, state.start(running)))


def usages(call: Call) -> Answer:
    state = call.azure.state
    here = [
        endpoint
        for workspace in state.workspaces.values()
        if workspace.subscription == call.names["s"] and workspace.location == call.names["location"]
        for endpoint in workspace.endpoints
    ]
    return Answer(
        body={
            "value": [
                {
                    "id": f"{call.path}/serverlessEndpoints",
                    "type": "Microsoft.MachineLearningServices/usages",
                    "amlWorkspaceLocation": call.names["location"],
                    "unit": "Count",
                    "currentValue": len(here),
                    "limit": state.settings.endpoint_quota,
                    "name": {"value": "serverlessEndpoints", "localizedValue": "Serverless endpoints"},
                }
            ]
        }
    )


def _datastore(call: Call, name: str) -> dict[str, Any]:
    workspace = find(call)
    if name not in DATASTORES:
        raise Refusal(404, "UserError", f"Datastore {name} was not found.")
    credentials = call.azure.state.settings.datastore_credentials
    return {
        "id": f"{workspace.arm_id}/datastores/{name}",
        "name": name,
        "type": "Microsoft.MachineLearningServices/workspaces/datastores",
        "systemData": call.azure.state.system_data(workspace.made),
        "properties": {
            "description": None,
            "tags": None,
            "properties": None,
            "isDefault": name == DATASTORES[0],
            "credentials": {"credentialsType": credentials},
            "datastoreType": "AzureBlob",
            "accountName": azurite.ACCOUNT,
            "containerName": workspace.container,
            "endpoint": f"core.localhost:{call.azure.blob_port}",
            "protocol": "https",
            "serviceDataAccessAuthIdentity": "None",
            "subscriptionId": workspace.subscription,
            "resourceGroup": workspace.group,
        },
    }


def datastores(call: Call) -> Answer:
    names = DATASTORES[:1] if call.query.get("isDefault") else DATASTORES
    return Answer(body={"value": [_datastore(call, name) for name in names]})


def datastore(call: Call) -> Answer:
    return Answer(body=_datastore(call, call.names["datastore"]))


def secrets(call: Call) -> Answer:
    _datastore(call, call.names["datastore"])
    if call.azure.blobs is None:
        raise Refusal(503, "ServiceUnavailable", "This loopback Azure runs without a blob store.")
    if call.azure.state.settings.datastore_credentials == "AccountKey":
        return Answer(body={"secretsType": "AccountKey", "key": azurite.KEY})
    hours = call.body.get("expireAfterHours") or 1
    return Answer(
        body={"secretsType": "Sas", "sasToken": call.azure.blobs.signature(find(call).container, hours)}
    )
