"""What the app and the commands do with runs: submit, list, stop, pause, resume, rename, delete, restore.

Every function is synchronous, quick and safe to call from threads. Nothing here trains or imports anything heavy:
a run's work is done by its worker, a process of its own. Functions that change a run hold its change lock, so two
apps can't start two workers for it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import paths
from core.runs import control, locks, needs, process
from core.runs.directory import RunDirectory, RunError, checked_name
from core.runs.endings import without_work
from core.runs.finding import get, list_runs, notices, opened, rebuild
from core.runs.journal import Journal
from core.runs.rows import RunRow, row_of
from core.runs.summary import ENDED
from core.runs.survival import survival_risks

if TYPE_CHECKING:
    from core.recipe import Recipe

__all__ = [
    "RunError", "RunRow", "ask", "changing", "delete", "get", "list_runs", "log_tail", "notices", "pause", "rebuild",
    "rename", "restore", "resume", "stop", "submit", "survival_risks", "wait",
]  # fmt: skip

LOCK_TIMEOUT_S = 20.0
EXIT_TIMEOUT_S = 20.0
WAIT_POLL_S = 0.2


def submit(recipe: Recipe, base_dir: Path, name: str | None = None) -> RunRow:
    """Make a run directory with the frozen recipe and start its worker.

    Args:
        recipe: what to train; already checked.
        base_dir: the folder its relative paths are taken from.
        name: the run's name; the recipe's title when None.

    Raises:
        RunError: the name can't be used, or the worker can't be started (then the run is there, to be resumed).
        PathError: the data directory can't be written.
    """
    run, lock = RunDirectory.create_locked(recipe.absolute(base_dir), name)
    with lock:
        process.spawn(run)
    return _row(run)


def stop(ref: str) -> RunRow:
    """Ask a run to write a checkpoint and its model and end; a paused or lost run is marked stopped at once.

    Raises:
        RunError: it has ended or is stopping already.
    """
    with changing(ref) as row:
        run = RunDirectory(row.directory)
        if row.state == "stopping":
            raise RunError(
                f"{row.name} is stopping already.", "", f"`finetui watch {row.id}` shows when it is done."
            )
        if row.state in ("stopped", "finished", "failed"):
            raise _over(row)
        if row.state in ("paused", "lost") and row.backend == "azure":
            _cancel_remote(run, row)
        elif row.state in ("paused", "lost"):
            _mark_stopped(run, row)
        else:
            control.send(run.control_dir, "stop")
    return _row(run)


def pause(ref: str) -> RunRow:
    """Ask a run to write a checkpoint and end, so that its device is free; `resume` goes on from there.

    Raises:
        RunError: it is pausing, paused, stopping, lost or over.
    """
    with changing(ref) as row:
        run = RunDirectory(row.directory)
        watch, go_on = (
            f"`finetui watch {row.id}` shows when it is done.",
            f"`finetui resume {row.id}` goes on.",
        )
        match row.state:
            case _ if row.backend == "azure" and row.active:
                raise RunError(
                    f"{row.name} can't be paused.",
                    "A job in Azure trains on to its end.",
                    f"`finetui stop {row.id}` cancels it.",
                )
            case "pausing":
                raise RunError(f"{row.name} is pausing already.", "It ends after its present step.", watch)
            case "paused":
                raise RunError(f"{row.name} is paused already.", "", go_on)
            case "stopping":
                raise RunError(f"{row.name} is stopping: it can't be paused any more.", "", watch)
            case "lost":
                raise RunError(f"{row.name} has no worker to pause.", row.message.splitlines()[0], go_on)
            case "stopped" | "finished" | "failed":
                raise _over(row)
        control.send(run.control_dir, "pause")
    return _row(run)


def resume(ref: str) -> RunRow:
    """Start a new worker for a paused, stopped, failed or lost run, from its newest intact checkpoint.

    Raises:
        RunError: it has a worker, or is finished; or the worker can't be started.
    """
    with changing(ref) as row:
        run = RunDirectory(row.directory)
        if row.active:
            raise RunError(
                f"{row.name} is {row.state}: there is nothing to resume.", "", f"`finetui watch {row.id}`."
            )
        if row.state == "finished":
            raise RunError(
                f"{row.name} is finished: there is nothing to resume.",
                "",
                _further(row),
            )
        _await_exit(run, row)
        control.clear(run.control_dir)
        run.write_meta(replace(run.meta, queued_ns=time.time_ns()))
        process.spawn(run)
    return _row(run)


def ask(ref: str, verb: str, **arguments: Any) -> None:
    """Ask a working run for a `checkpoint`, a `sample` {prompt} or a `change` {name, value}.

    Raises:
        RunError: nobody works on it, or it is a job in Azure, which hears nothing.
    """
    row = get(ref)
    if row.state == "finished":
        raise RunError(f"{row.name} is finished: no worker would hear it.", "", _further(row))
    if not row.active:
        raise RunError(
            f"{row.name} is {row.state}: no worker would hear it.",
            "",
            f"`finetui resume {row.id}` goes on with it.",
        )
    if row.backend == "azure":
        raise RunError(
            f"{row.name} can't be changed or asked while it trains.",
            "A job in Azure trains on as it was sent.",
            f"`finetui stop {row.id}` cancels it; then send another with other settings.",
        )
    control.send(RunDirectory(row.directory).control_dir, verb, **arguments)


def rename(ref: str, name: str) -> RunRow:
    """Give a run another name; its id stays.

    Raises:
        RunError: the name can't be used, or is another run's name or id.
    """
    title = checked_name(name)
    with changing(ref) as row:
        other = next(
            (item for item in list_runs() if title in (item.id, item.name) and item.id != row.id), None
        )
        if other is not None:
            raise RunError(
                f"There is another run called {title!r}.",
                f"Its id is {other.id}; two of one name could only be told apart by their ids.",
                f"Choose another name, or rename that one first: `finetui rename {other.id} NAME`.",
            )
        run = RunDirectory(row.directory)
        run.write_meta(replace(run.meta, name=title))
    return _row(run)


def delete(ref: str) -> RunRow:
    """Move a run to the trash, where it stays for 30 days; `core.runs.trash` empties it.

    Raises:
        RunError: its worker lives, a deployment serves it, or a run that is starting needs it.
    """
    with changing(ref) as row:
        run = RunDirectory(row.directory)
        if row.active:
            raise RunError(
                f"{row.name} is {row.state}: it can't be deleted.",
                "A worker is writing to it.",
                f"`finetui stop {row.id}` first; that keeps a checkpoint and the model.",
            )
        needs.refuse_served(run, row.name)
        needs.refuse_awaited(run, row.name, lambda other: _row(other).active)
        _await_exit(run, row)
        run.write_meta(replace(run.meta, trashed_at=time.time()))
        moved = _move(run, paths.trash_dir())
    return _row(moved)


def restore(ref: str) -> RunRow:
    """Bring a run back from the trash.

    Raises:
        RunError: it is not there.
    """
    row = get(ref, trash=True)
    run = RunDirectory(row.directory)
    with locked(run):
        moved = _move(run, paths.runs_dir())
        moved.write_meta(replace(moved.meta, trashed_at=0.0))
    return _row(moved)


def log_tail(ref: str, lines: int = 20) -> list[str]:
    """The last lines of a run's worker.log."""
    return RunDirectory(get(ref).directory).log_tail(lines)


