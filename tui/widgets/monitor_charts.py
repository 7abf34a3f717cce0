"""The monitor's charts: what each shows and what its title says."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tui.format import loss, rate, short, size
from tui.raster import axis_number
from tui.watch import Watch
from tui.widgets.chart import Chart, Mark


def make_charts(watch: Watch) -> dict[str, Chart]:
    """The charts of a run, in their order, by name."""
    return {
        "loss": Chart("training loss", watch.loss, id="chart-loss"),
        "evaluation": Chart("evaluation loss", watch.evaluation, id="chart-evaluation"),
        "throughput": Chart("throughput", watch.throughput, from_zero=True, id="chart-throughput"),
        "rate": Chart(
            "learning rate", watch.learning_rate, from_zero=True, label=axis_number, id="chart-rate"
        ),
        "memory": Chart("memory", watch.memory, from_zero=True, label=_gigabytes, id="chart-memory"),
    }


def headlines(charts: dict[str, Chart], watch: Watch) -> None:
    """Write the last and the best values into the titles, mark the evaluations, and where a setting was changed."""
    if watch.loss.points:
        charts["loss"].headline = loss(watch.loss.last)
    if watch.throughput.last is not None:
        charts["throughput"].headline = f"{short(watch.throughput.last)} tokens/s"
    if watch.learning_rate.last is not None:
        charts["rate"].headline = rate(watch.learning_rate.last)
    if watch.memory.last is not None:
        charts["memory"].headline = size(watch.memory.last)
    charts["loss"].marks = _turns((turn.step, turn.loss) for turn in watch.turns)
    charts["rate"].marks = _turns((turn.step, turn.learning_rate) for turn in watch.turns)
    _evaluation(charts["evaluation"], watch)


def _turns(points: Iterable[tuple[int, float | None]]) -> list[Mark]:
    return [
        Mark(step, value, "▼", "v") for step, value in points if value is not None and math.isfinite(value)
    ]


def _evaluation(chart: Chart, watch: Watch) -> None:
    series, summary = watch.evaluation, watch.summary
    if not series.points:
        chart.headline, chart.marks = "", []
        return
    words = []
    marks = []
    if summary.eval_loss is not None:
        words.append(loss(summary.eval_loss))
    if summary.best_eval_loss is not None:
        words.append(f"best {loss(summary.best_eval_loss)} at {short(summary.best_eval_step)}")
    if summary.base_eval_loss is not None:
        words.append(f"base {loss(summary.base_eval_loss)}")
        marks.append(Mark(0, summary.base_eval_loss, "○", "o"))
    if summary.best_eval_loss is not None:
        marks.append(Mark(summary.best_eval_step, summary.best_eval_loss, "◆", "*"))
    chart.headline, chart.marks = "  ".join(words), marks


def _gigabytes(value: float) -> str:
    return size(value) if value else "0"
