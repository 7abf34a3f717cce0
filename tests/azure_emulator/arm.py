"""ARM's own resources: subscriptions, resource groups, providers, deployments, roles and long-running operations."""

from __future__ import annotations

import time
import uuid
from typing import Any

from tests.azure_emulator import access
from tests.azure_emulator.state import Operation, Subscription, Workspace
from tests.azure_emulator.wire import Answer, Call, Refusal, Table

SUBSCRIPTION = "/subscriptions/{s}"
GROUP = SUBSCRIPTION + "/resourceGroups/{g}"
DEPLOYMENT = GROUP + "/providers/Microsoft.Resources/deployments/{d}"
ROLES = "/providers/Microsoft.Authorization"
REGIONS = {
    "eastus": "East US",
    "eastus2": "East US 2",
    "northcentralus": "North Central US",
    "southcentralus": "South Central US",
    "westus": "West US",
    "westus3": "West US 3",
    "swedencentral": "Sweden Central",
    "westeurope": "West Europe",
}


def routes(table: Table) -> None:
    table.add("GET", "/subscriptions", subscriptions, "token")
    table.add("GET", "/tenants", tenants, "token")
    table.add("GET", SUBSCRIPTION, subscription)
    table.add("GET", SUBSCRIPTION + "/locations", locations)
    table.add("GET", SUBSCRIPTION + "/resourceGroups", groups)
    table.add("PUT", GROUP.replace("{g}", "{new}"), put_group)
    table.add("GET HEAD", GROUP.replace("{g}", "{new}"), group)
    table.add("DELETE", GROUP, delete_group)
    table.add("GET", SUBSCRIPTION + "/providers", providers)
    table.add("GET", SUBSCRIPTION + "/providers/{ns}", provider)
    table.add("POST", SUBSCRIPTION + "/providers/{ns}/register", register)
    table.add("PUT", DEPLOYMENT, put_deployment)
    table.add("GET", DEPLOYMENT, deployment)
    table.add("GET", GROUP + "/deployments/{d}/operations", deployment_operations)
    table.add("GET", DEPLOYMENT + "/operations", deployment_operations)
    table.add("GET", SUBSCRIPTION + "/operations/{o}", operation)
    for scope in (SUBSCRIPTION, GROUP, GROUP + "/providers/Microsoft.MachineLearningServices/workspaces/{w}"):
        table.add("GET", scope + ROLES + "/permissions", permissions, "token")
        table.add("GET", scope + ROLES + "/roleAssignments", role_assignments)
        table.add("GET", scope + ROLES + "/roleDefinitions", role_definitions)
        table.add("GET", scope + ROLES + "/roleDefinitions/{role}", role_definition)


def subscriptions(call: Call) -> Answer:
    """Those of the token's tenant that the caller has a role in."""
    state = call.azure.state
    held = [role.scope.split("/")[2] for role in state.roles if role.principal == call.token["oid"]]
    seen = [one for one in state.subscriptions.values() if one.tenant == call.token["tid"] and one.id in held]
    return Answer(body={"value": [_subscription(one) for one in seen]})


def tenants(call: Call) -> Answer:
    return Answer(
        body={
            "value": [
                {"id": f"/tenants/{name}", "tenantId": name, "displayName": title, "tenantCategory": "Home"}
                for name, title in call.azure.state.tenants.items()
            ]
        }
    )


def subscription(call: Call) -> Answer:
    return Answer(body=_subscription(call.azure.state.subscriptions[call.names["s"]]))


def _subscription(one: Subscription) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{one.id}",
        "subscriptionId": one.id,
        "tenantId": one.tenant,
        "displayName": one.name,
        "state": one.state,
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {
            "locationPlacementId": "Public",
            "quotaId": "PayAsYouGo",
            "spendingLimit": "Off",
        },
    }