def wait(ref: str, states: Collection[str] = ENDED, timeout_s: float | None = None) -> RunRow:
    """Wait until a run is in one of the states, or in one that nothing will change by itself.

    Raises:
        RunError: not within `timeout_s` seconds.
    """
    end = None if timeout_s is None else time.monotonic() + timeout_s
    run = RunDirectory(get(ref).directory)
    while (row := _row(run)).state not in states and row.active:
        if end is not None and time.monotonic() > end:
            raise RunError(
                f"{row.name} is still {row.state} after {timeout_s:g} s.", "", f"`finetui watch {row.id}`."
            )
        time.sleep(WAIT_POLL_S)
    return row


def _row(run: RunDirectory, locked: bool = False) -> RunRow:
    with opened() as store:
        return row_of(store.refresh_one(run), locked)


@contextlib.contextmanager
def changing(ref: str) -> Iterator[RunRow]:
    """The run's row as it is while its change lock is held; e.g. to write down that a deployment serves it.

    Raises:
        RunError: there is no such run, or another finetui changes it.
    """
    run = RunDirectory(get(ref).directory)
    with locked(run):
        yield _row(run, locked=True)


def locked(run: RunDirectory) -> locks.Lock:
    """The run's change lock: while it is held nobody starts, renames, moves or removes the run.

    Raises:
        RunError: another holds it, or the run is gone.
    """
    try:
        lock = locks.take(run.change_lock_path, LOCK_TIMEOUT_S)
    except FileNotFoundError:  # deleted, or moved to the trash or back
        lock = None
    if lock is None:
        raise RunError(f"{run.id} is being changed by another finetui.", "", "Try again in a moment.")
    return lock


def _over(row: RunRow) -> RunError:
    step = f"`finetui chat {row.id}` talks to its model."
    if row.state != "finished":
        step = f"`finetui resume {row.id}` goes on with it."
    elif row.backend == "azure":
        step = f"`finetui azure deploy {row.id}` puts its model behind an endpoint, charged by the hour."
    return RunError(f"{row.name} is over: it is {row.state}.", "", step)


def _further(row: RunRow) -> str:
    return f"Train further with a new run: `finetui train {row.directory / 'recipe.yaml'}`."


def _cancel_remote(run: RunDirectory, row: RunRow) -> None:
    """Nobody watches the run's job, but it may go on: a new worker cancels it."""
    _await_exit(run, row)
    control.clear(run.control_dir)
    control.send(run.control_dir, "stop")
    process.spawn(run)


def _mark_stopped(run: RunDirectory, row: RunRow) -> None:
    lock = locks.take(run.lock_path, EXIT_TIMEOUT_S)
    if lock is None:
        raise _still_ending(row)
    with lock, Journal(run.journal_path) as journal:
        if not journal.append(without_work("stop", run, row.summary)):
            raise RunError(
                f"{run.journal_path} can't be written.",
                "The disk is full or away.",
                "Free space, then stop it again.",
            )


def _await_exit(run: RunDirectory, row: RunRow) -> None:
    """An ended run's worker may take a moment to leave, and its memory with it."""
    end = time.monotonic() + EXIT_TIMEOUT_S
    while process.worker_alive(run, process.read_worker(run)):
        if time.monotonic() > end:
            raise _still_ending(row)
        time.sleep(0.05)


def _still_ending(row: RunRow) -> RunError:
    return RunError(
        f"{row.name}'s worker has said it ends, but is still there.", "", "Try again in a moment."
    )


def _move(run: RunDirectory, parent: Path) -> RunDirectory:
    target = paths.make_private(parent) / run.id
    if target.exists():
        raise RunError(
            f"{target} exists already.", "Two runs have the same id.", "Rename one of the folders."
        )
    try:
        run.path.rename(target)
    except OSError as error:
        raise RunError(
            f"{run.path} can't be moved to {parent}.", str(error), "Free the folder, try again."
        ) from error
    return RunDirectory(target)
