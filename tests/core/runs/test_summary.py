"""Folding events into a run's state and values."""

from __future__ import annotations

from core.events import (
    Changed,
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
    Starting,
    Status,
    Step,
    Stopped,
)  # fmt: skip
from core.runs.summary import RunSummary, fold


def planned(steps: int) -> Planned:
    return Planned(
        time=1.0, steps=steps, epochs=2.0, rows=8, validation_rows=2, dropped_rows=0, cut_rows=0, tokens=80,
        trained_tokens=40, trainable_parameters=1, parameters=10,
    )  # fmt: skip


def step(number: int, time: float, duration_s: float = 1.0, loss: float = 2.0) -> Step:
    return Step(
        time=time, step=number, epoch=0.5, loss=loss, learning_rate=1e-3, grad_norm=1.0, tokens=10, trained_tokens=5,
        tokens_per_s=70.0, memory_bytes=9, duration_s=duration_s,
    )  # fmt: skip


def evaluated(number: int, loss: float | None) -> Evaluated:
    return Evaluated(
        time=5.0, step=number, loss=loss, perplexity=1.0, rows=1, trained_tokens=1, duration_s=1.0
    )


A_WHOLE_RUN: list[Event] = [
    Queued(time=1.0, device="cpu", position=1, behind="other-0001"),
    Starting(time=10.0, phase="loading", device="cpu", pid=11),
    Status(time=11.0, text="reading the model"),
    planned(10),
    evaluated(0, 3.0),
    step(1, 12.0),
    step(2, 13.0, duration_s=3.0),
    evaluated(2, 2.5),
    Checkpointed(time=13.5, step=2, path="checkpoints/step-2", bytes=5),
    Requested(time=13.6, verb="pause"),
    step(3, 14.0),
    Paused(time=15.0, step=3, checkpoint="checkpoints/step-3"),
    Queued(time=100.0, device="cpu", position=1),
    Starting(time=110.0, phase="loading", device="cpu", pid=12),
    Resumed(time=111.0, step=3, checkpoint="checkpoints/step-3"),
    step(4, 112.0),
    evaluated(4, 2.8),
    Changed(time=113.0, name="learning_rate", old="1", new="2"),
    Finished(time=120.0, step=10, model="model", loss=2.0, base_loss=3.0),
]

STATES = [
    "queued", "starting", "starting", "starting", "running", "running", "running", "running", "running", "pausing",
    "pausing", "paused", "queued", "starting", "starting", "running", "running", "running", "finished",
]  # fmt: skip


def test_each_event_gives_the_next_state() -> None:
    summary, states = RunSummary(), []
    for event in A_WHOLE_RUN:
        summary = fold(summary, [event])
        states.append(summary.state)
    assert states == STATES
    assert summary == fold(RunSummary(), A_WHOLE_RUN)


def test_the_values_of_a_whole_run() -> None:
    summary = fold(RunSummary(), A_WHOLE_RUN)
    assert (summary.step, summary.total_steps, summary.loss, summary.model) == (10, 10, 2.0, "model")
    assert (summary.base_eval_loss, summary.eval_loss) == (3.0, 2.8)
    assert (summary.best_eval_loss, summary.best_eval_step) == (2.5, 2)
    assert (summary.started, summary.ended, summary.updated) == (10.0, 120.0, 120.0)
    assert summary.train_s == 6.0
    assert summary.worked_s == summary.worked_until(999.0) == (15.0 - 10.0) + (120.0 - 110.0)
    going_on = fold(RunSummary(), A_WHOLE_RUN[:-1])
    assert going_on.worked_until(118.0) == (15.0 - 10.0) + (118.0 - 110.0)
    assert summary.last_checkpoint == "checkpoints/step-3"
    assert summary.eta_s is None


def test_the_time_left_is_by_the_median_step() -> None:
    summary = fold(RunSummary(), [planned(10), step(1, 1.0, 1.0), step(2, 2.0, 100.0), step(3, 3.0, 2.0)])
    assert summary.eta_s == 7 * 2.0


def test_fold_leaves_its_argument_alone() -> None:
    before = fold(RunSummary(), A_WHOLE_RUN[:7])
    copy = before.as_dict()
    fold(before, A_WHOLE_RUN[7:])
    assert before.as_dict() == copy


def test_a_summary_survives_storage_and_another_version_is_refused() -> None:
    summary = fold(RunSummary(), A_WHOLE_RUN)
    assert RunSummary.from_dict(summary.as_dict()) == summary
    assert RunSummary.from_dict({**summary.as_dict(), "version": 0}) is None


def test_a_failure_is_told_and_forgotten_by_the_next_worker() -> None:
    failed = fold(
        RunSummary(), [*A_WHOLE_RUN[:6], Failed(time=20.0, what="w", cause="c", next_step="n", step=1)]
    )
    assert (failed.state, failed.message, failed.cause, failed.next_step, failed.step) == (
        "failed",
        "w",
        "c",
        "n",
        1,
    )
    again = fold(failed, [Starting(time=30.0, phase="loading", pid=99)])
    assert (again.state, again.message, again.ended, again.started) == ("starting", "", 0.0, 10.0)


def test_a_worker_after_one_that_was_lost() -> None:
    lost = fold(RunSummary(), A_WHOLE_RUN[:8])
    again = fold(
        lost, [Starting(time=500.0, phase="loading", pid=77), Resumed(time=501.0, step=2), step(3, 502.0)]
    )
    assert (again.state, again.step) == ("running", 3)
    assert fold(again, [Stopped(time=510.0, step=3)]).worked_s == (13.0 - 10.0) + (510.0 - 500.0)


def test_a_diverged_loss_is_no_best() -> None:
    summary = fold(RunSummary(), [evaluated(1, None), evaluated(2, 2.0), evaluated(3, None)])
    assert (summary.eval_loss, summary.best_eval_loss) == (None, 2.0)
