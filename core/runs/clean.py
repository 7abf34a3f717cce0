"""What can go from the disk, with its size and why, and taking it away.

Nothing that a run at work, a deployment or a resumable run needs is ever proposed; what is needed by ended runs but can
be had again is listed, and goes only when it is named. Each thing is looked at again, under its lock, before it goes.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import paths
from core.errors import FinetuiError
from core.runs import clean_cache as cached
from core.runs import needs, trash
from core.runs.clean_cache import CleanError, Item, Scene
from core.runs.directory import RunDirectory
from core.runs.rows import RunRow

__all__ = ["KINDS", "CleanError", "Item", "Outcome", "propose", "remove"]

KINDS = {
    "trash": "deleted runs",
    "deployment": "removed deployments",
    "checkpoint": "checkpoints",
    **cached.KINDS,
    "chat": "kept chats",
}
"""Every kind of item and what it is called, in the order of the list."""

DAY_S = 24 * 3600.0


@dataclass(frozen=True)
class Outcome:
    """What became of an item: the bytes freed, or why it stayed."""

    item: str
    freed_bytes: int = 0
    error: FinetuiError | None = None

    def as_dict(self) -> dict[str, Any]:
        error = self.error.as_dict() if self.error else None
        return {"item": self.item, "freed_bytes": self.freed_bytes, "error": error}


def propose() -> list[Item]:
    """Everything that can go, by kind, the largest first. Walks the cache and the runs: seconds on a slow disk.

    Raises:
        RunError: a deployment's record can't be read, so that nobody knows what it needs.
    """
    scene = Scene.now()
    items = [*_trashed(scene), *_deployments(), *_checkpoints(scene), *cached.items(scene), *_chats()]
    order = list(KINDS)
    return sorted(items, key=lambda item: (order.index(item.kind), -item.bytes, item.id))


def remove(wanted: Collection[str], told: Callable[[Outcome], None] = lambda _: None) -> list[Outcome]:
    """Take items away for good.

    Args:
        wanted: ids from `propose`.
        told: called with each outcome as it comes.

    Raises:
        RunError: as in `propose`.
    """
    here = {item.id: item for item in propose()}
    outcomes = []
    for item_id in dict.fromkeys(wanted):
        outcome = _removed(item_id, here.get(item_id))
        told(outcome)
        outcomes.append(outcome)
    return outcomes


def _removed(item_id: str, item: Item | None) -> Outcome:
    try:
        if item is None:
            raise CleanError(
                f"{item_id} can't go.",
                "It is not there any more, or is in use by now.",
                "`finetui clean` lists what can go.",
            )
        if item.held:
            raise CleanError(f"{item.title} can't go now.", item.held, "Try again later.")
        return Outcome(item_id, _take(item))
    except FinetuiError as error:
        return Outcome(item_id, error=error)


def _take(item: Item) -> int:
    """Remove one thing; returns the bytes freed."""
    name = item.id.partition(":")[2]
    match item.kind:
        case "trash":
            return trash.remove(name)
        case "deployment":
            return cached.unlink(item.path)
        case "checkpoint":
            run_id, _, step = name.partition("@")
            return trash.delete_checkpoint(run_id, int(step))
    return cached.remove(item)


# What is found in the data directory


def _trashed(scene: Scene) -> Iterator[Item]:
    for row in scene.trashed:
        age = trash.age_s(row, time.time())
        over = age >= trash.KEPT_S
        left = round((trash.KEPT_S - age) / DAY_S)
        yield Item(
            id=f"trash:{row.id}",
            kind="trash",
            title=row.name,
            why=f"deleted {_days(age)} ago" + ("" if over else f"; goes by itself in {left} days"),
            back=f"gone for good; until then `finetui restore {row.id}`",
            bytes=trash.folder_bytes(row.directory),
            path=row.directory,
            proposed=over,
        )


def _deployments() -> Iterator[Item]:
    """Those that were removed; core.serving.trash keeps them, each as NAME@SECONDS."""
    for folder in sorted(paths.removed_deployments_dir().glob("[!.]*@*")):
        name, _, moment = folder.name.rpartition("@")
        age = max(0.0, time.time() - float(moment)) if moment.isdigit() else 0.0
        over = age >= trash.KEPT_S
        left = round((trash.KEPT_S - age) / DAY_S)
        yield Item(
            id=f"deployment:{folder.name}",
            kind="deployment",
            title=name,
            why=f"removed {_days(age)} ago" + ("" if over else f"; goes by itself in {left} days"),
            back=f"gone for good; until then `finetui deployments restore {folder.name}`",
            bytes=trash.folder_bytes(folder),
            path=folder,
            proposed=over,
        )


def _days(seconds: float) -> str:
    days = int(seconds // DAY_S)
    return f"{days} day{'' if days == 1 else 's'}" if days else "less than a day"


def _checkpoints(scene: Scene) -> Iterator[Item]:
    """Those of ended runs that are neither the newest nor the best; of a finished run also the newest, unproposed."""
    for row in scene.runs:
        if row.active:
            continue
        run = RunDirectory(row.directory)
        checkpoints = run.checkpoints()
        newest = checkpoints[-1].step if checkpoints else 0
        for checkpoint in checkpoints:
            if trash.kept_because(run, row, checkpoint.step) or _served(run, checkpoint.step):
                continue
            last = checkpoint.step == newest
            yield Item(
                id=f"checkpoint:{row.id}@{checkpoint.step}",
                kind="checkpoint",
                title=f"{row.name} @{checkpoint.step}",
                why=_why(row, last),
                back="gone for good; the run keeps its model"
                if row.state == "finished"
                else f"gone for good; the run goes on from step {newest}",
                bytes=checkpoint.bytes,
                path=checkpoint.path,
                proposed=not last,
            )


def _why(row: RunRow, last: bool) -> str:
    if last:
        return f"the run is finished and has its model; chat and export can't take step {row.step} then"
    return "an earlier one, neither the newest nor the best"


def _served(run: RunDirectory, step: int) -> bool:
    try:
        needs.refuse_served(run, "", step)
    except FinetuiError:
        return True
    return False


def _chats() -> Iterator[Item]:
    """The kept chats are one file, which an open app may write to."""
    path = paths.data_dir() / "chats" / "chats.db"
    taken = trash.folder_bytes(path.parent) if path.exists() else 0  # before SQLite adds files of its own
    if taken and _any_chat(path):
        yield Item(
            id="chat:all",
            kind="chat",
            title="all kept chats",
            why="they are kept until they are deleted",
            back="a deleted chat can be brought back for 30 days",
            bytes=taken,
            path=path,
            proposed=False,
            held="single chats are deleted in Chat (5, then a) or with `finetui chats delete ID`",
        )


def _any_chat(path: Path) -> bool:
    """Whether the file holds a chat, be it a deleted one; one that can't be read takes its place on the disk too."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as database:
            return bool(database.execute("SELECT EXISTS (SELECT 1 FROM chats)").fetchone()[0])
    except sqlite3.Error:
        return True
