"""Serverless endpoints: a tuned model behind an address. Each is charged by the hour from its birth to its deletion."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from core import paths
from core.azure import known, models, tuned
from core.azure.account import load
from core.azure.clients import LONGEST_S, Azure, finished, poll_s, text
from core.azure.data import TAG
from core.azure.faults import AzureError, asking
from core.azure.permissions import DEPLOY, missing_actions

NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,50}[a-zA-Z0-9])?")
CUSTOM = re.compile(
    r"azureml://locations/[^/]+/workspaces/(?P<workspace>[^/]+)/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"
)
IDLE_S = 24 * 3600.0
MODES = ("Enabled", "Disabled")
SAFETY_ON = (
    "Content safety on: prompts and replies pass Azure's filter for hate, violence, sexual content and self-harm; what "
    "it stops comes back as an error."
)
SAFETY_OFF = (
    "Content safety off: nothing is filtered or stopped; what the model says is for you to answer for."
)
ASKING = "asking Azure for the endpoint"
"""What `deploy` yields right before it asks: from then on Azure goes on making it, whoever waits for it."""


@dataclass(frozen=True)
class Endpoint:
    """A serverless endpoint of the project. Times are UTC seconds, 0 for unknown.

    Args:
        name: unique in its region.
        state: Creating, Online, CreationFailed, Deleting ...
        model: `name:version` of a tuned model, or the registry's name of a base model.
        tuned: whether it serves a tuned model.
        region: where it runs.
        content_safety: Enabled or Disabled; empty where Azure doesn't say.
        run: the finetui run it was made for; empty for one that finetui did not make.
        created: when.
        used: when it was last talked to from this machine.
        address: where it answers; empty until it does.
    """

    name: str
    state: str
    model: str
    tuned: bool
    region: str
    content_safety: str = ""
    run: str = ""
    created: float = 0.0
    used: float = 0.0
    address: str = ""

    @property
    def idle(self) -> bool:
        """Online for a day or more and not talked to from this machine since as long; others may use it."""
        return self.state == "Online" and time.time() - max(self.created, self.used) > IDLE_S

    @property
    def billed(self) -> bool:
        """Whether it is charged by the hour."""
        return self.tuned and self.state not in ("CreationFailed", "Deleting")


def name_problem(name: str) -> str:
    """Why an endpoint can't be called so; empty: nothing is known against it. Azure alone knows whether it is taken."""
    if NAME.fullmatch(name):
        return ""
    return "A name has up to 52 letters, digits and hyphens, and begins and ends with a letter or digit."


def endpoints(azure: Azure) -> list[Endpoint]:
    """All endpoints of the project, also those that finetui did not make.

    Raises:
        AzureError: the project can't be asked.
    """
    used = _used()
    with asking("The list of endpoints"):
        found = [_endpoint(item, used) for item in azure.service.serverless_endpoints.list(*azure.place)]
    known.note_endpoints(azure.account, {item.name: item.model for item in found if item.billed})
    return found


def find(azure: Azure, name: str) -> Endpoint | None:
    """The endpoint of a name, or None.

    Raises:
        AzureError: the project can't be asked.
    """
    from azure.core.exceptions import ResourceNotFoundError

    with asking(f"The endpoint {name}"):
        try:
            found = _endpoint(azure.service.serverless_endpoints.get(*azure.place, name), _used())
        except ResourceNotFoundError:
            known.note_endpoint(azure.account, name, "")
            return None
    known.note_endpoint(azure.account, name, found.model if found.billed else "")
    return found


def get(azure: Azure, name: str) -> Endpoint:
    """The endpoint of a name.

    Raises:
        AzureError: there is none, or the project can't be asked.
    """
    found = find(azure, name)
    if found is None:
        raise AzureError(
            f"There is no endpoint {name} in {azure.account.project}.",
            "",
            "`finetui azure endpoints` lists them.",
            status=404,
        )
    return found


def deploy(
    azure: Azure, name: str, model: str, version: str, *, content_safety: bool, run: str = ""
) -> Iterator[str]:
    """Make an endpoint for a tuned model; yields what is being done, and ends when it answers.

    Args:
        azure: the account.
        name: of the endpoint.
        model: name of the registered model.
        version: of it.
        content_safety: whether Azure filters prompts and replies.
        run: the finetui run it is for.

    Raises:
        AzureError: it can't be made: the name, the region, a missing permission, another endpoint of the same model,
            or Azure's own refusal; or it exists with another model or content safety.
    """
    yield "checking name, model and region"
    if checked(azure, name, model, version, content_safety=content_safety):
        yield f"{name} exists already: nothing new is made"
    else:
        yield "checking the permission"
        _refuse_forbidden(azure)
        yield ASKING
        yield from _create(azure, name, tuned.endpoint_model_id(azure, model, version), content_safety, run)
    yield "ready"