def locations(call: Call) -> Answer:
    return Answer(
        body={
            "value": [
                {
                    "id": f"/subscriptions/{call.names['s']}/locations/{name}",
                    "name": name,
                    "displayName": title,
                    "regionalDisplayName": title,
                    "type": "Region",
                }
                for name, title in REGIONS.items()
            ]
        }
    )


def groups(call: Call) -> Answer:
    held = call.azure.state.groups
    return Answer(body={"value": [one for (owner, _), one in held.items() if owner == call.names["s"]]})


def put_group(call: Call) -> Answer:
    existing = call.azure.state.groups.get((call.names["s"], call.names["new"].lower()))
    location = call.body["location"].replace(" ", "").lower()
    if existing and existing["location"] != location:
        raise Refusal(
            409,
            "InvalidResourceGroupLocation",
            f"Invalid resource group location '{location}'. The Resource group already exists in location "
            f"'{existing['location']}'.",
        )
    made = existing or call.azure.state.add_group(call.names["new"], location, call.names["s"])
    made["tags"] = call.body.get("tags") or {}
    return Answer(200 if existing else 201, made)


def group(call: Call) -> Answer:
    found = call.azure.state.groups.get((call.names["s"], call.names["new"].lower()))
    if not found:
        raise Refusal(
            404, "ResourceGroupNotFound", f"Resource group '{call.names['new']}' could not be found."
        )
    return Answer(204) if call.method == "HEAD" else Answer(body=found)


def delete_group(call: Call) -> Answer:
    state, name = call.azure.state, call.names["g"].lower()
    del state.groups[call.names["s"], name]
    for key in [key for key in state.workspaces if key[:2] == (call.names["s"], name)]:
        del state.workspaces[key]
    return Answer(200)


def _provider(call: Call, namespace: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{call.names['s']}/providers/{namespace}",
        "namespace": namespace,
        "registrationState": call.azure.state.provider(call.names["s"], namespace),
        "registrationPolicy": "RegistrationRequired",
        "resourceTypes": [],
    }


def providers(call: Call) -> Answer:
    names = sorted(name for owner, name in call.azure.state.providers if owner == call.names["s"])
    return Answer(body={"value": [_provider(call, name) for name in names]})


def provider(call: Call) -> Answer:
    return Answer(body=_provider(call, call.names["ns"]))


def register(call: Call) -> Answer:
    state = call.azure.state
    if state.provider(call.names["s"], call.names["ns"]) == "NotRegistered":
        ready = time.time() + state.settings.register_seconds
        state.set_provider(call.names["s"], call.names["ns"], "Registering", ready)
    return Answer(body=_provider(call, call.names["ns"]))


def put_deployment(call: Call) -> Answer:
    """Make the workspace that the SDK's template describes; the template's other resources are only named."""
    state, names = call.azure.state, call.names
    given = {key: one.get("value") for key, one in call.body["properties"].get("parameters", {}).items()}
    workspace = Workspace(
        names["s"],
        names["g"],
        given["workspaceName"],
        str(given.get("kind", "default")).capitalize(),
        given["location"],
        hub=given.get("workspace_hub") or None,
        friendly_name=given.get("friendlyName") or "",
        description=given.get("description") or "",
        tags=given.get("tagValues") or {},
    )
    path = call.path.rstrip("/")
    record: dict[str, Any] = {
        "id": path,
        "name": names["d"],
        "type": "Microsoft.Resources/deployments",
        "properties": {
            "provisioningState": "Accepted",
            "mode": "Incremental",
            "correlationId": str(uuid.uuid4()),
            "timestamp": state.stamp(),
            "duration": f"PT{state.settings.operation_seconds:.1f}S",
        },
    }
    state.deployments[path.lower()] = record

    def finish(done: Operation) -> None:
        record["properties"]["provisioningState"] = done.status
        if done.status == "Succeeded":
            call.azure.add_workspace(workspace)

    running = Operation(time.time() + state.settings.operation_seconds, finish)
    if workspace.hub and not hub_of(call, workspace.hub):
        running.ending, running.error = "Failed", _failed(f"The hub {workspace.hub} was not found.")
    elif state.settings.workspace_ending == "Failed":
        running.ending, running.error = "Failed", _failed("The storage account could not be made.")
    return Answer(201, record, follow(call, state.start(running)))


