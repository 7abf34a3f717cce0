"""Azure's registry of models, live: which can be tuned, for what, and where. The catalogue fills in what tags lack."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from core import catalog
from core.azure.clients import REGISTRY, Azure
from core.azure.faults import AzureError, asking
from core.catalog import Entry

PREFIX = f"azureml://registries/{REGISTRY}/models/"
ID = re.compile(r"azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)")
NAME = re.compile(r"[\w.-]{1,100}")
PARTNERS = {"azureml-meta": "Meta", "azureml-mistral": "Mistral AI"}
"""Registries of models that are tuned through the Azure Marketplace only, and whose they are."""
REGIONS_TAG = "maas-finetuning-deploy-regions"
TASKS_TAGS = ("finetuning-tasks", "fineTuningTasks")
CONTEXT_TAG = "textContextWindow"
RETIRED_PROPERTY = "finetuneRetirementDate"
CHAT = "chat-completion"
MOST_DETAILED = 25
"""Models whose details are asked for at once: each is a request of its own."""


@dataclass(frozen=True)
class RegistryModel:
    """A base model as Azure's registry has it.

    Args:
        name: its name in the registry.
        version: the newest; empty where it was not asked.
        id: its unversioned registry id.
        catalogue_id: of the catalogue's entry, or empty.
        title: for people.
        tasks: what it can be tuned for, in Azure's words; empty: nothing that is known.
        regions: where a project must lie to tune it.
        regions_from: `registry` (its tag), `catalogue` (Microsoft's table), or empty where nothing is known.
        context: longest sequence in tokens; 0: unknown.
        licence: its name; empty: unknown.
        retired: the day Azure gave it up, or empty.
        successor: what follows it, a name of the registry's.
        defaults: the service's own settings, by its tag `model_specific_defaults`; empty where it has none.
        detailed: whether the registry was asked for more than the name.
        partner: whose it is where it is tuned through the Azure Marketplace only; empty for Microsoft's own.
    """

    name: str
    version: str = ""
    id: str = ""
    catalogue_id: str = ""
    title: str = ""
    tasks: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    regions_from: str = ""
    context: int = 0
    licence: str = ""
    retired: str = ""
    successor: str = ""
    defaults: dict[str, Any] = field(default_factory=dict)
    detailed: bool = False
    partner: str = ""

    @property
    def tunable(self) -> bool:
        """Whether any project can tune it, as far as is known."""
        return bool(self.regions) and not self.retired

    def why_not(self, region: str) -> str:
        """Why a project in a region can't tune it; empty: nothing is known against it."""
        if self.retired:
            after = f"; {self.successor} follows it" if self.successor else ""
            return f"Azure retired the fine-tuning of {self.name} on {self.retired}{after}."
        if self.regions and region and region not in self.regions:
            return f"{self.name} can't be tuned in {region}, only in {', '.join(self.regions)}."
        if not self.regions:
            return f"No region is known that tunes {self.name}."
        return ""


def registry_id(model: str) -> str:
    """The unversioned registry id of a recipe's model: a catalogue id, a hub id, a registry id itself, or the name in
    the registry of a model that the catalogue has.

    Raises:
        AzureError: Azure's registry has no such model that finetui knows of.
    """
    if model.startswith("azureml://"):
        named = ID.match(model)
        if named is None or named["registry"] not in (REGISTRY, *PARTNERS):
            raise AzureError(
                f"{model} is in no registry that finetui knows.",
                f"Those are {', '.join((REGISTRY, *PARTNERS))}.",
                f"Models are called {PREFIX}NAME; `finetui azure models` searches them.",
            )
        return named[0]
    entry = catalog.get(model) or catalog.by_hub_id(model) or catalog.by_registry_id(PREFIX + model)
    if entry is not None and entry.registry_id:
        return entry.registry_id
    known = ", ".join(item.id for item in catalog.entries() if item.azure and item.azure.tuned_in)
    raise AzureError(
        f"{model} is not in Azure's model registry, as far as finetui knows.",
        "",
        f"Use {known}; or, if `finetui azure models` lists it by this name, its id {PREFIX}{model}."
        if NAME.fullmatch(model)
        else f"Use {known}, or a registry id ({PREFIX}NAME); `finetui azure models` searches them.",
    )


def split(name: str) -> tuple[str, str]:
    """(registry, name) of a registry id, or of a name in Azure's own registry."""
    found = ID.match(name)
    return (found["registry"], found["name"]) if found else (REGISTRY, name)


def partner_of(model: str) -> str:
    """Whose a registry id's model is, where it is tuned through the Azure Marketplace only; empty elsewhere."""
    return PARTNERS.get(split(model)[0], "")


def known_of(model: str) -> RegistryModel:
    """What is known of a recipe's model without asking Azure.

    Raises:
        AzureError: as `registry_id`.
    """
    return _made(registry_id(model).removeprefix(PREFIX), "", {}, {})


def get(azure: Azure, name: str, version: str = "") -> RegistryModel:
    """One model of a registry with its details; the newest version when none is named.

    Args:
        azure: the account.
        name: in Azure's own registry, or a registry id.
        version: of it.

    Raises:
        AzureError: it can't be had, e.g. there is none.
    """
    registry, called = split(name)
    with asking(f"The model {called}"):
        models = azure.registry(registry).models
        found = models.get(called, version=version) if version else models.get(called, label="latest")
    return _made(
        name,
        str(found.version),
        dict(found.tags or {}),
        dict(found.properties or {}),
        detailed=True,
    )


def names(azure: Azure, registry: str = REGISTRY) -> list[str]:
    """The names of all models in a registry, in the alphabet's order."""
    with asking("The list of models"):
        return sorted({str(item.name) for item in azure.registry(registry).models.list()}, key=str.lower)


def partners(azure: Azure, words: str = "") -> list[RegistryModel]:
    """The partners' models that can be tuned, and through the Azure Marketplace only, whose name has all the words.

    A cloud that lacks a partner's registry has none of its models.

    Raises:
        AzureError: a registry can't be asked.
    """
    wanted = words.lower().split()
    found = []
    for registry in PARTNERS:
        try:
            every = names(azure, registry)
        except AzureError as error:
            if error.status != 404:
                raise
            continue
        fitting = [name for name in every if all(word in name.lower() for word in wanted)]
        found += [get(azure, _id(registry, name)) for name in fitting[:MOST_DETAILED]]
    return [item for item in found if item.tunable]


def _id(registry: str, name: str) -> str:
    return f"azureml://registries/{registry}/models/{name}"


def search(azure: Azure, words: str = "", region: str = "") -> list[RegistryModel]:
    """The registry's models whose name has all the words; those of the catalogue, without words.

    Details are asked for the first `MOST_DETAILED`; the others have their name and what the catalogue says.

    Args:
        azure: the account.
        words: parts of the name, in any letter case.
        region: only those a project there can tune.
    """
    wanted = words.lower().split()
    own = {(entry.registry_id or "").removeprefix(PREFIX) for entry in catalog.entries() if entry.registry_id}
    # A list leaves out what is archived, as the retired ones are; the catalogue still names them.
    fitting = [name for name in sorted({*names(azure), *own}, key=str.lower) if _fits(name, wanted)]
    models = [get(azure, name) for name in fitting[:MOST_DETAILED]]
    models += [_made(name, "", {}, {}) for name in fitting[MOST_DETAILED:]]
    return [item for item in models if not region or not item.why_not(region)]


def _fits(name: str, wanted: list[str]) -> bool:
    if not wanted:
        return catalog.by_registry_id(PREFIX + name) is not None
    return all(word in name.lower() for word in wanted)


def _made(
    name: str,
    version: str,
    tags: dict[str, Any],
    properties: dict[str, Any],
    detailed: bool = False,
) -> RegistryModel:
    registry, name = split(name)
    entry = catalog.by_registry_id(_id(registry, name))
    facts = entry.azure if entry else None
    told = REGIONS_TAG in tags
    regions = listed(tags[REGIONS_TAG]) if told else facts.tuned_in if facts else ()
    retired = facts.retired if facts and facts.retired else str(properties.get(RETIRED_PROPERTY) or "")[:10]
    follows = catalog.get(facts.successor) if facts and facts.successor else None
    context = str(tags.get(CONTEXT_TAG) or "")
    return RegistryModel(
        name=name,
        version=version,
        id=_id(registry, name),
        catalogue_id=entry.id if entry else "",
        title=entry.title if entry else name,
        tasks=_tasks({**tags, **properties}, entry),
        regions=() if retired else regions,
        regions_from="registry" if told else "catalogue" if facts and facts.tuned_in else "",
        context=int(context) if context.isdecimal() else entry.context if entry else 0,
        licence=entry.licence if entry else str(tags.get("license") or properties.get("license") or ""),
        retired=retired,
        successor=(follows.registry_id or "").removeprefix(PREFIX) if follows else "",
        defaults=_defaults(tags.get("model_specific_defaults")),
        detailed=detailed,
        partner=PARTNERS.get(registry, ""),
    )


def _tasks(told: dict[str, Any], entry: Entry | None) -> tuple[str, ...]:
    """What a model can be tuned for; the registry has had more than one name for it."""
    for name in TASKS_TAGS:
        if name in told:
            return listed(told[name])
    return (CHAT,) if entry and entry.azure and entry.azure.tuned_in else ()


def listed(value: Any) -> tuple[str, ...]:
    """The words of a tag that is a list, written as JSON or with commas."""
    if isinstance(value, str):
        return tuple(word for word in re.split(r"[\s,\[\]\"']+", value.lower()) if word)
    return tuple(str(item).lower() for item in value) if isinstance(value, Iterable) else ()


def _defaults(value: Any) -> dict[str, Any]:
    """The tag is JSON, or Python's own way to write the same."""
    if isinstance(value, dict):
        return value
    try:
        read = json.loads(str(value or "{}").replace("'", '"'))
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
