"""What the signed-in identity may do in the resource group, by its effective permissions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from core.azure.clients import Azure
from core.azure.faults import asking

LEARNING = "Microsoft.MachineLearningServices"
_IN = f"{LEARNING}/workspaces"
TRAIN = (
    f"{_IN}/read",
    f"{_IN}/jobs/read",
    f"{_IN}/jobs/write",
    f"{_IN}/jobs/cancel/action",
    f"{_IN}/data/versions/write",
    f"{_IN}/datastores/read",
    f"{_IN}/datastores/listSecrets/action",
    f"{_IN}/models/versions/read",
)
"""What uploading, training and watching takes."""
DEPLOY = (
    f"{_IN}/serverlessEndpoints/write",
    f"{_IN}/serverlessEndpoints/read",
    f"{_IN}/serverlessEndpoints/listKeys/action",
    f"{_IN}/serverlessEndpoints/delete",
)
CREATE = (f"{_IN}/write", "Microsoft.Resources/deployments/write")
"""What making a hub and a project takes."""
CONNECT = ("Microsoft.CognitiveServices/accounts/write", f"{_IN}/connections/write")
"""What making an AI services account and connecting it to a hub takes."""
Grants = list[tuple[tuple[str, ...], tuple[str, ...]]]
"""(actions, actions taken back) of each role that reaches the scope."""


def grants(azure: Azure) -> Grants:
    """The effective permissions in the account's resource group.

    Raises:
        AzureError: they can't be asked.
    """
    with asking("Your permissions"):
        found = azure.authorization.permissions.list_for_resource_group(azure.account.resource_group)
        return [(tuple(item.actions or ()), tuple(item.not_actions or ())) for item in found]


def allowed(action: str, held: Grants) -> bool:
    """Whether any role allows an action."""
    return any(_any(action, given) and not _any(action, taken) for given, taken in held)


def missing_of(actions: Iterable[str], held: Grants) -> list[str]:
    """Those of some actions that no role allows."""
    return [action for action in actions if not allowed(action, held)]


def missing_actions(azure: Azure, actions: Iterable[str]) -> list[str]:
    """As `missing_of`, asking Azure now.

    Raises:
        AzureError: it can't be asked.
    """
    return missing_of(actions, grants(azure))


def _any(action: str, patterns: Iterable[str]) -> bool:
    """Azure's `*` stands for anything, slashes too, and `/*/` for nothing as well: the role Azure AI Developer takes
    `workspaces/write` back from `workspaces/*/write`. Letter case means nothing."""
    for pattern in patterns:
        expression = re.escape(pattern).replace(r"/\*/", "/(?:.*/)?").replace(r"\*", ".*")
        if re.fullmatch(expression, action, re.IGNORECASE):
            return True
    return False
