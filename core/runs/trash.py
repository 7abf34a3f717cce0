"""What goes for good: runs that were in the trash long enough, and single checkpoints. And what depends on them.

A removal holds the run's change lock and looks again under it, so that a run restored or started meanwhile is left
alone. A folder is renamed before its files go: a crash leaves a hidden folder that the next sweep takes, and never half
a run.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import paths
from core.runs import lineage, manifest, needs, supervisor
from core.runs.directory import RunDirectory, RunError, all_in
from core.runs.lineage import Deployment, Link
from core.runs.rows import RunRow

KEPT_S = 30 * 24 * 3600.0
GONE = ".gone-"
"""Begins the name of a folder whose files are being removed."""


@dataclass(frozen=True)
class Dependents:
    """What would miss a run, and what of it is on the disk.

    Attributes:
        run: its id.
        bytes: size of its directory.
        deployments: that serve it; while there are any it can't be deleted.
        children: runs that were initialised from it; they have copies of its weights.
        remote: the model it has registered in Azure, which deleting the run leaves there; or empty.
        chats: titles of kept chats with it; `core.serving.lineage` knows them.
    """

    run: str
    bytes: int
    deployments: tuple[Deployment, ...]
    children: tuple[Link, ...]
    remote: str
    chats: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def dependents(run: RunDirectory) -> Dependents:
    """Everything that depends on a run.

    Raises:
        RunError: a deployment's record can't be read.
    """
    return Dependents(
        run=run.id,
        bytes=folder_bytes(run.path),
        deployments=lineage.deployments_of(run),
        children=lineage.children_of(run),
        remote=lineage.registered_as(run),
    )


def folder_bytes(path: Path) -> int:
    """Bytes of all files below a folder, or of a file; links count as such. What vanishes meanwhile counts nothing."""
    total = 0
    waiting = [path]
    while waiting:
        here = waiting.pop()
        try:
            if here.is_symlink() or not here.is_dir():
                total += here.lstat().st_size
                continue
            waiting += [Path(entry) for entry in os.scandir(here)]
        except OSError:
            continue
    return total


# The trash


def age_s(row: RunRow, now: float) -> float:
    """Seconds a run has been in the trash; 0 when nobody knows since when (its folder was moved there by hand)."""
    return max(0.0, now - row.trashed_at) if row.trashed_at > 0 else 0.0


def sweep(older_than_s: float = KEPT_S) -> dict[str, int]:
    """Remove for good what has been in the trash for longer, and what an interrupted removal left.

    Returns:
        The bytes freed, by the id of the run.
    """
    if not paths.trash_dir().is_dir():
        return {}
    for left in paths.trash_dir().glob(f"{GONE}*"):
        shutil.rmtree(left, ignore_errors=True)  # another process may be at it
    if not all_in(paths.trash_dir()):
        return {}
    freed = {}
    for row in supervisor.list_runs(trash=True):
        if age_s(row, time.time()) >= older_than_s:
            freed[row.id] = remove(row.id, older_than_s)
    return freed


def remove(run_id: str, older_than_s: float = 0.0) -> int:
    """Remove a run in the trash for good; returns the bytes freed, 0 when it has been restored or is newer.

    Args:
        run_id: its id.
        older_than_s: seconds it must have been there.

    Raises:
        RunError: its folder can't be removed.
    """
    run = RunDirectory(paths.trash_dir() / run_id)
    try:
        lock = supervisor.locked(run)
    except RunError:
        if run.path.is_dir():
            raise
        return 0
    with lock:
        if not run.meta_path.exists() or _in_trash_s(run) < older_than_s:
            return 0
        aside = run.path.with_name(f"{GONE}{run.id}")
        size = folder_bytes(run.path)
        try:
            run.path.rename(aside)
            shutil.rmtree(aside)
        except OSError as error:
            raise RunError(
                f"{run.id} can't be removed.", str(error), f"See who owns {aside}, then try again."
            ) from error
    return size


def _in_trash_s(run: RunDirectory) -> float:
    since = run.meta.trashed_at
    return max(0.0, time.time() - since) if since > 0 else 0.0


# Checkpoints


def delete_checkpoint(ref: str, step: int, even_best: bool = False) -> int:
    """Remove a run's checkpoint for good.

    Args:
        ref: the run.
        step: the checkpoint's.
        even_best: also when it is the one with the lowest validation loss.

    Returns:
        The bytes freed.

    Raises:
        RunError: there is no such run or checkpoint; the run works, or would lose its newest weights or the place it
            goes on from; a deployment serves it; or it is the best one.
    """
    with supervisor.changing(ref) as row:
        run = RunDirectory(row.directory)
        if row.active:
            raise RunError(
                f"{row.name} is {row.state}: its checkpoints can't be deleted.",
                "Its worker writes them, and keeps only the newest itself.",
                f"`finetui pause {row.id}` first.",
            )
        reason = kept_because(run, row, step)
        if reason and not (even_best and reason == BEST):
            raise _kept(row, step, reason)
        needs.refuse_served(run, row.name, step)
        needs.refuse_awaited(run, row.name, lambda other: supervisor.get(other.id).active, step)
        folder = run.checkpoints_dir / f"step-{step}"
        size = folder_bytes(folder)
        run.remove_checkpoint(step)
    return size


MISSING = "missing"
BEST = "best"
RESUMES = "resumes"
LAST = "last"


def kept_because(run: RunDirectory, row: RunRow, step: int) -> str:
    """Why a checkpoint should stay: `missing` (there is none), `resumes` (the run goes on from it), `last` (its only
    weights), `best` (the lowest validation loss); empty when nothing speaks for it."""
    steps = [checkpoint.step for checkpoint in run.checkpoints()]
    if step not in steps:
        return MISSING
    if step == max(steps) and row.state != "finished":
        return RESUMES
    if steps == [step] and manifest.read(run.model_dir) is None:
        return LAST
    return BEST if step == row.summary.best_eval_step else ""


def _kept(row: RunRow, step: int, reason: str) -> RunError:
    steps = ", ".join(str(item.step) for item in RunDirectory(row.directory).checkpoints()) or "none"
    what = f"The checkpoint of step {step} of {row.name} is not deleted."
    match reason:
        case "missing":
            return RunError(
                f"{row.name} has no checkpoint of step {step}.", f"Kept are: {steps}.", "Name one of these."
            )
        case "resumes":
            return RunError(
                what,
                f"It is the newest, and the run is {row.state}: it would go on from an earlier one.",
                f"Name another ({steps}), or delete the run: `finetui delete {row.id}`.",
            )
        case "last":
            return RunError(
                what, "It is all that the run has trained.", f"Delete the run: `finetui delete {row.id}`."
            )
    return RunError(
        what,
        "It has the lowest validation loss of the run.",
        f"`finetui delete {row.id} --checkpoint {step} --even-best` does it all the same.",
    )
