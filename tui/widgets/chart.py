"""A line chart that never hides a spike: each column shows the band from its least to its greatest value.

Drawn in braille dots (ASCII where the terminal has nothing else), with its own frame, since a change of a CSS
border's title repaints the whole widget. Only rows that changed are sent to the terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui import raster
from tui.envelope import Envelope, Series
from tui.format import ascii_only, clip, count, pad, plain

_FRAME = ("╭", "─", "╮", "│", "╰", "╯", "│")
_ASCII_FRAME = ("+", "-", "+", "|", "+", "+", "|")

Cells = list[tuple[str, str]]
"""A row: pieces of text, each with the name of its style."""


@dataclass(frozen=True)
class Mark:
    """A point drawn as a sign of its own, on top of the lines.

    Args:
        step: where.
        value: how high.
        sign: one cell.
        ascii: the sign where only ASCII is drawn.
    """

    step: int
    value: float
    sign: str = "•"
    ascii: str = "+"


class Chart(Widget):
    """A chart of one or more series over the steps of a run.

    Add values to the `Series`, set `headline`, `marks` and the switches, then call `draw`.

    Args:
        title: what is shown.
        series: drawn in this order, later ones on top.
        from_zero: the y axis starts at 0.
        label: how a tick of the y axis is written.
    """

    DEFAULT_CSS = """
    Chart { height: 1fr; width: 1fr; min-height: 5; background: transparent; }
    Chart > .chart--frame { color: $panel-lighten-2; }
    Chart > .chart--title { color: $foreground; text-style: bold; }
    Chart > .chart--headline { color: $foreground; }
    Chart > .chart--axis { color: $foreground 60%; }
    Chart > .chart--first { color: $text-primary; }
    Chart > .chart--second { color: $text-accent; }
    Chart > .chart--under { color: $text-primary 45%; }
    Chart > .chart--mark { color: $text-warning; text-style: bold; }
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"chart--{part}"
        for part in ("frame", "title", "headline", "axis", "first", "second", "under", "mark")
    }

    def __init__(
        self,
        title: str,
        *series: Series,
        from_zero: bool = False,
        label: Callable[[float], str] = raster.axis_number,
        id: str | None = None,  # noqa: A002 - Textual's name
    ) -> None:
        super().__init__(id=id)
        self.title = title
        self.series = list(series)
        self.from_zero = from_zero
        self.label = label
        self.headline = ""
        self.footnote = ""
        self.marks: list[Mark] = []
        self.logarithmic = False
        self.smooth = False
        self.axis, self.per_axis = "step", 1.0
        """What the x axis counts, and how many of the series' steps make one of it."""
        self._rows: list[Cells] = []
        self._strips: dict[int, Strip] = {}
        self._drawn: tuple[object, ...] = ()

    def _key(self) -> tuple[object, ...]:
        """What the drawing depends on: while it is the same, there is nothing to draw."""
        points = tuple((id(series), series.points) for series in self.series)
        words = (self.title, self.headline, self.footnote)
        modes = (self.logarithmic, self.smooth, self.axis, self.per_axis)
        return (self.content_size, points, words, tuple(self.marks), modes)

    def draw(self) -> None:
        """Draw anew, and have the rows that changed repainted."""
        key = self._key()
        if key == self._drawn:
            return
        self._drawn = key
        rows = self._draw(*self.content_size)
        changed = [y for y, row in enumerate(rows) if y >= len(self._rows) or row != self._rows[y]]
        resized = len(rows) != len(self._rows)
        self._rows = rows
        if resized:
            self._strips.clear()
            self.refresh()
            return
        for y in changed:
            self._strips.pop(y, None)
        if changed:
            width = self.content_size.width
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def on_resize(self, event: events.Resize) -> None:
        self._rows, self._drawn = [], ()
        self.draw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        strip = self._strips.get(y)
        if strip is None:
            row = self._rows[y] if y < len(self._rows) else []
            strip = Strip([Segment(text, self._style(name)) for text, name in row if text])
            strip = self._strips[y] = strip.adjust_cell_length(self.content_size.width, self._style(""))
        return strip

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"chart--{name}") if name else self.rich_style

    # -- drawing

    def _draw(self, width: int, height: int) -> list[Cells]:
        """All rows, frame included; as much as fits: the axis goes first, then the frame's foot."""
        if width < 12 or height < 3:
            return [[(pad(self.title, max(0, width)), "title")]] * max(0, height)
        inner = width - 2
        plot_rows = height - 3 if height >= 6 else height - 2
        body = self._body(inner, plot_rows, axis=height >= 6)
        frame = _ASCII_FRAME if ascii_only() else _FRAME
        left, right = (frame[3], "frame"), (frame[3], "frame")
        framed = [[left, *row, right] for row in body]
        return [self._top(width, frame), *framed, self._foot(width, frame)]

    def _top(self, width: int, frame: tuple[str, ...]) -> Cells:
        title = f" {clip(self.title, width - 4)} "
        room = width - 2 - cell_len(title)
        headline = clip(f" {self.headline} ", max(0, room - 1)) if self.headline else ""
        if ascii_only():
            headline = plain(headline)
        line = frame[1] * (room - cell_len(headline))
        return [(frame[0], "frame"), (title, "title"), (headline, "headline"), (line + frame[2], "frame")]

    def _foot(self, width: int, frame: tuple[str, ...]) -> Cells:
        notes = [note for note in (self.footnote, self._modes()) if note]
        text = clip(f" {' · '.join(notes)} ", width - 4) if notes else ""
        if ascii_only():
            text = plain(text)
        line = frame[1] * (width - 3 - cell_len(text))
        return [(frame[4] + line, "frame"), (text, "axis"), (frame[1] + frame[5], "frame")]

    def _modes(self) -> str:
        missing = sum(series.missing for series in self.series)
        parts = [
            "log scale" if self.logarithmic else "",
            "smoothed" if self.smooth and any(series.smoothed for series in self.series) else "",
            f"{count(missing)} not a number" if missing else "",
        ]
        return " · ".join(part for part in parts if part)

    def _scale(self, rows: int) -> raster.Scale | None:
        bounds = [bound for series in self.series if (bound := series.raw.bounds())]
        if not bounds:
            return None
        values = [mark.value for mark in self.marks]
        low = min([bound[0] for bound in bounds] + values)
        high = max([bound[1] for bound in bounds] + values)
        if self.logarithmic and high > 0:
            positive = [value for series in self.series if (value := series.raw.least_positive())]
            return raster.log_scale(min(positive, default=high), high, rows)
        return raster.linear_scale(low, high, rows, self.from_zero)

    def _body(self, width: int, rows: int, axis: bool) -> list[Cells]:
        """Axis labels and plot, `rows` high, plus the x axis."""
        scale = self._scale(rows)
        if scale is None:
            empty = [[(" " * width, "axis")] for _ in range(rows + axis)]
            empty[rows // 2] = [(pad("  nothing yet", width), "axis")]
            return empty
        labels = raster.y_labels(scale, rows, self.label)
        margin = max(len(label) for label in labels.values()) + 1
        last_step = raster.nice_end(max(series.last_step for series in self.series))
        plot = self._plot(width - margin - 1, rows, scale, last_step)
        side = "|" if ascii_only() else "│"
        body = [[(labels.get(y, "").rjust(margin), "axis"), (side, "axis"), *plot[y]] for y in range(rows)]
        if axis:
            line = raster.x_axis(last_step / self.per_axis, width - margin, ascii_only(), self.axis)
            body.append([(" " * margin, "axis"), (line, "axis")])
        return body

    def _plot(self, width: int, rows: int, scale: raster.Scale, last_step: float) -> list[Cells]:
        """The plot area as rows of runs of one style."""
        signs = raster.ASCII if ascii_only() else raster.BRAILLE
        layers = [
            (raster.masks(envelope.columns(last_step, 2 * width), scale, rows), style)
            for envelope, style in self._layers()
        ]
        marks = self._mark_cells(width, rows, scale, last_step)
        plot: list[Cells] = []
        for y in range(rows):
            row = [(" ", "")] * width
            for dots, style in layers:
                for x, code in raster.cells(dots, y):
                    row[x] = (signs[code], style)
            for x, mark in marks.get(y, {}).items():
                row[x] = mark
            plot.append(joined(row))
        return plot

    def _layers(self) -> list[tuple[Envelope, str]]:
        layers: list[tuple[Envelope, str]] = []
        for series, style in zip(self.series, ("first", "second"), strict=False):
            if self.smooth and series.smoothed is not None:
                layers += [(series.raw, "under"), (series.smoothed, style)]
            else:
                layers.append((series.raw, style))
        return layers

    def _mark_cells(
        self, width: int, rows: int, scale: raster.Scale, last_step: float
    ) -> dict[int, dict[int, tuple[str, str]]]:
        """Row -> column -> sign and style."""
        cells: dict[int, dict[int, tuple[str, str]]] = {}
        for mark in self.marks:
            x = int(mark.step / last_step * width)
            y = int((1 - scale.height(mark.value)) * (rows * 4 - 1) + 0.5) // 4
            sign = mark.ascii if ascii_only() else mark.sign
            cells.setdefault(min(rows - 1, max(0, y)), {})[min(width - 1, x)] = (sign, "mark")
        return cells


def joined(row: Cells) -> Cells:
    """Neighbours of one style as one piece."""
    joined: Cells = []
    for text, style in row:
        if joined and joined[-1][1] == style:
            joined[-1] = (joined[-1][0] + text, style)
        else:
            joined.append((text, style))
    return joined
