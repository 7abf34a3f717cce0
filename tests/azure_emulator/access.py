"""What ARM checks before a resource provider sees a request: token, subscription, role, group, registration."""

from __future__ import annotations

import re
from typing import Any

from tests.azure_emulator import state as known
from tests.azure_emulator.faults import unregistered
from tests.azure_emulator.wire import Call, Refusal

WRITES = {"PUT", "PATCH", "DELETE", "POST"}
LEARNING = "Microsoft.MachineLearningServices"

# The built-in roles that matter here. AI Developer's lists are those of its documentation page.
ROLES: dict[str, dict[str, Any]] = {
    known.OWNER: {"roleName": "Owner", "actions": ["*"], "notActions": []},
    known.CONTRIBUTOR: {
        "roleName": "Contributor",
        "actions": ["*"],
        "notActions": [
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
        ],
    },
    known.READER: {"roleName": "Reader", "actions": ["*/read"], "notActions": []},
    known.AI_DEVELOPER: {
        "roleName": "Azure AI Developer",
        "actions": [
            f"{LEARNING}/workspaces/*/read",
            f"{LEARNING}/workspaces/*/action",
            f"{LEARNING}/workspaces/*/delete",
            f"{LEARNING}/workspaces/*/write",
            f"{LEARNING}/locations/*/read",
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/deployments/*",
        ],
        "notActions": [
            f"{LEARNING}/workspaces/delete",
            f"{LEARNING}/workspaces/write",
            f"{LEARNING}/workspaces/listKeys/action",
            f"{LEARNING}/workspaces/hubs/write",
            f"{LEARNING}/workspaces/hubs/delete",
        ],
    },
}


def check(call: Call, access: str) -> None:
    """Raise the `Refusal` that ARM would give; sets the call's token."""
    if access == "open":
        return
    call.token = call.azure.entra.read(call.headers.get("authorization", ""))
    if access == "token":
        return
    subscription = _subscription(call)
    action = action_of(call.method, call.path)
    scope = call.path[call.path.lower().index("/subscriptions/") :]
    if call.azure.state.settings.enforce_roles and not allowed(call, action, scope):
        raise Refusal(
            403,
            "AuthorizationFailed",
            f"The client '{call.token.get('upn') or call.token.get('appid')}' with object id '{call.token['oid']}' "
            f"does not have authorization to perform action '{action}' over scope '{scope}' or the scope is "
            "invalid. If access was recently granted, please refresh your credentials.",
        )
    group = call.names.get("g")
    if group and (subscription, group.lower()) not in call.azure.state.groups:
        raise Refusal(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
    path = call.path.lower()
    # Registering a provider is ARM's own doing: the provider need not be registered for it.
    writes = (
        call.method in WRITES and f"/providers/{LEARNING}/".lower() in path and not path.endswith("/register")
    )
    if writes and call.azure.state.provider(subscription, LEARNING) != "Registered":
        raise unregistered(LEARNING)


def _subscription(call: Call) -> str:
    name = call.names["s"]
    found = call.azure.state.subscriptions.get(name)
    if not found:
        raise Refusal(404, "SubscriptionNotFound", f"The subscription '{name}' could not be found.")
    if found.tenant != call.token["tid"]:
        raise Refusal(
            401,
            "InvalidAuthenticationTokenTenant",
            f"The access token is from the wrong issuer 'https://sts.windows.net/{call.token['tid']}/'. It must match "
            f"the tenant 'https://sts.windows.net/{found.tenant}/' associated with this subscription.",
        )
    if found.state == "Disabled" and call.method in WRITES:
        raise Refusal(
            409,
            "ReadOnlyDisabledSubscription",
            f"The subscription '{name}' is disabled and therefore marked as read only. You cannot perform any write "
            "actions on this subscription until it is re-enabled.",
        )
    return name


def action_of(method: str, path: str) -> str:
    """The action a role must allow, such as `Microsoft.MachineLearningServices/workspaces/jobs/write`."""
    if not path.lower().startswith("/subscriptions/"):
        return f"{LEARNING}/workspaces/experiments/runs/{'write' if method == 'PATCH' else 'read'}"
    before, _, tail = path.strip("/").rpartition("/providers/")
    parts = tail.split("/")
    if not before or len(parts) == 1:
        kind = (
            "Microsoft.Resources/subscriptions/providers" if before else "Microsoft.Resources/subscriptions"
        )
        if not before and "resourcegroups" in path.lower():
            kind += "/resourceGroups"
        parts = [kind]
    elif method == "POST":
        if parts[1:] == ["register"]:
            return f"{parts[0]}/register/action"
        return "/".join([parts[0], *parts[1:-1:2], parts[-1], "action"])
    else:
        parts = [parts[0], *parts[1::2]]
    verb = {"GET": "read", "HEAD": "read", "DELETE": "delete", "POST": "action"}.get(method, "write")
    return "/".join([*parts, verb])


def allowed(call: Call, action: str, scope: str) -> bool:
    """Whether a role of the caller's allows an action; reading a subscription takes any role inside it."""
    held = roles_at(call, scope)
    if any(_matches(action, ROLES[role.definition]) for role in held):
        return True
    reads_subscription = action.startswith("Microsoft.Resources/subscriptions/") and action.endswith("/read")
    inside = [
        role for role in _held(call) if role.scope.lower().startswith(f"/subscriptions/{call.names['s']}")
    ]
    return reads_subscription and bool(inside)


def roles_at(call: Call, scope: str) -> list[known.Role]:
    """The caller's role assignments that reach a scope."""
    at = scope.lower().rstrip("/") + "/"
    return [role for role in _held(call) if at.startswith(role.scope.lower().rstrip("/") + "/")]


def _held(call: Call) -> list[known.Role]:
    return [role for role in call.azure.state.roles if role.principal == call.token["oid"]]


def _matches(action: str, role: dict[str, Any]) -> bool:
    return any(_covers(one, action) for one in role["actions"]) and not any(
        _covers(one, action) for one in role["notActions"]
    )


def _covers(pattern: str, action: str) -> bool:
    # `workspaces/*/write` covers `workspaces/write` too: the AI Developer role takes that one back in its notActions.
    expression = re.escape(pattern).replace(r"/\*/", "/(?:.*/)?").replace(r"\*", ".*")
    return re.fullmatch(expression, action, re.IGNORECASE) is not None