def hub_of(call: Call, arm_id: str) -> Workspace | None:
    return next(
        (one for one in call.azure.state.workspaces.values() if one.arm_id.lower() == arm_id.lower()), None
    )


def _failed(reason: str) -> dict[str, Any]:
    return {
        "code": "DeploymentFailed",
        "message": "At least one resource deployment operation failed. Please list deployment operations for details.",
        "details": [{"code": "BadRequest", "message": reason}],
    }


def deployment(call: Call) -> Answer:
    found = call.azure.state.deployments.get(call.path.rstrip("/").lower())
    if not found:
        raise Refusal(404, "DeploymentNotFound", f"Deployment '{call.names['d']}' could not be found.")
    return Answer(body=found)


def deployment_operations(call: Call) -> Answer:
    return Answer(body={"value": []})


def follow(call: Call, name: str) -> dict[str, str]:
    """The headers that tell a client where to ask how an operation goes.

    The service sends whole seconds in Retry-After; the form in milliseconds lets tests not wait a second for each.
    """
    where = f"{call.azure.url}/subscriptions/{call.names['s']}/operations/{name}?api-version={call.version}"
    return {"Azure-AsyncOperation": where, "retry-after-ms": "100"}


def operation(call: Call) -> Answer:
    found = call.azure.state.operations.get(call.names["o"])
    if not found:
        raise Refusal(404, "OperationNotFound", f"The operation '{call.names['o']}' was not found.")
    body: dict[str, Any] = {"id": call.path, "name": call.names["o"], "status": found.status}
    if found.status == "Failed":
        body["error"] = found.error
    return Answer(body=body, headers={"retry-after-ms": "100"} if found.status == "InProgress" else {})


def _scope(call: Call) -> str:
    return call.path[: call.path.lower().index(ROLES.lower())]


def permissions(call: Call) -> Answer:
    """The actions of every role that reaches the scope."""
    found = [access.ROLES[role.definition] for role in access.roles_at(call, _scope(call))]
    return Answer(
        body={
            "value": [
                {
                    "actions": one["actions"],
                    "notActions": one["notActions"],
                    "dataActions": [],
                    "notDataActions": [],
                }
                for one in found
            ]
        }
    )


def role_assignments(call: Call) -> Answer:
    found = [
        {
            "id": f"{role.scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}",
            "name": str(uuid.uuid4()),
            "type": "Microsoft.Authorization/roleAssignments",
            "properties": {
                "roleDefinitionId": f"/subscriptions/{call.names['s']}{ROLES}/roleDefinitions/{role.definition}",
                "principalId": role.principal,
                "principalType": "User",
                "scope": role.scope,
            },
        }
        for role in access.roles_at(call, _scope(call))
    ]
    return Answer(body={"value": found})


def _definition(call: Call, name: str) -> dict[str, Any]:
    found = access.ROLES.get(name)
    if not found:
        raise Refusal(404, "RoleDefinitionDoesNotExist", f"The role definition '{name}' was not found.")
    return {
        "id": f"/subscriptions/{call.names['s']}{ROLES}/roleDefinitions/{name}",
        "name": name,
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": found["roleName"],
            "type": "BuiltInRole",
            "description": found["roleName"],
            "assignableScopes": ["/"],
            "permissions": [
                {
                    "actions": found["actions"],
                    "notActions": found["notActions"],
                    "dataActions": [],
                    "notDataActions": [],
                }
            ],
        },
    }


def role_definition(call: Call) -> Answer:
    return Answer(body=_definition(call, call.names["role"]))


def role_definitions(call: Call) -> Answer:
    return Answer(body={"value": [_definition(call, name) for name in access.ROLES]})
