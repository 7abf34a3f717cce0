"""Several runs' curves in one chart, told apart by dashes and letters; colour only helps."""

from __future__ import annotations

from collections.abc import Sequence

from tui import raster
from tui.envelope import Envelope, Series
from tui.format import ascii_only
from tui.widgets.chart import Cells, Chart, joined

STYLES = ("first", "second", "third", "fourth")
DASHES = ((1,), (1, 1, 1, 1, 1, 0, 0, 0), (1, 0, 0), (1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0))
"""For each run which dot columns of its line are drawn, over and over."""

TALL_DOTS = 3
"""A column higher than this is a spike, and no dash may hide it."""

LETTERED_CELLS = 24
"""Cells between two letters on one line."""


class Overlay(Chart):
    """A chart of up to four series, each with a letter.

    Set `series` and `letters`, in the same order.
    """

    DEFAULT_CSS = """
    Overlay > .chart--third { color: $text-success; }
    Overlay > .chart--fourth { color: $text-warning; }
    Overlay > .chart--letter { color: $foreground; text-style: bold reverse; }
    """
    COMPONENT_CLASSES = {"chart--third", "chart--fourth", "chart--letter"}

    letters: str = ""

    def _key(self) -> tuple[object, ...]:
        return (*super()._key(), self.letters)

    def show(self, series: Sequence[Series], letters: str) -> None:
        """Draw other series from now on."""
        self.series, self.letters = list(series), letters

    def _plot(self, width: int, rows: int, scale: raster.Scale, last_step: float) -> list[Cells]:
        signs = raster.ASCII if ascii_only() else raster.BRAILLE
        plot: list[Cells] = [[(" ", "")] * width for _ in range(rows)]
        lettered: dict[tuple[int, int], str] = {}
        for number, series in enumerate(self.series):
            bands = self._line(series).columns(last_step, 2 * width)
            whole = raster.masks(bands, scale, rows)
            dots = dashed(whole, DASHES[number])
            for y, row in enumerate(plot):
                for x, code in raster.cells(dots, y):
                    row[x] = (signs[code], STYLES[number])
            place_letter(lettered, self.letters[number], whole, number, rows)
        for (x, y), letter in lettered.items():
            plot[y][x] = (letter, "letter")
        return [joined(row) for row in plot]

    def _line(self, series: Series) -> Envelope:
        return series.smoothed if self.smooth and series.smoothed is not None else series.raw


def dashed(dots: Sequence[int], pattern: Sequence[int]) -> list[int]:
    """A line's dot columns with gaps; what is tall stays."""
    return [
        bits if pattern[column % len(pattern)] or bits.bit_count() > TALL_DOTS else 0
        for column, bits in enumerate(dots)
    ]


def place_letter(
    taken: dict[tuple[int, int], str], letter: str, dots: Sequence[int], number: int, rows: int
) -> None:
    """Put a run's letter on its line: at its end, and every so often before, where no other letter is."""
    drawn = [column // 2 for column, bits in enumerate(dots) if bits]
    if not drawn:
        return
    last = drawn[-1]
    wanted = {last, *range(last - 4 * (number + 1), drawn[0], -LETTERED_CELLS)}
    cells = sorted(set(drawn))
    for x in sorted(wanted, reverse=True):
        near = [cell for cell in reversed(cells) if cell <= x][: len(STYLES)]
        for cell in near:
            y = _height(dots, cell, rows)
            if not any((cell + aside, y) in taken for aside in (-1, 0, 1)):
                taken[cell, y] = letter
                break


def _height(dots: Sequence[int], cell: int, rows: int) -> int:
    """The row of a line in the middle of a cell."""
    bits = dots[2 * cell] or dots[2 * cell + 1]
    tops = [row for row in range(4 * rows) if bits >> row & 1]
    return (tops[0] + tops[-1]) // 2 // 4
