"""What can go from the cache: models, frozen rows, copies of files; and what interrupted work left half done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from core import paths
from core.errors import FinetuiError
from core.runs import lineage, locks, supervisor
from core.runs.directory import RunDirectory
from core.runs.rows import RunRow
from core.runs.trash import GONE, folder_bytes

KINDS = {
    "model": "models",
    "rows": "frozen rows",
    "unpacked": "unpacked files",
    "hub": "hub data sets",
    "left": "left half done",
}

DAY_S = 24 * 3600.0
FRESH_S = 3600.0
"""A frozen copy younger than this may be of a run that has not written down its files yet."""


class CleanError(FinetuiError):
    """Something can't be removed."""


@dataclass(frozen=True)
class Item:
    """One thing that can go.

    Attributes:
        id: `kind:name`, what `finetui clean` takes to name it.
        why: why it can go.
        back: how it comes back, or that it doesn't.
        proposed: it goes when all proposals are taken; else only when it is named.
        needed_by: ids of ended runs that need it.
        held: why it can't go now, or empty.
    """

    id: str
    kind: str
    title: str
    why: str
    back: str
    bytes: int
    path: Path
    proposed: bool
    needed_by: tuple[str, ...] = ()
    held: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class Scene:
    """All runs, and what deployments name.

    Attributes:
        served: texts (ids, paths) of the deployments' records, with the deployment's name.
    """

    runs: tuple[RunRow, ...]
    trashed: tuple[RunRow, ...]
    served: dict[str, str] = field(default_factory=dict)

    @classmethod
    def now(cls) -> Scene:
        """As it is.

        Raises:
            RunError: a deployment's record can't be read.
        """
        return cls(
            tuple(supervisor.list_runs()),
            tuple(supervisor.list_runs(trash=True)),
            lineage.deployed_texts(),
        )

    def starting(self) -> str:
        """The name of a run that has not written down its files yet and may be about to, or empty."""
        waiting = (row for row in self.runs if row.active)
        return next((row.name for row in waiting if not (row.directory / "data/sources.json").exists()), "")


def items(scene: Scene) -> Iterator[Item]:
    """Everything in the cache that can go, and what was left half done anywhere."""
    for find in _FINDERS.values():
        yield from find(scene)


# Models


def _models(scene: Scene) -> Iterator[Item]:
    from core.catalog.reference import MANIFEST

    uses = _bases(scene)
    for manifest in sorted(paths.models_dir().glob(f"[!.]*/[!.]*/{MANIFEST}")):
        folder = manifest.parent
        name = _model_name(manifest)
        users = [row for place, row in uses if place in (folder, folder.parent)]
        active = [row.name for row in users if row.active]
        served = next((by for text, by in scene.served.items() if text in (str(folder), name)), "")
        held = (
            f"{active[0]} works with it" if active else f"the deployment {served} serves it" if served else ""
        )
        needed = tuple(dict.fromkeys(row.id for row in users))
        yield Item(
            id=f"model:{folder.parent.name}@{folder.name}",
            kind="model",
            title=name,
            why=f"needed by {_runs(len(needed))}" if needed else "no run needs it",
            back=f"`finetui models fetch {name}` gets it again",
            bytes=folder_bytes(folder),
            path=folder,
            proposed=not needed and not held,
            needed_by=needed,
            held=held,
        )


def _model_name(manifest: Path) -> str:
    try:
        return str(orjson.loads(manifest.read_bytes()).get("model") or manifest.parent.parent.name)
    except (OSError, ValueError, AttributeError):
        return manifest.parent.parent.name


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _bases(scene: Scene) -> list[tuple[Path, RunRow]]:
    """(folder of the base model, run); the folder of all its revisions for a run that has not chosen one yet."""
    from core.catalog.reference import ModelError, resolve

    found = []
    for row in (*scene.runs, *scene.trashed):
        base = lineage.base_of(RunDirectory(row.directory))
        if base is None:
            continue
        if base.folder:
            found.append((Path(base.folder), row))
            continue
        try:
            reference = resolve(base.name, base.revision or None)
        except ModelError:  # a folder that is gone, or a model this version doesn't know: none of the cache's
            continue
        if reference.kind != "folder":
            found.append((reference.cache_folder, row))
    return found


# Rows and other copies