def existing(azure: Azure, name: str, model: str, version: str, *, content_safety: bool) -> Endpoint | None:
    """The endpoint of a name when it is just the one that is wanted, or None when there is none of the name.

    Args:
        azure: the account.
        name: of the endpoint.
        model: name of the registered model it is to serve.
        version: of it.
        content_safety: whether Azure is to filter prompts and replies.

    Raises:
        AzureError: it is not online, serves another model, or its content safety is another (each named); or the
            project can't be asked.
    """
    there = next((item for item in endpoints(azure) if item.name.lower() == name.lower()), None)
    if there is None:
        return None
    mode = MODES[0] if content_safety else MODES[1]
    differs = []
    if there.model != f"{model}:{version}":
        differs.append(f"It serves {there.model}, not {model}:{version}.")
    if there.content_safety and there.content_safety != mode:
        differs.append(f"Its content safety is {there.content_safety.lower()}, not {mode.lower()}.")
    if there.state != "Online":
        differs.append(f"It is {there.state}.")
    if differs:
        raise AzureError(
            f"There is an endpoint {there.name} already.",
            " ".join(differs),
            f"Choose another name, or delete it first: `finetui azure undeploy {there.name}`.",
            code="differs",
        )
    return there


def checked(azure: Azure, name: str, model: str, version: str, *, content_safety: bool) -> Endpoint | None:
    """The endpoint that is wanted when it is there already, or None when it can be made as far as is known.

    Args:
        azure: the account.
        name: of the endpoint.
        model: name of the registered model.
        version: of it.
        content_safety: whether Azure is to filter prompts and replies.

    Raises:
        AzureError: the name can't be used, there is no such model, the model has another endpoint, the region serves
            none; or as `existing`.
    """
    against = name_problem(name)
    if against:
        raise AzureError(
            f"An endpoint can't be called {name!r}.", against, "Choose another name.", code="name"
        )
    wanted = next((item for item in tuned.versions(azure, model) if item.version == version), None)
    if wanted is None:
        raise AzureError(
            f"There is no model {model}:{version} in {azure.account.project}.",
            "",
            "`finetui azure models --tuned` lists them.",
        )
    there = existing(azure, name, model, version, content_safety=content_safety)
    if there is not None:
        return there
    for other in endpoints(azure):
        if other.model == f"{model}:{version}":
            raise AzureError(
                f"{model}:{version} has an endpoint already: {other.name} ({other.state}).",
                "Azure gives a tuned model one endpoint.",
                f"Use it, or delete it first: `finetui azure undeploy {other.name}`.",
                code="one_endpoint",
            )
    _refuse_region(azure, wanted.base)
    return None


def _refuse_region(azure: Azure, base: str) -> None:
    """Where the base model is known, the region must be one that serves its tuned ones."""
    from core import catalog

    entry = catalog.by_registry_id(base) if base else None
    region = azure.account.region
    if entry is None or entry.azure is None or not region or region in entry.azure.deployed_in:
        return
    asked = models.get(azure, base.removeprefix(models.PREFIX).partition("/versions/")[0])
    if region not in asked.regions:
        raise AzureError(
            f"A tuned {entry.title} can't be deployed in {region}.",
            "",
            f"Regions that can: {', '.join(asked.regions or entry.azure.deployed_in)}.",
            code="ServerlessModelNotAvailableInRegion",
        )


def _refuse_forbidden(azure: Azure) -> None:
    missing = missing_actions(azure, DEPLOY)
    if missing:
        raise AzureError(
            "You may not make endpoints here.",
            f"The role lacks {', '.join(missing)}.",
            f"Ask an owner of the resource group {azure.account.resource_group} for the role Azure AI Developer.",
            code="AuthorizationFailed",
        )


