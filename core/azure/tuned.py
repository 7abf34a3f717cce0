"""Tuned models: registered in the project by a finished job. Found, listed and deleted here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from core.azure import record
from core.azure.clients import Azure
from core.azure.faults import AzureError, asking

MARK = "maas-finetuning"
BASE = "baseModelId"


@dataclass(frozen=True)
class TunedModel:
    """A model that was tuned in the project.

    Args:
        name: it is registered under.
        version: of it.
        id: as an endpoint names it.
        base: registry id of its base model, or empty.
        run: the finetui run that made it, or empty.
        created: UTC seconds, 0 for unknown.
    """

    name: str
    version: str
    id: str = ""
    base: str = ""
    run: str = ""
    created: float = 0.0


def endpoint_model_id(azure: Azure, name: str, version: str) -> str:
    """How an endpoint names a model of the project.

    Raises:
        AzureError: the project can't be asked.
    """
    with asking("The project"):
        workspace = azure.service.workspaces.get(*azure.place)
    return (
        f"azureml://locations/{workspace.location}/workspaces/{workspace.properties.workspace_id}"
        f"/models/{name}/versions/{version}"
    )


def versions(azure: Azure, name: str) -> list[TunedModel]:
    """The versions of a registered model, oldest first; none when there is no such model.

    Raises:
        AzureError: the project can't be asked.
    """
    from azure.core.exceptions import ResourceNotFoundError

    with asking(f"The model {name}"):
        try:
            found = [_model(name, item) for item in azure.service.model_versions.list(*azure.place, name)]
        except ResourceNotFoundError:
            return []
    return sorted(found, key=lambda item: int(item.version) if item.version.isdecimal() else 0)


def newest(azure: Azure, name: str) -> TunedModel | None:
    """The newest version of a registered model, or None.

    Raises:
        AzureError: as `versions`.
    """
    return next(reversed(versions(azure, name)), None)


def tuned_models(azure: Azure, runs: dict[str, str] | None = None) -> list[TunedModel]:
    """The tuned models of the project, by name: those the service has marked, and those of `runs`.

    Args:
        azure: the account.
        runs: the finetui run of each registered name.

    Raises:
        AzureError: the project can't be asked.
    """
    owned = runs or {}
    with asking("The list of models"):
        names = [str(item.name) for item in azure.service.model_containers.list(*azure.place)]
    found = []
    for name in sorted(names):
        for item in versions(azure, name):
            if item.base or name in owned:
                found.append(TunedModel(**{**item.__dict__, "run": owned.get(name, "")}))
    return found


def delete(azure: Azure, name: str, version: str, used_by: Iterable[str]) -> None:
    """Delete a version of a registered model.

    Args:
        azure: the account.
        name: of the model.
        version: of it.
        used_by: names of the endpoints that serve it.

    Raises:
        AzureError: an endpoint uses it (named), or Azure refuses.
    """
    for endpoint in used_by:
        raise AzureError(
            f"The model {name}:{version} is in use.",
            f"The endpoint {endpoint} serves it.",
            f"`finetui azure undeploy {endpoint}` deletes the endpoint first.",
            code="in_use",
        )
    with asking(f"The model {name}:{version}"):
        azure.service.model_versions.delete(*azure.place, name, version)
    record.tell_deleted(azure.account, f"{name}:{version}")


def _model(name: str, found: Any) -> TunedModel:
    about, data = found.properties, found.system_data
    properties = about.get("properties") or {}
    marked = str(properties.get(MARK, "")).lower() == "true"
    return TunedModel(
        name,
        str(found.name),
        base=str(properties.get(BASE) or "unknown") if marked else "",
        created=data.created_at.timestamp() if data and data.created_at else 0.0,
    )