def _rows(scene: Scene) -> Iterator[Item]:
    """Frozen copies that no run names, in the trash or not."""
    used = {
        item.sha256
        for row in (*scene.runs, *scene.trashed)
        for item in lineage.data_of(RunDirectory(row.directory))
    }
    starting = scene.starting()
    for path in sorted(paths.rows_dir().glob("[!.]*.jsonl")):
        if path.stem in used or _age_s(path) < FRESH_S:
            continue
        yield Item(
            id=f"rows:{path.stem[:16]}",
            kind="rows",
            title=f"sha256 {path.stem[:8]}",
            why="no run uses these rows any more",
            back="made again from the data file by a run that uses it",
            bytes=path.stat().st_size,
            path=path,
            proposed=not starting,
            held=f"{starting} is starting and may use it" if starting else "",
        )


def _unpacked(scene: Scene) -> Iterator[Item]:
    yield from _copies(
        scene, "unpacked", paths.cache_dir() / "unpacked", "*", "unpacked again when the file is opened"
    )


def _hub(scene: Scene) -> Iterator[Item]:
    yield from _copies(
        scene, "hub", paths.cache_dir() / "hub", "datasets--*", "fetched again when a recipe names it"
    )


def _copies(scene: Scene, kind: str, parent: Path, pattern: str, back: str) -> Iterator[Item]:
    """Copies of files that were not used for a day."""
    starting = scene.starting()
    for folder in sorted(path for path in parent.glob(pattern) if path.is_dir()):
        if _age_s(folder) < DAY_S:
            continue
        inside = next((path.name for path in folder.iterdir() if not path.name.startswith(".")), folder.name)
        title = inside if kind == "unpacked" else folder.name.removeprefix("datasets--").replace("--", "/")
        yield Item(
            id=f"{kind}:{folder.name}",
            kind=kind,
            title=title,
            why=f"not used for {int(_age_s(folder) // DAY_S)} days; runs keep their own rows",
            back=back,
            bytes=folder_bytes(folder),
            path=folder,
            proposed=not starting,
            held=f"{starting} is starting and may use it" if starting else "",
        )


# Left half done


def _left(scene: Scene) -> Iterator[Item]:
    """Folders and files written aside by a process that never came to its end."""
    places = [
        *paths.runs_dir().glob(".new-*"),
        *paths.trash_dir().glob(f"{GONE}*"),
        *paths.rows_dir().glob(".*.new"),
        *(paths.data_dir() / "deployments").glob(".removed-*"),
        *paths.data_dir().glob("store.db.damaged-*"),
    ]
    for folder in paths.models_dir().glob("[!.]*"):
        if not locks.is_held(folder / ".lock"):
            aside = [path for path in folder.glob(".*") if path.is_dir()]
            places += [path for path in aside if path.name.startswith((".partial-", ".convert-", GONE))]
    for path in sorted(places):
        if _age_s(path) < DAY_S:
            continue
        partial = path.name.startswith(".partial-")
        yield Item(
            id=f"left:{path.parent.name}/{path.name}",
            kind="left",
            title=f"{path.parent.name}/{path.name}",
            why="an interrupted download" if partial else "what an interrupted process left",
            back="fetched from its beginning then" if partial else "of no use to anybody",
            bytes=folder_bytes(path),
            path=path,
            proposed=True,
        )


def _age_s(path: Path) -> float:
    """Seconds since a file or folder changed; 0 when it is gone."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return 0.0


_FINDERS: dict[str, Callable[[Scene], Iterator[Item]]] = {
    "model": _models,
    "rows": _rows,
    "unpacked": _unpacked,
    "hub": _hub,
    "left": _left,
}

# Taking away


def remove(item: Item) -> int:
    """Remove an item of the cache; returns the bytes freed.

    Raises:
        CleanError: it is being made, is in use by now, or can't be removed.
        RunError: a deployment's record can't be read.
    """
    again = next((found for found in _FINDERS[item.kind](Scene.now()) if found.id == item.id), None)
    if again is None or again.held:
        raise CleanError(f"{item.title} can't go now.", again.held if again else "It is in use by now.")
    if item.kind != "model":
        return unlink(item.path)
    lock = locks.take(item.path.parent / ".lock")
    if lock is None:
        raise CleanError(
            f"{item.title} can't go now.", "Another process is fetching it.", "Try again when it is done."
        )
    with lock:
        return unlink(item.path)


def unlink(path: Path) -> int:
    """Remove a file, or a folder that is first renamed, so that nobody sees half of it; returns the bytes freed.

    Raises:
        CleanError: it can't be removed.
    """
    freed = folder_bytes(path)
    try:
        if path.is_dir() and not path.is_symlink():
            aside = path.with_name(f"{GONE}{path.name}")
            path.rename(aside)
            shutil.rmtree(aside)
        else:
            path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise CleanError(
            f"{path} can't be removed.", str(error), "See who owns it, then try again."
        ) from error
    return freed
