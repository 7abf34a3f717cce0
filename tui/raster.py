"""From bands of values to cells of a terminal: scales, ticks, braille dots. Pure functions, no widgets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tui.format import short

Band = tuple[float, float] | None

_LEFT = (0x01, 0x02, 0x04, 0x40)
_RIGHT = (0x08, 0x10, 0x20, 0x80)


def _braille(left: int, right: int) -> str:
    """The character for the four dots of a left and a right column, lowest bit uppermost."""
    code = sum(bit for row, bit in enumerate(_LEFT) if left >> row & 1)
    code += sum(bit for row, bit in enumerate(_RIGHT) if right >> row & 1)
    return chr(0x2800 + code) if code else " "  # U+2800 would be three bytes for nothing


def _ascii(left: int, right: int) -> str:
    """The nearest ASCII to the same dots."""
    both = left | right
    if not both:
        return " "
    upper, lower = both & 0b0011, both & 0b1100
    if upper and lower:
        return "#" if left and right and both == 0b1111 else "|" if both == 0b1111 else "-"
    return "'" if upper else "."


BRAILLE = [_braille(code & 15, code >> 4) for code in range(256)]
ASCII = [_ascii(code & 15, code >> 4) for code in range(256)]
"""Character of a cell by its dots: low four bits are the left column, high four the right one."""


@dataclass(frozen=True)
class Scale:
    """Where values lie between the bottom (0) and the top (1) of a chart.

    Args:
        low: value at the bottom.
        high: value at the top; above `low`.
        logarithmic: equal ratios are equally far apart; `low` is above 0.
        ticks: values to be labelled, rising.
    """

    low: float
    high: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def height(self, value: float) -> float:
        """0 at the bottom, 1 at the top; a value at or below 0 lies at the bottom of a logarithmic scale."""
        if self.logarithmic:
            if value <= self.low:
                return 0.0
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def nice_step(span: float, parts: int) -> float:
    """1, 2 or 5 times a power of ten, so that `span` has at most about `parts` of it."""
    rough = span / max(1, parts)
    power: float = 10.0 ** math.floor(math.log10(rough))
    for factor in (1.0, 2.0, 5.0):
        if rough <= factor * power * 1.0000001:
            return factor * power
    return 10 * power


def linear_scale(low: float, high: float, rows: int, from_zero: bool = False) -> Scale:
    """A scale whose ends are ticks. Equal values (a single point) get room above and below."""
    if from_zero:
        low, high = min(0.0, low), max(0.0, high)
    if high - low <= max(abs(high), abs(low)) * 1e-9 or high - low < 1e-300:
        room = abs(high) * 0.1 or 1.0
        low, high = low - room, high + room
    step = nice_step(high - low, max(4, rows // 2))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{index * step:.12g}") for index in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], False, ticks)


def log_scale(low: float, high: float, rows: int) -> Scale:
    """A logarithmic scale with its ticks at 1, 2 and 5; between two of those, at even steps.

    Args:
        low: least value above 0.
        high: greatest value.
        rows: height of the chart in cells.
    """
    low, high = low / 1.02, high * 1.02
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    every = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
    ticks = [value for value in every if low <= value <= high]
    if len(ticks) < 3:
        ticks = [value for value in linear_scale(low, high, rows).ticks if low <= value <= high]
    room = max(2, rows // 2)
    ticks = ticks[:: math.ceil(len(ticks) / room)] if len(ticks) > room else ticks
    return Scale(low, high, True, tuple(ticks))


def nice_end(step: float) -> float:
    """A round number of steps at or above `step`, at most a quarter more: the chart's right end.

    While a run goes on, the end stays put for long stretches, so that few cells change.
    """
    if step <= 10:
        return max(1.0, math.ceil(step))
    power: float = 10.0 ** math.floor(math.log10(step))
    for factor in (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0):
        if step <= factor * power:
            return factor * power
    return 10 * power


def masks(bands: Sequence[Band], scale: Scale, rows: int) -> list[int]:
    """For each dot column the dots to set, as bits; bit 0 is the topmost of `4 * rows`.

    A band is drawn from its least to its greatest value; neighbours are joined so that the line has no holes.
    """
    bottom = rows * 4 - 1
    dots: list[int] = []
    above = below = -1
    for band in bands:
        if band is None:
            dots.append(0)
            above = below = -1
            continue
        top = min(bottom, max(0, round((1 - scale.height(band[1])) * bottom)))
        end = min(bottom, max(0, round((1 - scale.height(band[0])) * bottom)))
        start, stop = top, end
        if above >= 0:
            start = min(top, below + 1) if below < top else top
            stop = max(end, above - 1) if above > end else end
        dots.append(((1 << (stop - start + 1)) - 1) << start)
        above, below = top, end
    return dots


def cells(dots: Sequence[int], row: int) -> Iterator[tuple[int, int]]:
    """The cells of a row that have dots: (column, index into `BRAILLE` and `ASCII`)."""
    shift = row * 4
    for column in range(len(dots) // 2):
        code = dots[2 * column] >> shift & 15 | (dots[2 * column + 1] >> shift & 15) << 4
        if code:
            yield column, code


def y_labels(scale: Scale, rows: int, label: Callable[[float], str]) -> dict[int, str]:
    """Row -> label of the tick that lies in it; where two fall into one row, the lower value wins."""
    labels: dict[int, str] = {}
    for tick in reversed(scale.ticks):
        labels[min(rows - 1, max(0, int((1 - scale.height(tick)) * (rows * 4 - 1) / 4)))] = label(tick)
    return labels


def x_axis(last_step: float, width: int, ascii_only: bool, of: str = "step") -> str:
    """The line under a chart with its ticks: `└──┴20k───┴40k── step`, exactly `width` cells; `of` what is named."""
    corner, line, tick = ("+", "-", "+") if ascii_only else ("└", "─", "┴")
    cells = [line] * width
    cells[0] = corner
    unit = f" {of}"
    end = width - len(unit)
    if end > 8:
        cells[end:] = unit
    distance = nice_step(last_step, max(1, width // 9)) if last_step > 0 else 1.0
    distance = max(1.0, distance)
    free = 0
    for index in range(int(last_step // distance) + 1):
        text = ("" if index == 0 else tick) + short(index * distance)
        column = max(1, int(index * distance / last_step * width)) if last_step > 0 else 1
        if column >= free and column + len(text) <= end:
            cells[column : column + len(text)] = text
            free = column + len(text) + 1
    return "".join(cells)


def axis_number(value: float) -> str:
    """A tick's label without needless digits: `2.4`, `0.8`, `41k`, `1e-4`."""
    if value != 0 and (abs(value) >= 1000 or abs(value) < 1e-3):
        if abs(value) >= 1000:
            return short(value)
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.4f}".rstrip("0").rstrip(".")