def _create(azure: Azure, name: str, model_id: str, content_safety: bool, run: str) -> Iterator[str]:
    """The long way to an endpoint. The entity of azure-ai-ml knows no content safety; the client below it does."""
    from azure.ai.ml._restclient.arm_ml_service import models as wire

    mode = MODES[0] if content_safety else MODES[1]
    body = wire.ServerlessEndpoint(
        location=azure.account.region,
        tags={TAG: run} if run else {TAG: "-"},
        sku=wire.Sku(name="Consumption"),
        properties=wire.ServerlessEndpointProperties(
            auth_mode="Key",
            content_safety=wire.ContentSafety(content_safety_status=mode),
            model_settings=wire.ModelSettings(model_id=model_id),
        ),
    )
    started = time.monotonic()
    with asking(f"The endpoint {name}"):
        poller = azure.service.serverless_endpoints.begin_create_or_update(*azure.place, name, body)
        while not poller.done() and time.monotonic() - started < LONGEST_S:
            poller.wait(poll_s())
            yield f"Azure makes it, {time.monotonic() - started:.0f} s so far"
        finished(poller, 0)


def undeploy(azure: Azure, name: str) -> None:
    """Delete an endpoint and wait until it is gone: only then the hours stop. Its model stays.

    Raises:
        AzureError: there is none, or Azure refuses.
    """
    get(azure, name)
    with asking(f"The deletion of {name}"):
        finished(azure.service.serverless_endpoints.begin_delete(*azure.place, name))
    known.note_endpoint(azure.account, name, "")
    used = _used()
    if used.pop(name, None) is not None:  # another of the name has not been used yet
        _write_used(used)


def rotate(azure: Azure, name: str, which: str = "Primary") -> None:
    """Make a new key in place of an old one; whoever has the old one is locked out at once.

    azure-ai-ml's own call for it fails before it asks, so the client below it is used.

    Args:
        azure: the account.
        name: of the endpoint.
        which: Primary or Secondary.

    Raises:
        AzureError: there is no such endpoint, or Azure refuses.
    """
    from azure.ai.ml._restclient.arm_ml_service import models as wire

    get(azure, name)
    with asking(f"The keys of {name}"):
        request = wire.RegenerateEndpointKeysRequest(key_type=which)
        finished(azure.service.serverless_endpoints.begin_regenerate_keys(*azure.place, name, request))


def connection(name: str, azure: Azure | None = None) -> tuple[str, str]:
    """(base address, key) of an endpoint, for a client of the OpenAI form. The key stays in this process's memory.

    Args:
        name: of the endpoint.
        azure: the account; the one in use when None.

    Raises:
        AzureError: there is no such endpoint, it doesn't answer yet, or Azure can't be asked.
    """
    asked = azure or Azure(load())
    found = get(asked, name)
    if not found.address:
        raise AzureError(
            f"The endpoint {name} is {found.state}.",
            "It has no address yet.",
            "`finetui azure endpoints` shows its state.",
        )
    with asking(f"The keys of {name}"):
        key = str(asked.service.serverless_endpoints.list_keys(*asked.place, name).primary_key)
    _note_use(name)
    return f"{found.address.rstrip('/')}/v1", key


def _used() -> dict[str, float]:
    """When each endpoint was last talked to from here."""
    try:
        content = json.loads((paths.data_dir() / "azure-used.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): float(when) for name, when in content.items()}


def _note_use(name: str) -> None:
    _write_used({**_used(), name: time.time()})


def _write_used(used: dict[str, float]) -> None:
    folder = paths.make_private(paths.data_dir())
    paths.write_private(folder / "azure-used.json", json.dumps(used).encode())


def _endpoint(found: Any, used: dict[str, float]) -> Endpoint:
    about, data = found.properties, found.system_data
    model_id = str((about.model_settings.model_id if about.model_settings else "") or "")
    custom = CUSTOM.fullmatch(model_id)
    safety = about.content_safety
    tag = str((found.tags or {}).get(TAG, ""))
    return Endpoint(
        name=str(found.name),
        state=text(about.endpoint_state or about.provisioning_state),
        model=f"{custom['name']}:{custom['version']}" if custom else model_id.rpartition("/models/")[2],
        tuned=custom is not None,
        region=str(found.location or ""),
        content_safety=text(safety.content_safety_status) if safety else "",
        run=tag,
        created=data.created_at.timestamp() if data and data.created_at else 0.0,
        used=used.get(str(found.name), 0.0),
        address=str(about.inference_endpoint.uri) if about.inference_endpoint else "",
    )
