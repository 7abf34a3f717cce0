"""What a run's events add up to for curves and comparisons, beyond its summary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from core.events import Checkpointed, Evaluated, Event, Planned, Resumed, Step, Submitted
from core.runs.summary import RunSummary, fold


class Point(NamedTuple):
    """A step, or an evaluation, of a run's curves.

    Args:
        step: finished steps.
        tokens: of all rows trained on up to there.
        seconds: spent in steps up to there, steps done twice counted twice.
        loss: of the step; None for an evaluation, or where it is no number.
        eval_loss: of the evaluation; None for a step.
        evaluated: whether it is an evaluation.
    """

    step: int
    tokens: int
    seconds: float
    loss: float | None = None
    eval_loss: float | None = None
    evaluated: bool = False


class Tally:
    """What a run's events add up to, beyond its summary."""

    def __init__(self) -> None:
        self.summary = RunSummary()
        self.best_loss: float | None = None
        self.best_loss_step = 0
        self.peak_bytes = 0
        self.tokens = 0
        self.seconds = 0.0
        self.perplexity: float | None = None
        self.metrics: dict[str, float] = {}
        self.trainable = 0
        self.submitted: Submitted | None = None
        """The remote job that was sent last."""
        self._computed_tokens = 0
        self._last_time = 0.0
        self._at = {0: 0}

    def feed(self, events: Iterable[Event]) -> list[Point]:
        """Take events in; returns the points they add to the curves."""
        batch = list(events)
        self.summary = fold(self.summary, batch)
        return [point for event in batch if (point := self._take(event)) is not None]

    def _take(self, event: Event) -> Point | None:
        point = None
        match event:
            case Step():
                point = self._step(event)
            case Evaluated():
                if event.step:
                    self.perplexity, self.metrics = event.perplexity, event.metrics
                point = Point(event.step, self.tokens, self.seconds, eval_loss=event.loss, evaluated=True)
            case Checkpointed():
                self._at[event.step] = self.tokens
            case Resumed():
                self.tokens = self._at.get(event.step, self.tokens)
            case Planned():
                self.trainable = event.trainable_parameters
            case Submitted():
                self.submitted = event
        self._last_time = event.time
        return point

    def _step(self, event: Step) -> Point:
        # A remote run may not tell how long a step took: then it is the time since the event before.
        passed = max(0.0, event.time - self._last_time) if self._last_time else 0.0
        self.seconds += passed if event.duration_s is None else event.duration_s
        tokens = event.tokens or 0
        self.tokens += tokens
        self._computed_tokens += tokens
        self.peak_bytes = max(self.peak_bytes, event.memory_bytes or 0)
        if event.loss is not None and (self.best_loss is None or event.loss < self.best_loss):
            self.best_loss, self.best_loss_step = event.loss, event.step
        return Point(event.step, self.tokens, self.seconds, loss=event.loss)

    @property
    def tokens_per_s(self) -> float | None:
        """Over all steps; None before the first."""
        return self._computed_tokens / self.seconds if self.seconds and self._computed_tokens else None
