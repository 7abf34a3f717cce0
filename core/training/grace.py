"""Leaving in time: a step that can't be finished before the machine ends the process is dropped."""

from __future__ import annotations

import time
from collections import deque
from statistics import median
from typing import Any

from core.training.ranks import Ranks
from core.work import Run

RECENT_STEPS = 20


class StepDropped(Exception):
    """The step in progress is given up; the model is that of the last finished step."""


class Grace:
    """Watches the clock from SIGTERM on.

    Args:
        run: told of SIGTERM.
        seconds: between SIGTERM and the end of the process.
    """

    def __init__(self, run: Run, seconds: float) -> None:
        self._run = run
        self._seconds = seconds
        self._steps: deque[float] = deque(maxlen=RECENT_STEPS)
        self._begun = time.monotonic()
        self.save_s = 0.0
        """How long the last checkpoint took to write."""

    def begin_step(self, ranks: Ranks) -> None:
        """A step starts now.

        Raises:
            StepDropped: see `check`.
        """
        self._begun = time.monotonic()
        if ranks.sharded:
            self.check_together(ranks)
        else:
            self.check()

    def end_step(self) -> None:
        """It has ended."""
        self._steps.append(time.monotonic() - self._begun)

    def check(self) -> None:
        """Go on, or give the step in progress up.

        Raises:
            StepDropped: the median step and a save after it would end too late.
        """
        if self._is_late():
            raise StepDropped

    def check_together(self, ranks: Ranks) -> None:
        """The same on all ranks at once, where none can give up without the others.

        Raises:
            StepDropped: see `check`.
        """
        if ranks.agree(self._is_late()):
            raise StepDropped

    def _is_late(self) -> bool:
        since = self._run.ending_since
        if since is None:
            return False
        expected = self._begun + median(self._steps) if self._steps else float("inf")
        return max(expected, time.monotonic()) + self.save_s > since + self._seconds

    def watch(self, model: Any) -> None:
        """Check at every layer of a transformers model, on the way forward and on the way back."""
        from transformers.modeling_layers import GradientCheckpointingLayer

        for layer in model.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                layer.register_forward_pre_hook(self._in_layer)

    def _in_layer(self, _: Any, inputs: tuple[Any, ...]) -> None:
        self.check()
        if inputs and inputs[0].requires_grad:
            inputs[0].register_hook(lambda _: self.check())
