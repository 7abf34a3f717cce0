"""A run's worker: the detached process that waits for the device, trains and writes down how it ended.

    python -P -m core.runs.worker RUN_DIRECTORY

Exit status: 0 finished, stopped or paused; 1 an unexpected error (see worker.log); 2 an error the run names;
3 another worker has the run already.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import FinetuiError
from core.events import Event, Finished, Paused, Queued, Resumed, Starting, Stopped, Warned
from core.runs import devices, locks, queue
from core.runs.directory import RunDirectory
from core.runs.endings import UNEXPECTED, explain, without_work
from core.runs.handle import RunHandle
from core.runs.journal import Journal, JournalReader
from core.runs.process import Heartbeat, Identity, Worker, journal_bytes, write_worker
from core.runs.summary import RunSummary, fold
from core.work import RemoteOutcome

if TYPE_CHECKING:
    from core.backends.base import Backend
    from core.recipe import Recipe
    from core.work import Outcome

LOCK_TIMEOUT_S = 10.0
LAST_WRITES = 30


def main() -> int:
    """The command line: one argument, the run directory."""
    if len(sys.argv) != 2:
        print("usage: python -P -m core.runs.worker RUN_DIRECTORY", file=sys.stderr)  # noqa: T201
        return 2
    faulthandler.enable()  # a crash below Python leaves its trace in worker.log
    return run(Path(sys.argv[1]), leaving=True)


def run(run_dir: Path, backend: Backend | None = None, leaving: bool = False) -> int:
    """Work on a run until it ends; returns the exit status.

    Args:
        run_dir: the run's directory.
        backend: who trains; the one the recipe names when None.
        leaving: the process ends right after: the run's and the devices' locks stay until then, so that the
            devices' memory is free before the next run has it.
    """
    directory = RunDirectory(run_dir.absolute())
    signals = _Signals()
    with contextlib.ExitStack() as stack:
        stack.callback(signals.restore)
        lock = locks.take(directory.lock_path, LOCK_TIMEOUT_S)
        if lock is None:
            print(f"Another worker has {directory.id} already.", file=sys.stderr)  # noqa: T201
            return 3
        _KEPT.append(lock) if leaving else stack.push(lock)
        write_worker(directory, Worker(Identity.current(), journal_bytes(directory), time.time()))
        earlier = past(directory)
        journal = stack.enter_context(Journal(directory.journal_path))
        session = _Session(directory, journal, earlier, signals)
        stack.enter_context(Heartbeat(directory.heartbeat_path))
        status = session.work(backend)
        for held in session.device_locks:
            _KEPT.append(held) if leaving else held.release()
        return status


_KEPT: list[locks.Lock] = []


def past(directory: RunDirectory) -> RunSummary:
    """What the journal adds up to so far."""
    reader = JournalReader(directory.journal_path)
    summary = RunSummary()
    while events := reader.read(1 << 20):
        summary = fold(summary, events)
    return summary


class _Signals:
    """SIGTERM and SIGINT are stop requests from the first moment on; a hang-up means nothing."""

    def __init__(self) -> None:
        self.count = 0
        self.handle: RunHandle | None = None
        self._before = [
            (number, signal.signal(number, self._come)) for number in (signal.SIGTERM, signal.SIGINT)
        ]
        self._before.append((signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_IGN)))

    def restore(self) -> None:
        """Back to what was before."""
        for number, handler in self._before:
            signal.signal(number, handler)

    def _come(self, *_: object) -> None:
        self.count += 1
        if self.handle is not None:
            self.handle.signalled()

    def go_to(self, handle: RunHandle) -> None:
        """From now on the handle is told, of those that have come already too."""
        self.handle = handle
        if self.count:
            handle.signalled()


class _Session:
    """One worker's work on a run."""

    def __init__(
        self, directory: RunDirectory, journal: Journal, earlier: RunSummary, signals: _Signals
    ) -> None:
        self.directory = directory
        self.journal = journal
        self.earlier = earlier
        self.handle: RunHandle | None = None
        self.device_locks: list[locks.Lock] = []
        self.signals = signals

    def work(self, backend: Backend | None) -> int:
        """Do everything, write the last event; returns the exit status."""
        try:
            status, last = 0, self._train(backend)
        except FinetuiError as error:
            status, last = error.exit_code, explain(error, self.directory, self._step())
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a library raises ends as a told failure
            traceback.print_exc()
            last = explain(error, self.directory, self._step())
            status = 1 if last.cause == UNEXPECTED else 2
        self.directory.remove_partials()  # on a full disk this makes the room for the last event
        if self.handle is not None:
            self.handle.emit(last)
        else:
            self.journal.append(last)
        self._insist()
        return status

    def _step(self) -> int:
        return self.handle.summary.step if self.handle else self.earlier.step

    def _train(self, backend: Backend | None) -> Event:
        self.directory.remove_partials()
        recipe = self.directory.recipe()
        handle = self.handle = RunHandle(self.directory, recipe, self.journal, self.earlier)
        self.signals.go_to(handle)
        chosen: tuple[str, ...] = ()
        if recipe.value("backend") == "local":
            chosen = devices.choose(recipe.device, recipe.value("devices"))
        if not self._wait(chosen, handle):
            verb = handle.ending()
            handle.requests()
            return without_work(verb, self.directory, handle.summary)
        began = time.time()
        handle.device, handle.devices = chosen[0] if chosen else "", chosen
        handle.emit(Starting(phase="loading libraries", device=handle.device, pid=os.getpid()))
        self._resume(handle)
        _show_only(chosen)
        outcome = (backend or _backend(recipe)).train(recipe, handle)
        return _last_event(outcome, time.time() - began)

    def _wait(self, chosen: tuple[str, ...], handle: RunHandle) -> bool:
        """Get the devices, one after the other; False when a stop or a pause came first. A remote backend needs none,
        and may have a job to cancel."""
        for device in dict.fromkeys(chosen):
            lock = queue.acquire(
                device,
                self.directory.id,
                self.directory.meta.queued_ns,
                partial(self._tell_place, handle, device),
                lambda: bool(handle.ending()),
            )
            if lock is None:
                return False
            self.device_locks.append(lock)
        return True

    def _tell_place(self, handle: RunHandle, device: str, position: int, behind: str) -> None:
        handle.emit(Queued(device=device, position=position, behind=behind))

    def _resume(self, handle: RunHandle) -> None:
        """Find where an earlier worker left off, and say so."""
        if not self.earlier.updated:
            return
        newest = self.directory.latest_checkpoint()
        for damaged in self.directory.checkpoints():
            if damaged.step > (newest.step if newest else -1):
                handle.emit(Warned(text=f"Checkpoint passed over: {damaged.damage()}"))
        handle.resume_from = newest.path if newest else None
        handle.emit(
            Resumed(
                step=newest.step if newest else 0,
                checkpoint=self.directory.relative(newest.path) if newest else "",
            )
        )

    def _insist(self) -> None:
        """Give a full disk a little time: without its last event the run would look lost."""
        for _ in range(LAST_WRITES):
            if self.journal.flush():
                return
            time.sleep(1.0)
        print(f"{self.journal.waiting} events could not be written.", file=sys.stderr)  # noqa: T201


def _backend(recipe: Recipe) -> Backend:
    from core.backends import get

    return get(recipe.value("backend"))


def _show_only(chosen: tuple[str, ...]) -> None:
    """Let CUDA see the run's devices alone, in their order, before anything starts it."""
    if chosen:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(device.partition(":")[2] for device in chosen)


def _last_event(outcome: Outcome, duration_s: float) -> Event:
    match outcome.kind:
        case "paused":
            return Paused(step=outcome.step, checkpoint=outcome.checkpoint)
        case "stopped":
            return Stopped(step=outcome.step, model=outcome.model, checkpoint=outcome.checkpoint)
        case "finished":
            job_s = outcome.job_s if isinstance(outcome, RemoteOutcome) else None
            return Finished(
                step=outcome.step,
                model=outcome.model,
                loss=outcome.loss,
                base_loss=outcome.base_loss,
                duration_s=duration_s if job_s is None else job_s,
                job_s=job_s,
            )


if __name__ == "__main__":
    sys.exit(main())
