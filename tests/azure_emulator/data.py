"""Data assets: containers and their versions."""

from __future__ import annotations

import time
from typing import Any

from tests.azure_emulator import workspaces
from tests.azure_emulator.state import Workspace
from tests.azure_emulator.wire import Answer, Call, Refusal, Table

CONTAINER = workspaces.WORKSPACE + "/data/{n}"


def routes(table: Table) -> None:
    table.add("GET", workspaces.WORKSPACE + "/data", containers)
    table.add("GET", CONTAINER, container)
    table.add("DELETE", CONTAINER, delete_container)
    table.add("PUT", CONTAINER, archive_container)
    table.add("GET", CONTAINER + "/versions", versions)
    table.add("GET", CONTAINER + "/versions/{v}", version)
    table.add("PUT", CONTAINER + "/versions/{v}", put_version)
    table.add("DELETE", CONTAINER + "/versions/{v}", delete_version)


def _versions(call: Call, workspace: Workspace) -> dict[str, Any]:
    found = workspace.data.get(call.names["n"])
    if not found:
        raise Refusal(404, "UserError", f"data container {call.names['n']} not found")
    return found


def newest_first(held: dict[str, Any]) -> list[Any]:
    return sorted(held.values(), key=lambda one: str(one["systemData"]["createdAt"]), reverse=True)


def next_version(held: dict[str, Any]) -> str:
    return str(max((int(one) for one in held if one.isdigit()), default=0) + 1)


def as_container(
    call: Call, workspace: Workspace, kind: str, name: str, held: dict[str, Any]
) -> dict[str, Any]:
    newest = newest_first(held)[0]
    properties = {
        "description": newest["properties"].get("description"),
        "tags": newest["properties"].get("tags") or {},
        "properties": {},
        "isArchived": all(one["properties"].get("isArchived") for one in held.values()),
        "latestVersion": newest["name"],
        "nextVersion": next_version(held),
    }
    if kind == "data":
        properties["dataType"] = newest["properties"]["dataType"]
    return {
        "id": f"{workspace.arm_id}/{kind}/{name}",
        "name": name,
        "type": f"Microsoft.MachineLearningServices/workspaces/{kind}",
        "systemData": newest["systemData"],
        "properties": properties,
    }


def seen(call: Call, resource: dict[str, Any]) -> bool:
    """Whether a listing shows a resource: the SDK sends `ActiveOnly`, or its enum's own name to registries."""
    view = call.query.get("listViewType", "ActiveOnly").lower().replace("_", "")
    archived = bool(resource["properties"].get("isArchived"))
    if "archived" in view:
        return archived
    return "all" in view or not archived


def listing(call: Call, found: list[dict[str, Any]]) -> Answer:
    shown = [one for one in found if seen(call, one)]
    return Answer(body={"value": shown[: int(call.query.get("$top", len(shown)))]})


def containers(call: Call) -> Answer:
    workspace = workspaces.find(call)
    return listing(
        call, [as_container(call, workspace, "data", name, held) for name, held in workspace.data.items()]
    )


def container(call: Call) -> Answer:
    workspace = workspaces.find(call)
    held = _versions(call, workspace)
    return Answer(body=as_container(call, workspace, "data", call.names["n"], held))


def archive_container(call: Call) -> Answer:
    workspace = workspaces.find(call)
    held = _versions(call, workspace)
    for one in held.values():
        one["properties"]["isArchived"] = bool(call.body["properties"].get("isArchived"))
    return Answer(body=as_container(call, workspace, "data", call.names["n"], held))


def delete_container(call: Call) -> Answer:
    workspace = workspaces.find(call)
    return Answer(200 if workspace.data.pop(call.names["n"], None) else 204)


def versions(call: Call) -> Answer:
    return listing(call, newest_first(_versions(call, workspaces.find(call))))


def version(call: Call) -> Answer:
    found = _versions(call, workspaces.find(call)).get(call.names["v"])
    if not found:
        raise Refusal(
            404, "UserError", f"data container {call.names['n']} version {call.names['v']} not found"
        )
    return Answer(body=found)


def put_version(call: Call) -> Answer:
    """A version's content never changes; a second PUT may change its description, tags and archival."""
    workspace = workspaces.find(call)
    held = workspace.data.setdefault(call.names["n"], {})
    existing = held.get(call.names["v"])
    if existing and existing["properties"]["dataUri"] != call.body["properties"]["dataUri"]:
        raise Refusal(
            409, "UserError", f"A data version with this name and version already exists: {call.path}"
        )
    moment = None if existing is None else existing["systemData"]["createdAt"]
    made = {
        "id": f"{workspace.arm_id}/data/{call.names['n']}/versions/{call.names['v']}",
        "name": call.names["v"],
        "type": "Microsoft.MachineLearningServices/workspaces/data/versions",
        "properties": call.body["properties"],
        "systemData": call.azure.state.system_data(time.time()),
    }
    if moment:
        made["systemData"]["createdAt"] = moment
    held[call.names["v"]] = made
    return Answer(200 if existing else 201, made)


def delete_version(call: Call) -> Answer:
    workspace = workspaces.find(call)
    held = workspace.data.get(call.names["n"], {})
    gone = held.pop(call.names["v"], None)
    if not held:
        workspace.data.pop(call.names["n"], None)
    return Answer(200 if gone else 204)
