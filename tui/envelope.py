"""What a chart keeps of a long series: the least and the greatest value of each stretch of steps.

Values come one by one, at any rate; memory and drawing time stay bounded however long the series is, and no
value is ever averaged away: a single spike among a million steps stays the greatest of its stretch. Steps may
repeat (a resumed run repeats some): both values stay in the stretch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

LIMIT = 1024
"""Stretches kept at most; when more are needed, neighbours are joined two by two."""


class Envelope:
    """Least and greatest value per stretch of `width` steps, `width` a power of two.

    Attributes:
        low, high: one entry a stretch, from step 0; `inf`, `-inf` where it has no finite value.
        broken: stretches that hold a value that is not finite.
        width: steps in a stretch.
    """

    def __init__(self) -> None:
        self.low: list[float] = []
        self.high: list[float] = []
        self.broken: set[int] = set()
        self.width = 1

    def add(self, step: int, value: float | None) -> None:
        """Take a value in; None, nan and infinities make a gap.

        Args:
            step: 0 or more.
            value: what was measured there.
        """
        index = step // self.width
        while index >= LIMIT:
            self._widen()
            index = step // self.width
        missing = index + 1 - len(self.low)
        if missing > 0:
            self.low.extend([math.inf] * missing)
            self.high.extend([-math.inf] * missing)
        if value is None or not math.isfinite(value):
            self.broken.add(index)
            return
        if value < self.low[index]:  # noqa: PLR1730 - built-ins would double the time of a long load
            self.low[index] = value
        if value > self.high[index]:  # noqa: PLR1730
            self.high[index] = value

    def _widen(self) -> None:
        """Join neighbours, so that half as many stretches cover the same steps."""
        if len(self.low) % 2:
            self.low.append(math.inf)
            self.high.append(-math.inf)
        self.low = [min(pair) for pair in zip(self.low[::2], self.low[1::2], strict=True)]
        self.high = [max(pair) for pair in zip(self.high[::2], self.high[1::2], strict=True)]
        self.broken = {index // 2 for index in self.broken}
        self.width *= 2

    def bounds(self) -> tuple[float, float] | None:
        """Least and greatest finite value of all, or None when there is none."""
        if not self.low:
            return None
        low, high = min(self.low), max(self.high)
        return (low, high) if low <= high else None

    def least_positive(self) -> float | None:
        """The least low end above 0, for a logarithmic axis."""
        return min((value for value in self.low if 0 < value < math.inf), default=None)

    def columns(self, last_step: float, count: int) -> list[tuple[float, float] | None]:
        """The band over `count` columns that stand for the steps 0 to `last_step`.

        Columns between two stretches are bridged by a straight line, except across a gap.

        Returns:
            (least, greatest) for each column, None where nothing is to be drawn.
        """
        bands: list[tuple[float, float] | None] = [None] * count
        previous = -1
        for first, last, band, broken in self._pieces(max(1.0, last_step), count):
            if band is None:
                previous = -1 if broken else previous
                continue
            if 0 <= previous < first - 1:
                _bridge(bands, previous, first, band)
            bands[first : last + 1] = [band] * (last + 1 - first)
            previous = last
        return bands

    def _pieces(
        self, last_step: float, count: int
    ) -> Iterator[tuple[int, int, tuple[float, float] | None, bool]]:
        """Runs of columns that share a band: (first column, last column, band or None, whether a gap)."""
        per_stretch = self.width * count / last_step
        if per_stretch > 1:  # a stretch is wider than a column
            for index, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
                first = min(count - 1, int(index * per_stretch))
                last = min(count - 1, int((index + 1 - 1 / self.width) * per_stretch))
                yield first, last, (low, high) if low <= high else None, index in self.broken
            return
        end = len(self.low)
        for column in range(count):
            start = math.ceil(column / per_stretch)
            stop = end if column == count - 1 else min(end, math.ceil((column + 1) / per_stretch))
            if start >= stop:
                continue
            low, high = min(self.low[start:stop]), max(self.high[start:stop])
            if low <= high:
                yield column, column, (low, high), False
            else:
                yield column, column, None, any(index in self.broken for index in range(start, stop))


def _bridge(
    bands: list[tuple[float, float] | None], left: int, right: int, target: tuple[float, float]
) -> None:
    """Fill the columns between two bands with the straight line between their middles."""
    start = bands[left]
    assert start is not None
    from_value, to_value = (start[0] + start[1]) / 2, (target[0] + target[1]) / 2
    for column in range(left + 1, right):
        value = from_value + (to_value - from_value) * (column - left) / (right - left)
        bands[column] = (value, value)


class Smoothed:
    """An exponential moving average without the start's pull towards zero (Adam's bias correction).

    Args:
        keep: how much of the average each new value keeps, 0 to 1.
    """

    def __init__(self, keep: float = 0.95) -> None:
        self.keep = keep
        self._sum = 0.0
        self._weight = 0.0

    def add(self, value: float | None) -> float | None:
        """The average after a value; values that are not finite are passed over and give None."""
        if value is None or not math.isfinite(value):
            return None
        self._sum = self.keep * self._sum + (1 - self.keep) * value
        self._weight = self.keep * self._weight + (1 - self.keep)
        return self._sum / self._weight


class Series:
    """A measured series: its envelope, its smoothed envelope, and the values that a title shows.

    Args:
        name: shown where the chart tells its series apart.
        smooth: keep the smoothed line too.
    """

    def __init__(self, name: str, smooth: bool = False) -> None:
        self.name = name
        self.raw = Envelope()
        self.smoothed = Envelope() if smooth else None
        self._average = Smoothed()
        self.points = 0
        self.missing = 0
        self.last: float | None = None
        self.last_step = 0
        self.best: float | None = None
        self.best_step = 0

    def add(self, step: int, value: float | None) -> None:
        """Take in the value measured at a step."""
        self.raw.add(step, value)
        if step > self.last_step:  # noqa: PLR1730 - as above
            self.last_step = step
        self.points += 1
        if self.smoothed is not None:
            self.smoothed.add(step, self._average.add(value))
        if value is None or not math.isfinite(value):
            self.missing += 1
            self.last = math.nan
            return
        self.last = value
        if self.best is None or value < self.best:
            self.best, self.best_step = value, step
