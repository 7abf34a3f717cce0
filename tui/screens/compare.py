"""Runs side by side, a page over the list of runs: curves in one chart, figures, where the recipes differ."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual import events, work
from textual.containers import Container
from textual.timer import Timer
from textual.widget import Widget
from textual.worker import get_current_worker

from core.errors import FinetuiError
from core.runs.compare import LETTERS
from tui.actions import bindings
from tui.curves import AXES, CURVES, Curves, time_axis
from tui.format import loss, one_line
from tui.screens.page import COPIED_COLUMNS, FRAME_COLUMNS, WIDE_COLUMNS, Page
from tui.widgets.overlay import Overlay
from tui.widgets.textpane import TextPane

if TYPE_CHECKING:
    from core.runs.compare import Comparison, Side
    from core.runs.tally import Point

LOOK_S = 2.0
"""How often the journals of runs at work are looked at."""

TOLD_S = 0.5
"""How often the reading of long journals is told of."""

READING = "Reading the journals ..."


class CompareScreen(Page):
    """Two to four runs.

    Args:
        refs: ids of the runs, in the order of their letters.
    """

    MODE = "compare"
    OVER = "runs"
    HELP = (
        "Runs side by side: their curves in one chart, each with its letter and its own dashes; their figures, ◆ at "
        "the best where figures compare; the settings in which they differ, and whether they learned from the same "
        "rows. What training cost here follows from the price of an hour of this machine ($). ] changes over between "
        "training and validation loss."
    )
    HOME = "#figures"
    CSS_PATH = "compare.tcss"
    BINDINGS = bindings("compare")

    def __init__(self, refs: Sequence[str]) -> None:
        super().__init__()
        self.refs = list(refs)
        self.sides: list[Side] = []
        self.curves: list[Curves] = []
        self.found: Comparison | None = None
        self.curve, self.axis_name = "loss", "step"
        self.chart = Overlay(CURVES["loss"], id="chart")
        self.chart.smooth = True
        self.figures = TextPane("Figures", READING, follow=False, id="figures")
        self.settings = TextPane("Settings that differ, and data", follow=False, id="settings")
        self._timer: Timer | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield self.chart
        with Container(id="panes"):
            yield self.figures
            yield self.settings

    def on_mount(self) -> None:
        super().on_mount()
        self._load()

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        self._rest(bool(self.sides))

    def on_screen_suspend(self, event: events.ScreenSuspend) -> None:
        self._rest(False)

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= WIDE_COLUMNS, "-both")
        self.call_after_refresh(self._write_tables)

    # -- reading

    @work(thread=True, exclusive=True, group="load")
    def _load(self) -> None:
        from core.runs.compare import choose, comparison

        try:
            sides = choose(self.refs)
        except FinetuiError as error:
            self.app.call_from_thread(self._refused, error)
            return
        curves = [Curves(side.row.name) for side in sides]
        worker, told = get_current_worker(), time.monotonic()
        for side, curve in zip(sides, curves, strict=True):
            before = -1
            while side.progress[0] != before and not worker.is_cancelled:
                before = side.progress[0]
                curve.add(side.read())
                if time.monotonic() - told > TOLD_S:
                    told = time.monotonic()
                    self.app.call_from_thread(self._reading, sides)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._loaded, sides, curves, comparison(sides))

    def _reading(self, sides: Sequence[Side]) -> None:
        done, total = (sum(part) for part in zip(*(side.progress for side in sides), strict=True))
        self.figures.empty = f"{READING} {100 * done // max(1, total)} %"
        self.figures.refresh()

    def _refused(self, error: FinetuiError) -> None:
        self.figures.empty = one_line(error.what)
        self.figures.refresh()
        self.finetui.show_error(error)

    def _loaded(self, sides: list[Side], curves: list[Curves], found: Comparison) -> None:
        self.sides, self.curves = sides, curves
        self.context = " · ".join(side.row.name for side in sides)
        self._take(found)

    def _rest(self, wanted: bool) -> None:
        """Look again on a timer, but only while something can change and somebody looks."""
        active = wanted and any(side.row.active for side in self.sides)
        if active and self._timer is None:
            self._timer = self.set_interval(LOOK_S, self._read_on)
        elif not active and self._timer is not None:
            self._timer.stop()
            self._timer = None

    @work(thread=True, exclusive=True, group="load")
    def _read_on(self) -> None:
        """What the journals have got since; a run that was deleted meanwhile stays as it was last."""
        from core.runs import supervisor
        from core.runs.compare import comparison

        new: list[list[Point]] = []
        for side in self.sides:
            points: list[Point] = []
            side.read_all(points.extend)
            new.append(points)
        rows = {row.id: row for row in supervisor.list_runs()}
        for side in self.sides:
            side.row = rows.get(side.row.id, side.row)
        self.app.call_from_thread(self._read, new, comparison(self.sides))

    def _read(self, new: list[list[Point]], found: Comparison) -> None:
        for curve, points in zip(self.curves, new, strict=True):
            curve.add(points)
        self._take(found)

    def _take(self, found: Comparison) -> None:
        self.found = found
        self._rest(self.is_current)
        self._draw()
        self._write_tables()
        self.refresh_bindings()

    # -- drawing

    def _draw(self) -> None:
        if not self.curves:
            return
        series = [curves.series[self.curve, self.axis_name] for curves in self.curves]
        chart = self.chart
        chart.show(series, LETTERS[: len(series)])
        chart.title = CURVES[self.curve]
        chart.headline = "  ".join(
            f"{letter} {loss(one.last)}" for letter, one in zip(LETTERS, series, strict=False)
        )
        chart.axis, chart.per_axis = self._axis(max(one.last_step for one in series))
        lacking = [
            letter for letter, one in zip(LETTERS, self.curves, strict=False) if one.lacks(self.axis_name)
        ]
        told = f"{', '.join(lacking)} counts no {self.axis_name}" if lacking else ""
        chart.footnote = told or f"by {AXES[self.axis_name]}"
        chart.draw()

    def _axis(self, last: float) -> tuple[str, float]:
        """What the x axis counts, and how many of the series' steps make one of it."""
        return time_axis(last) if self.axis_name == "time" else (self.axis_name, 1.0)

    def _write_tables(self) -> None:
        from tui.compare_text import figure_paragraphs, recipe_paragraphs

        if self.found is None:
            return
        # A pane that is not shown has the width of the one that is.
        shown = self.figures if self.figures.display and self.figures.outer_size.width else self.settings
        width = max(20, shown.outer_size.width - FRAME_COLUMNS)
        self.figures.set_paragraphs(figure_paragraphs(self.found, width))
        self.settings.set_paragraphs(recipe_paragraphs(self.found, width))

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "smooth":
            return self.curve == "loss"
        if action in ("copy", "write"):
            return self.found is not None
        return super().check_action(action, parameters)

    def action_next_curve(self) -> None:
        names = list(CURVES)
        self.curve = names[(names.index(self.curve) + 1) % len(names)]
        self._draw()
        self.refresh_bindings()

    def action_axis(self) -> None:
        names = list(AXES)
        self.axis_name = names[(names.index(self.axis_name) + 1) % len(names)]
        self._draw()

    def action_smooth(self) -> None:
        self.chart.smooth = not self.chart.smooth
        self._draw()

    def action_log_scale(self) -> None:
        self.chart.logarithmic = not self.chart.logarithmic
        self._draw()

    @work(group="ask")
    async def action_price(self) -> None:
        """Ask what an hour of this machine costs, and keep it: what training cost follows from it."""
        from core.runs import prices
        from core.runs.compare import comparison
        from tui.widgets.dialogs import Ask

        try:
            before = await asyncio.to_thread(prices.hour_usd)
        except FinetuiError:
            before = None  # it is set anew now
        note = "The training cost of runs here follows from it; an Azure job's from Azure's price list."
        answer = await self.app.push_screen_wait(
            Ask("USD for an hour of this machine", "" if before is None else f"{before:g}", "2.40", note)
        )
        if not answer or not answer.strip():
            return
        try:
            await asyncio.to_thread(prices.set_hour_usd, prices.read(answer))
            if self.sides:
                self._take(await asyncio.to_thread(comparison, self.sides))
        except FinetuiError as error:
            self.finetui.show_error(error)

    def action_panes(self) -> None:
        """The other pane; where both fit, both are shown."""
        target = self.settings if self.focused is self.figures else self.figures
        self.set_class(target is self.settings, "-show-settings")
        self.set_focus(target)

    def action_copy(self) -> None:
        from tui.compare_text import lines

        if self.found is not None:
            self.finetui.copy("\n".join(lines(self.found, COPIED_COLUMNS)))

    @work(group="ask")
    async def action_write(self) -> None:
        import orjson

        from tui.saving import ask_and_write

        if self.found is not None:
            text = orjson.dumps(self.found.as_dict(), option=orjson.OPT_INDENT_2).decode() + "\n"
            name = "-".join(run_id for run_id, _ in self.found.runs)[:80] + ".compare.json"
            await ask_and_write(self.finetui, "Write the comparison to a file", name, text)
