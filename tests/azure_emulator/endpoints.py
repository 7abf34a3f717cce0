"""Serverless endpoints, their keys, and marketplace subscriptions."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from tests.azure_emulator import arm, workspaces
from tests.azure_emulator.faults import name_taken
from tests.azure_emulator.state import Operation, Workspace
from tests.azure_emulator.wire import Answer, Call, Refusal, Table, user_error

ENDPOINT = workspaces.WORKSPACE + "/serverlessEndpoints/{e}"
MARKET = workspaces.WORKSPACE + "/marketplaceSubscriptions"
BASE = re.compile(r"azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)")
CUSTOM = re.compile(
    r"azureml://locations/(?P<location>[^/]+)/workspaces/(?P<workspace>[^/]+)"
    r"/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"
)
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,50}[a-zA-Z0-9]")
OWN_REGISTRY = "azureml"


@dataclass
class Endpoint:
    name: str
    model_id: str
    location: str
    made: float
    content_safety: str = "Enabled"
    provisioning: str = "Creating"
    tags: dict[str, str] = field(default_factory=dict)
    sku: dict[str, Any] = field(default_factory=lambda: {"name": "Consumption"})
    keys: dict[str, str] = field(
        default_factory=lambda: {"primaryKey": secrets.token_hex(16), "secondaryKey": secrets.token_hex(16)}
    )
    answered: int = 0
    """Chat requests answered so far."""

    @property
    def custom_model(self) -> tuple[str, str] | None:
        """Name and version of a fine-tuned model; None for a base model."""
        found = CUSTOM.fullmatch(self.model_id)
        return (found["name"], found["version"]) if found else None

    @property
    def is_online(self) -> bool:
        return self.provisioning == "Succeeded"


def routes(table: Table) -> None:
    table.add("GET", workspaces.WORKSPACE + "/serverlessEndpoints", every)
    table.add("GET", ENDPOINT, get)
    table.add("PUT", ENDPOINT, put)
    table.add("PATCH", ENDPOINT, patch)
    table.add("DELETE", ENDPOINT, delete)
    table.add("POST", ENDPOINT + "/listKeys", list_keys)
    table.add("POST", ENDPOINT + "/regenerateKeys", regenerate_keys)
    table.add("GET", MARKET, subscriptions)
    table.add("GET", MARKET + "/{m}", subscription)
    table.add("PUT", MARKET + "/{m}", subscribe)
    table.add("DELETE", MARKET + "/{m}", unsubscribe)


def _find(call: Call, workspace: Workspace) -> Endpoint:
    found: Endpoint | None = workspace.endpoints.get(call.names["e"])
    if not found:
        raise Refusal(
            404,
            "ResourceNotFound",
            f"The Resource 'Microsoft.MachineLearningServices/workspaces/{workspace.name}"
            f"/serverlessEndpoints/{call.names['e']}' was not found.",
        )
    return found


def as_resource(call: Call, workspace: Workspace, endpoint: Endpoint) -> dict[str, Any]:
    states = {
        "Creating": "Creating",
        "Succeeded": "Online",
        "Failed": "CreationFailed",
        "Deleting": "Deleting",
    }
    properties: dict[str, Any] = {
        "authMode": "Key",
        "modelSettings": {"modelId": endpoint.model_id},
        "provisioningState": endpoint.provisioning,
        "endpointState": states[endpoint.provisioning],
    }
    if call.version >= "2024-04-01":
        properties["contentSafety"] = {"contentSafetyStatus": endpoint.content_safety}
    if endpoint.provisioning != "Failed":
        properties["inferenceEndpoint"] = {
            "uri": f"{call.azure.url}/serve/{endpoint.name}",
            "headers": {"azureml-model-deployment": "default"},
        }
    return {
        "id": f"{workspace.arm_id}/serverlessEndpoints/{endpoint.name}",
        "name": endpoint.name,
        "type": "Microsoft.MachineLearningServices/workspaces/serverlessEndpoints",
        "location": endpoint.location,
        "tags": endpoint.tags,
        "sku": endpoint.sku,
        "systemData": call.azure.state.system_data(endpoint.made),
        "properties": properties,
    }


def every(call: Call) -> Answer:
    workspace = workspaces.find(call)
    return Answer(body={"value": [as_resource(call, workspace, one) for one in workspace.endpoints.values()]})


def get(call: Call) -> Answer:
    workspace = workspaces.find(call)
    return Answer(body=as_resource(call, workspace, _find(call, workspace)))


def put(call: Call) -> Answer:
    """Make an endpoint, or change the content filter and tags of one that is there."""
    workspace, state, body = workspaces.find(call), call.azure.state, call.body
    given = body.get("properties") or {}
    status = (given.get("contentSafety") or {}).get("contentSafetyStatus", "Enabled")
    existing: Endpoint | None = workspace.endpoints.get(call.names["e"])
    if existing:
        if (given.get("modelSettings") or {}).get("modelId") != existing.model_id:
            # Invented text.
            raise user_error(
                400, f"The model of serverless endpoint '{existing.name}' can't be changed.", "Immutable"
            )
        existing.content_safety, existing.tags = status, body.get("tags") or {}
        return Answer(200, as_resource(call, workspace, existing))
    endpoint = Endpoint(
        call.names["e"],
        (given.get("modelSettings") or {}).get("modelId", ""),
        body["location"],
        state.now(),
        status,
        tags=body.get("tags") or {},
        sku=body.get("sku") or {"name": "Consumption"},
    )
    _check_name(call, endpoint)
    _check_model(call, workspace, endpoint)
    workspace.endpoints[endpoint.name] = endpoint

    def finish(done: Operation) -> None:
        endpoint.provisioning = done.status

    running = Operation(time.time() + state.settings.operation_seconds, finish)
    if state.settings.endpoint_ending == "Failed":
        running.ending = "Failed"
        running.error = {"code": "InternalServerError", "message": "The deployment could not be started."}
    return Answer(201, as_resource(call, workspace, endpoint), arm.follow(call, state.start(running)))


def _check_name(call: Call, endpoint: Endpoint) -> None:
    state = call.azure.state
    if not NAME.fullmatch(endpoint.name):
        # Invented text; that a dot is refused is seen in a sample that replaces it.
        raise user_error(400, f"Serverless endpoint name '{endpoint.name}' is not valid.", "BadArgument")
    elsewhere = [
        one
        for workspace in state.workspaces.values()
        for one in workspace.endpoints.values()
        if one.location == endpoint.location
    ]
    if endpoint.name in state.settings.endpoint_names_taken or endpoint.name in {
        one.name for one in elsewhere
    }:
        raise name_taken(endpoint.name)
    if len(elsewhere) >= state.settings.endpoint_quota:
        # The shape is that of online endpoints; the text for serverless ones is invented.
        raise user_error(
            400,
            f"Endpoint Quota reached for subscription {call.names['s']}. Current usage/limit: "
            f"{len(elsewhere)}/{state.settings.endpoint_quota}.",
            "QuotaExceeded",
        )


def _check_model(call: Call, workspace: Workspace, endpoint: Endpoint) -> None:
    custom = CUSTOM.fullmatch(endpoint.model_id)
    if custom:
        owner = next(
            (one for one in call.azure.state.workspaces.values() if one.id == custom["workspace"]), None
        )
        if not owner or custom["version"] not in owner.models.get(custom["name"], {}):
            raise user_error(400, f"The model {endpoint.model_id} was not found.", "NotFound")
        for one in workspace.endpoints.values():
            if one.custom_model == endpoint.custom_model:
                # Invented text: one deployment per custom model is documented.
                raise user_error(
                    400, f"Model {custom['name']} already has the deployment '{one.name}'.", "Conflict"
                )
        return
    base = BASE.fullmatch(endpoint.model_id)
    if base and base["registry"] != OWN_REGISTRY and base["registry"] in call.azure.registries:
        bought = {one["properties"]["modelId"] for one in workspace.marketplace.values()}
        if endpoint.model_id not in bought:
            raise user_error(
                400,
                "A marketplace subscription is needed for this model.",
                "NotFound",
                "ServerlessOfferNotFound",
            )
    found = call.azure.registries.get(base["registry"], {}).get(base["name"]) if base else None
    if not found or endpoint.location not in found.regions or found.retired:
        raise user_error(
            400,
            f"The requested model {endpoint.model_id} is not available in region {arm.REGIONS.get(endpoint.location)}.",
            "NotFound",
            "ServerlessModelNotAvailableInRegion",
        )


def patch(call: Call) -> Answer:
    workspace = workspaces.find(call)
    endpoint = _find(call, workspace)
    endpoint.tags |= call.body.get("tags") or {}
    return Answer(body=as_resource(call, workspace, endpoint))


def delete(call: Call) -> Answer:
    workspace, state = workspaces.find(call), call.azure.state
    endpoint: Endpoint | None = workspace.endpoints.get(call.names["e"])
    if not endpoint:
        return Answer(204)
    endpoint.provisioning = "Deleting"

    def finish(_: Operation) -> None:
        workspace.endpoints.pop(endpoint.name, None)

    running = Operation(time.time() + state.settings.operation_seconds, finish)
    return Answer(202, headers=arm.follow(call, state.start(running)))


def list_keys(call: Call) -> Answer:
    return Answer(body=dict(_find(call, workspaces.find(call)).keys))


def regenerate_keys(call: Call) -> Answer:
    endpoint = _find(call, workspaces.find(call))
    which = call.body.get("keyType", "Primary").lower() + "Key"
    if which not in endpoint.keys:
        raise user_error(400, f"There is no {call.body.get('keyType')} key.", "BadArgument")
    endpoint.keys[which] = secrets.token_hex(16)
    return Answer(body=dict(endpoint.keys))


def subscriptions(call: Call) -> Answer:
    return Answer(body={"value": list(workspaces.find(call).marketplace.values())})


def subscription(call: Call) -> Answer:
    found = workspaces.find(call).marketplace.get(call.names["m"])
    if not found:
        raise Refusal(
            404, "ResourceNotFound", f"The marketplace subscription {call.names['m']} was not found."
        )
    return Answer(body=found)


def subscribe(call: Call) -> Answer:
    workspace = workspaces.find(call)
    made = {
        "id": f"{workspace.arm_id}/marketplaceSubscriptions/{call.names['m']}",
        "name": call.names["m"],
        "type": "Microsoft.MachineLearningServices/workspaces/marketplaceSubscriptions",
        "systemData": call.azure.state.system_data(),
        "properties": {
            "modelId": call.body["properties"]["modelId"],
            "marketplacePlan": {"publisherId": "publisher", "offerId": "offer", "planId": "plan"},
            "marketplaceSubscriptionStatus": "Subscribed",
            "provisioningState": "Succeeded",
        },
    }
    existed = call.names["m"] in workspace.marketplace
    workspace.marketplace[call.names["m"]] = made
    return Answer(200 if existed else 201, made)


def unsubscribe(call: Call) -> Answer:
    workspace, state = workspaces.find(call), call.azure.state
    if call.names["m"] not in workspace.marketplace:
        return Answer(204)

    def finish(_: Operation) -> None:
        workspace.marketplace.pop(call.names["m"], None)

    running = Operation(time.time() + state.settings.operation_seconds, finish)
    return Answer(202, headers=arm.follow(call, state.start(running)))
