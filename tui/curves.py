"""The curves of a run that is compared with others: each by steps, by tokens and by time. No widgets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tui.envelope import Series

if TYPE_CHECKING:
    from core.runs.tally import Point

CURVES = {"loss": "training loss", "evaluation": "validation loss"}
"""What can be drawn, and its title."""

AXES = {"step": "step", "tokens": "tokens", "time": "training time"}
"""What it can be drawn over, and what that is called."""

MS = 1000.0


class Curves:
    """All series of one run.

    Args:
        name: of the run.
    """

    def __init__(self, name: str) -> None:
        self.series = {
            (curve, axis): Series(name, smooth=curve == "loss") for curve in CURVES for axis in AXES
        }

    def add(self, points: Iterable[Point]) -> None:
        """Take in what the run's journal has got since."""
        for point in points:
            curve, value = ("evaluation", point.eval_loss) if point.evaluated else ("loss", point.loss)
            self.series[curve, "step"].add(point.step, value)
            self.series[curve, "tokens"].add(point.tokens, value)
            self.series[curve, "time"].add(round(point.seconds * MS), value)

    def lacks(self, axis: str) -> bool:
        """Whether its points can't be told apart on an axis: a remote run may not count its tokens."""
        series = self.series["loss", axis]
        return series.points > 0 and series.last_step == 0


def time_axis(last_ms: float) -> tuple[str, float]:
    """What a time axis counts, and how many milliseconds that is: seconds, minutes from 10 on, hours from 10 on."""
    for unit, length in (("hours", 3600 * MS), ("minutes", 60 * MS)):
        if last_ms >= 10 * length:
            return unit, length
    return "seconds", MS
