"""A job in Azure becomes a run here, e.g. on another machine than the one that sent it."""

from __future__ import annotations

from core import paths
from core.azure import record
from core.azure.record import Record
from core.recipe import Recipe
from core.runs import directory, process, supervisor
from core.runs.directory import RunDirectory
from core.runs.rows import RunRow


def watching(job: str) -> RunRow | None:
    """The run that has a job already, taken up again where its worker has left; None when there is none.

    Args:
        job: its name in Azure.

    Raises:
        RunError: its worker can't be started.
    """
    for run in directory.all_in(paths.runs_dir()):
        known = record.read(run.path)
        if known is not None and known.job == job:
            row = supervisor.get(run.id)
            return row if row.active or row.state == "finished" else supervisor.resume(run.id)
    return None


def adopt(recipe: Recipe, made: Record) -> RunRow:
    """Make a run of a job that `core.azure.attach.reconstruct` has read, and watch it.

    Raises:
        RunError: its directory can't be made, or its worker can't be started.
    """
    run, lock = RunDirectory.create_locked(recipe)
    with lock:
        record.write(run.path, made)
        process.spawn(run)
    return supervisor.get(run.id)
