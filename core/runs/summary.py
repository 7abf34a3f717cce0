"""What a run's events add up to: the few values that lists and headers show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from statistics import median
from typing import Any

from core.events import (
    Checkpointed,
    Evaluated,
    Event,
    Failed,
    Finished,
    Paused,
    Planned,
    Queued,
    Requested,
    Resumed,
    Sampled,
    Starting,
    Status,
    Step,
    Stopped,
    Submitted,
)

VERSION = 2
"""Of the stored form; a summary stored by another version is folded anew from the journal."""

ACTIVE = frozenset({"queued", "starting", "running", "pausing", "stopping"})
"""States in which a worker should live."""

ENDED = frozenset({"paused", "stopped", "finished", "failed", "lost"})
"""States in which no worker lives; all but `finished` can be resumed."""

STATES = ACTIVE | ENDED

RECENT_STEPS = 20


@dataclass
class RunSummary:
    """A run's state and latest values. Times are UTC seconds since the epoch, 0 for "not yet".

    `state` is what the journal says; that a worker died without a word (`lost`) is for the supervisor to find.
    `step` counts finished optimiser steps. `train_s` adds up the durations of all steps, repeated ones too;
    `worked_s` the time from each worker's start to its end. `job` is a remote backend's name for it, `cost_usd` what
    its training costs by the service's price list of the day.
    """

    state: str = "queued"
    phase: str = ""
    device: str = ""
    position: int = 0
    behind: str = ""
    pid: int = 0
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    epochs: float = 0.0
    loss: float | None = None
    eval_loss: float | None = None
    best_eval_loss: float | None = None
    best_eval_step: int = 0
    base_eval_loss: float | None = None
    tokens_per_s: float = 0.0
    memory_bytes: int = 0
    started: float = 0.0
    ended: float = 0.0
    updated: float = 0.0
    message: str = ""
    cause: str = ""
    next_step: str = ""
    model: str = ""
    job: str = ""
    cost_usd: float | None = None
    last_checkpoint: str = ""
    last_checkpoint_step: int = 0
    train_s: float = 0.0
    worked_s: float = 0.0
    session_started: float = 0.0
    recent_s: list[float] = field(default_factory=list)

    @property
    def eta_s(self) -> float | None:
        """Seconds to the last step: remaining steps times the median of the recent steps' durations."""
        if self.state not in ACTIVE or not self.recent_s or self.total_steps <= 0:
            return None
        return max(0, self.total_steps - self.step) * median(self.recent_s)

    def worked_until(self, now: float) -> float:
        """Seconds that workers have worked on it, one that is at it now until `now`."""
        return self.worked_s + (now - self.session_started if self.session_started else 0.0)

    def as_dict(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> RunSummary | None:
        """The summary of `as_dict`'s form, or None when another version wrote it."""
        if stored.get("version") != VERSION:
            return None
        names = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in names})


def fold(summary: RunSummary, events: Iterable[Event]) -> RunSummary:
    """The summary after more events; the one given is left as it was."""
    folded = replace(summary, recent_s=list(summary.recent_s))
    for event in events:
        _apply(folded, event)
        folded.updated = max(folded.updated, event.time)
    return folded


def _apply(run: RunSummary, event: Event) -> None:
    match event:
        case Step():
            _step(run, event)
        case Evaluated():
            _begin(run)
            _evaluated(run, event)
        case Sampled():
            _begin(run)
        case Status():
            if event.training:
                _begin(run)
            run.phase = event.text
        case Queued():
            _open(run, event)
            run.state, run.device = "queued", event.device
            run.position, run.behind = event.position, event.behind
        case Starting():
            _open(run, event)
            run.state, run.phase, run.position, run.behind = "starting", event.phase, 0, ""
            run.device = event.device or run.device
            run.pid = event.pid or run.pid
            run.started = run.started or event.time
            run.session_started = run.session_started or event.time
        case Planned():
            run.total_steps, run.epochs = event.steps, event.epochs
        case Submitted():
            run.job, run.cost_usd = event.job, event.cost_usd
        case Checkpointed():
            run.last_checkpoint, run.last_checkpoint_step = event.path, event.step
        case Requested() if event.verb in ("stop", "pause") and run.state in ACTIVE:
            run.state = "stopping" if event.verb == "stop" else "pausing"
        case Resumed():
            run.step = event.step
        case Paused() | Stopped() | Finished() | Failed():
            _close(run, event)


def _begin(run: RunSummary) -> None:
    if run.state in ("queued", "starting"):
        run.state = "running"
        run.phase = ""


def _step(run: RunSummary, event: Step) -> None:
    _begin(run)
    run.step = event.step
    run.epoch = run.epoch if event.epoch is None else event.epoch
    run.loss = event.loss
    run.tokens_per_s, run.memory_bytes = event.tokens_per_s or 0.0, event.memory_bytes or 0
    if event.duration_s is not None:
        run.train_s += event.duration_s
        run.recent_s.append(event.duration_s)
        del run.recent_s[:-RECENT_STEPS]


def _evaluated(run: RunSummary, event: Evaluated) -> None:
    if event.step == 0:
        run.base_eval_loss = event.loss
        return
    run.eval_loss = event.loss
    # A diverged evaluation is stored as null.
    if event.loss is not None and (run.best_eval_loss is None or event.loss < run.best_eval_loss):
        run.best_eval_loss, run.best_eval_step = event.loss, event.step


def _open(run: RunSummary, event: Queued | Starting) -> None:
    """What an earlier worker left is over when a new one speaks up."""
    if not _new_worker(run, event):
        return
    if run.session_started:  # the earlier worker ended without a word
        run.worked_s += run.updated - run.session_started
        run.session_started = 0.0
    run.message = run.cause = run.next_step = ""
    run.ended, run.pid, run.recent_s = 0.0, 0, []


def _new_worker(run: RunSummary, event: Queued | Starting) -> bool:
    if run.state in ENDED:
        return True
    if isinstance(event, Queued):
        return run.state != "queued"
    return run.state != "queued" and event.pid not in (0, run.pid)


def _close(run: RunSummary, event: Paused | Stopped | Finished | Failed) -> None:
    run.state, run.phase, run.ended = event.kind, "", event.time
    run.position, run.behind = 0, ""
    if run.session_started:
        run.worked_s += event.time - run.session_started
        run.session_started = 0.0
    if isinstance(event, Finished) and event.job_s is not None:
        run.worked_s = event.job_s  # a watcher may have come late, or been away
    if isinstance(event, Failed):
        run.message, run.cause, run.next_step = event.what, event.cause, event.next_step
        return
    run.step = event.step
    if isinstance(event, (Stopped, Finished)):
        run.model = event.model or run.model
    if isinstance(event, (Paused, Stopped)) and event.checkpoint:
        run.last_checkpoint, run.last_checkpoint_step = event.checkpoint, event.step
