"""A run as lists and headers show it: what its journal says, held against what its process tells."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field
from pathlib import Path

from core.runs import control, locks, process
from core.runs.directory import RunDirectory
from core.runs.process import Worker
from core.runs.store import StoredRun, caught_up
from core.runs.summary import ACTIVE, ENDED, RunSummary

TAIL_LINES = 8


@dataclass(frozen=True)
class RunRow:
    """One run. Times are UTC seconds since the epoch, 0 for "not yet"; losses are None until known.

    Attributes:
        ref: what commands take to name it.
        state: queued starting running pausing stopping paused stopped finished failed lost.
        phase: what happens while there are no steps.
        updated: time of its last event.
        message: why it failed or was lost, or what to know of its worker; several lines for a lost run.
        next_step: what the user can do now.
        silent_s: seconds without any event while it should be working, else 0.
        eta_s: seconds to its last step, None when not known.
        summary: everything its journal adds up to.
    """

    id: str
    name: str
    state: str
    backend: str
    device: str
    model: str
    step: int
    total_steps: int
    loss: float | None
    eval_loss: float | None
    base_eval_loss: float | None
    created: float
    started: float
    ended: float
    updated: float
    directory: Path
    phase: str = ""
    message: str = ""
    next_step: str = ""
    silent_s: float = 0.0
    trashed_at: float = 0.0
    eta_s: float | None = None
    summary: RunSummary = field(default_factory=RunSummary)

    @property
    def active(self) -> bool:
        """Whether a worker should be at it."""
        return self.state in ACTIVE

    @property
    def without_model(self) -> tuple[str, str]:
        """(why, what the user can do) of a run without model and checkpoint; a failed one says itself what helps."""
        because = "and no checkpoint has been written."
        if self.active:
            return f"It is {self.state}, {because}", f"`finetui watch {self.id}` shows how far it is."
        if self.state == "failed" and self.next_step:
            what = self.message.partition("\n")[0]
            return f"It has failed, {because} {what}".rstrip(), self.next_step
        return f"It is {self.state}, {because}", f"`finetui resume {self.id}` goes on with it."


def row_of(stored: StoredRun, locked: bool = False) -> RunRow:
    """The row of a run; looks at its worker if it should have one.

    Args:
        stored: the run, caught up with its journal.
        locked: the caller holds the run's change lock; else a held one means that somebody starts a worker.
    """
    run = stored.directory
    if stored.trashed:
        return _row(stored, stored.summary.state if stored.summary.state in ENDED else "lost")
    if stored.summary.state == "finished":
        return _row(stored, "finished")
    worker = process.read_worker(run)
    if not _at_work(stored, worker):
        return _row(stored, stored.summary.state)
    being_started = not locked and worker is None and locks.is_held(run.change_lock_path)
    alive = process.worker_alive(run, worker)
    verbs = control.pending(run.control_dir)
    stored = caught_up(
        stored
    )  # after the looks above: what a worker did before them is in the journal by now
    if not _at_work(stored, worker):
        return _row(stored, stored.summary.state)
    if being_started:
        return _row(stored, "queued", phase="starting the worker")
    if alive is False:
        return _lost(stored, worker)
    launched = stored.summary.state in ENDED
    state = _asked("starting" if launched else stored.summary.state, verbs)
    since = max(stored.summary.updated, worker.launched if worker else 0.0)
    return _row(
        stored,
        state,
        phase="starting the worker" if launched or not stored.summary.updated else stored.summary.phase,
        message=_far_away(run, worker) if alive is None else "",
        silent_s=0.0 if state == "queued" else max(0.0, time.time() - since),
        ended=0.0,
    )


def _at_work(stored: StoredRun, worker: Worker | None) -> bool:
    """Whether a worker should be there: the journal says so, or one was launched that hasn't said a word yet."""
    if stored.summary.state in ACTIVE:
        return True
    return worker is not None and worker.journal_bytes >= stored.journal_offset


def _asked(state: str, verbs: list[str]) -> str:
    """The state with what was asked of the worker and not yet taken by it."""
    if state == "stopping" or "stop" in verbs:
        return "stopping"
    return "pausing" if "pause" in verbs else state


def _lost(stored: StoredRun, worker: Worker | None) -> RunRow:
    run = stored.directory
    if worker is None:
        reason = "Its worker was never started."
    elif worker.identity.boot != process.Identity.current().boot:
        reason = "The machine was restarted while it worked."
    else:
        reason = "Its worker ended without a word: killed from outside, out of memory, or crashed."
    tail = run.log_tail(TAIL_LINES)
    lines = [reason, "The last lines of worker.log:", *tail] if tail else [reason, "Its worker.log is empty."]
    step = max((checkpoint.step for checkpoint in run.checkpoints()), default=0)
    place = f"continues from step {step}" if step else "starts again: there is no checkpoint yet"
    if stored.meta.backend == "azure":
        place = "goes on with its job in Azure: no second one is sent"
    return _row(
        stored,
        "lost",
        message="\n".join(lines),
        next_step=f"`finetui resume {run.id}` ({place}).",
        ended=stored.summary.updated or (worker.launched if worker else stored.meta.created),
    )


def _far_away(run: RunDirectory, worker: Worker | None) -> str:
    age_s = process.heartbeat_age_s(run)
    heard = f"its last heartbeat was {age_s:.0f} s ago" if age_s is not None else "it has sent no heartbeat"
    host = worker.identity.host if worker else "another host"
    return f"Its worker is on {host}, this is {platform.node()}; {heard}."


def _row(
    stored: StoredRun,
    state: str,
    *,
    phase: str | None = None,
    message: str = "",
    next_step: str = "",
    silent_s: float = 0.0,
    ended: float | None = None,
) -> RunRow:
    summary, meta = stored.summary, stored.meta
    failure = (
        "\n".join(part for part in (summary.message, summary.cause) if part) if state == "failed" else ""
    )
    return RunRow(
        id=meta.id,
        name=meta.name,
        state=state,
        backend=meta.backend,
        device=summary.device,
        model=meta.model,
        step=summary.step,
        total_steps=summary.total_steps,
        loss=summary.loss,
        eval_loss=summary.eval_loss,
        base_eval_loss=summary.base_eval_loss,
        created=meta.created,
        started=summary.started,
        ended=summary.ended if ended is None else ended,
        updated=summary.updated,
        directory=stored.path,
        phase=summary.phase if phase is None else phase,
        message=message or failure,
        next_step=next_step or (summary.next_step if state == "failed" else ""),
        silent_s=silent_s,
        trashed_at=meta.trashed_at,
        eta_s=summary.eta_s if state in ACTIVE else None,
        summary=summary,
    )
