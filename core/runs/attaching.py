"""A job in Azure becomes a run here, e.g. on another machine than the one that sent it."""

from __future__ import annotations

from core import paths
from core.azure import record
from core.azure.jobs import ENDED
from core.azure.record import Record
from core.recipe import Recipe
from core.runs import directory, process, supervisor
from core.runs.directory import RunDirectory
from core.runs.rows import RunRow


def watching(job: str) -> RunRow | None:
    """The run that has a job already; one whose worker has left before the job's end is taken up again.

    Args:
        job: its name in Azure.

    Returns:
        The run, or None when there is none.

    Raises:
        RunError: its worker can't be started.
    """
    run_id = by_job().get(job)
    if run_id is None:
        return None
    row = supervisor.get(run_id)
    known = record.read(row.directory)
    failed = known is not None and known.status in ENDED[1:]  # resuming such a run would send another job
    return row if row.active or row.state == "finished" or failed else supervisor.resume(run_id)


def by_job() -> dict[str, str]:
    """Ids of this machine's runs by the job that each has in Azure.

    Raises:
        AzureError: what a run knows of its job is damaged.
    """
    known = ((run.id, record.read(run.path)) for run in directory.all_in(paths.runs_dir()))
    return {made.job: run_id for run_id, made in known if made is not None}


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
