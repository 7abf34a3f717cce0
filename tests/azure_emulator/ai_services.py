"""AI services accounts (`Microsoft.CognitiveServices/accounts`), a group's list of them, and connections to them.

No types of the accounts' provider are at hand: what a request must have is checked here, by hand.
"""

from __future__ import annotations

import time
from typing import Any

from tests.azure_emulator import arm, workspaces
from tests.azure_emulator.faults import unregistered
from tests.azure_emulator.state import MANAGED_IDENTITY, TENANT, Operation
from tests.azure_emulator.wire import Answer, Call, Refusal, Table

SERVICE = "Microsoft.CognitiveServices"
ACCOUNT = arm.GROUP + f"/providers/{SERVICE}/accounts/{{a}}"
CONNECTIONS = workspaces.WORKSPACE + "/connections"


def routes(table: Table) -> None:
    table.add("GET", arm.GROUP + "/resources", resources)
    table.add("GET", ACCOUNT, get)
    table.add("PUT", ACCOUNT, put)
    table.add("GET", CONNECTIONS, connections)
    table.add("GET", CONNECTIONS + "/{c}", connection)
    table.add("PUT", CONNECTIONS + "/{c}", put_connection)


def resources(call: Call) -> Answer:
    """The group's AI services accounts; its other resources are not listed here. No properties, as in ARM."""
    wanted = f"resourceType eq '{SERVICE}/accounts'".lower()
    if call.query.get("$filter", "").lower() != wanted:
        raise Refusal(400, "InvalidFilterInQueryString", "Only AI services accounts are listed here.")
    group = f"/subscriptions/{call.names['s']}/resourcegroups/{call.names['g']}/".lower()
    found = [
        {key: value for key, value in one.items() if key != "properties"}
        for name, one in call.azure.state.ai_services.items()
        if name.startswith(group)
    ]
    return Answer(body={"value": found})


def get(call: Call) -> Answer:
    _refuse_unregistered(call)
    found = call.azure.state.ai_services.get(call.path.rstrip("/").lower())
    if not found:
        raise Refusal(
            404,
            "ResourceNotFound",
            f"The Resource '{SERVICE}/accounts/{call.names['a']}' under resource group '{call.names['g']}' was not "
            "found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
        )
    return Answer(body=found)


def put(call: Call) -> Answer:
    _refuse_unregistered(call)
    state, body, path = call.azure.state, call.body, call.path.rstrip("/")
    lacking = [name for name in ("location", "kind", "sku", "properties") if not body.get(name)]
    if lacking:
        raise Refusal(400, "InvalidRequestContent", f"The request lacks {', '.join(lacking)}.")
    domain = body["properties"].get("customSubDomainName", "")
    if domain in state.settings.subdomains_taken:
        # The code is Azure's; the words are invented.
        raise Refusal(409, "CustomDomainInUse", f"The subdomain name '{domain}' is used by another resource.")
    made: dict[str, Any] = {
        "id": path,
        "name": call.names["a"],
        "type": f"{SERVICE}/accounts",
        "location": body["location"],
        "kind": body["kind"],
        "sku": body["sku"],
        "tags": body.get("tags") or {},
        "identity": {"type": "SystemAssigned", "principalId": MANAGED_IDENTITY, "tenantId": TENANT},
        "properties": {
            **body["properties"],
            "endpoint": f"https://{domain or call.names['a']}.cognitiveservices.azure.com/",
            "provisioningState": "Succeeded",
        },
        "systemData": state.system_data(),
    }

    def finish(_: Operation) -> None:
        state.ai_services[path.lower()] = made

    running = Operation(time.time() + state.settings.operation_seconds, finish)
    accepted = {**made, "properties": {**made["properties"], "provisioningState": "Creating"}}
    return Answer(201, accepted, arm.follow(call, state.start(running)))


def _refuse_unregistered(call: Call) -> None:
    if call.azure.state.provider(call.names["s"], SERVICE) != "Registered":
        raise unregistered(SERVICE)


def connections(call: Call) -> Answer:
    return Answer(body={"value": list(workspaces.find(call).connections.values())})


def connection(call: Call) -> Answer:
    found = workspaces.find(call).connections.get(call.names["c"])
    if not found:
        raise Refusal(404, "UserError", f"Connection {call.names['c']} was not found.")
    return Answer(body=found)


def put_connection(call: Call) -> Answer:
    """A connection; its credentials are never given back."""
    workspace, name = workspaces.find(call), call.names["c"]
    properties = {key: value for key, value in call.body["properties"].items() if key != "credentials"}
    workspace.connections[name] = {
        "id": f"{workspace.arm_id}/connections/{name}",
        "name": name,
        "type": "Microsoft.MachineLearningServices/workspaces/connections",
        "properties": properties,
        "systemData": call.azure.state.system_data(),
    }
    return Answer(body=workspace.connections[name])
