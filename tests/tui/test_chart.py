"""The chart, by numbers: spikes, gaps, scales, labels, and what is repainted."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from tui import raster
from tui.envelope import LIMIT, Envelope, Series, Smoothed
from tui.widgets.chart import Chart, Mark

BRAILLE = 0x2800


def rows_of(chart: Chart, width: int = 60, height: int = 14) -> list[str]:
    return ["".join(text for text, _ in row) for row in chart._draw(width, height)]


def dots(line: str) -> list[int]:
    """Columns of a line that have a dot."""
    return [x for x, sign in enumerate(line) if BRAILLE < ord(sign) < BRAILLE + 256]


def flat(points: int, value: float = 1.0) -> Series:
    series = Series("loss", smooth=True)
    for number in range(points):
        series.add(number, value)
    return series


# the envelope


@given(st.lists(st.tuples(st.integers(0, 50_000), st.floats(-1e6, 1e6)), min_size=1, max_size=200))
def test_the_envelope_keeps_the_bounds_of_everything(points: list[tuple[int, float]]) -> None:
    envelope = Envelope()
    for number, value in points:
        envelope.add(number, value)
    values = [value for _, value in points]
    assert envelope.bounds() == (min(values), max(values))
    assert len(envelope.low) <= LIMIT
    last = max(number for number, _ in points)
    bands = [band for band in envelope.columns(raster.nice_end(last), 100) if band]
    assert min(band[0] for band in bands) == min(values)
    assert max(band[1] for band in bands) == max(values)


def test_one_spike_among_100_000_points_is_in_its_column_and_only_there() -> None:
    envelope = Envelope()
    for number in range(100_000):
        envelope.add(number, 9.0 if number == 70_000 else 1.0)
    bands = envelope.columns(100_000, 120)
    high = [column for column, band in enumerate(bands) if band and band[1] > 1]
    assert len(high) == 1 and abs(high[0] - 70_000 * 120 // 100_000) <= 1


def test_columns_between_sparse_points_are_bridged_but_not_across_a_gap() -> None:
    envelope = Envelope()
    for number, value in ((0, 0.0), (10, 10.0), (15, None), (20, 0.0)):
        envelope.add(number, value)
    bands = envelope.columns(20, 41)
    assert all(bands[: 20 + 1])
    middle = bands[10]
    assert middle is not None and middle[0] == pytest.approx(5, abs=0.6)
    assert bands[25] is None and bands[35] is None


def test_the_average_is_not_pulled_to_zero_and_passes_over_nan() -> None:
    average = Smoothed(0.9)
    assert average.add(5.0) == pytest.approx(5.0)
    assert average.add(math.nan) is None
    assert average.add(5.0) == pytest.approx(5.0)


def test_a_series_tells_its_best_and_counts_what_is_not_a_number() -> None:
    series = Series("loss")
    for number, value in enumerate([2.0, 1.0, None, 1.5]):
        series.add(number, value)
    assert (series.best, series.best_step, series.last, series.missing) == (1.0, 1, 1.5, 1)


# the scales


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(2, 40))
def test_linear_scales_hold_their_values_between_ticks(low: float, span: float, rows: int) -> None:
    scale = raster.linear_scale(low, low + span, rows)
    room = 1e-6 * max(abs(low), span)
    assert scale.low <= low + room and scale.high >= low + span - room
    assert 2 <= len(scale.ticks) <= rows + 12
    assert scale.height(low) + 1e-6 >= 0 and scale.height(low + span) <= 1 + 1e-6


def test_log_scale_puts_equal_ratios_equally_far_apart() -> None:
    scale = raster.log_scale(0.01, 100, 12)
    assert scale.height(1) - scale.height(0.1) == pytest.approx(scale.height(100) - scale.height(10))
    assert {0.1, 1, 10} <= {round(tick, 6) for tick in scale.ticks}
    assert scale.height(-1) == scale.height(0) == 0


@given(st.integers(1, 10**9))
def test_the_right_end_is_round_and_near(last: int) -> None:
    assert last <= raster.nice_end(last) <= max(last * 1.34, last + 1)


def test_lines_have_no_holes() -> None:
    scale = raster.linear_scale(0, 10, 4)
    columns = raster.masks([(0, 0), (10, 10), (3, 3)], scale, 4)
    union = columns[0] | columns[1] | columns[2]
    assert union == (1 << 16) - 1
    assert raster.masks([(0, 0), None, (10, 10)], scale, 4)[1] == 0


# the drawing


def test_a_single_spike_among_100_000_points_is_drawn() -> None:
    series = Series("loss")
    for number in range(100_000):
        series.add(number, 9.0 if number == 70_000 else 1.0)
    rows = rows_of(Chart("loss", series))
    tall = [line for line in rows if len(dots(line)) == 1]
    assert len(tall) >= 8  # the spike is a thin line over nearly the whole height
    assert len({dots(line)[0] for line in tall}) == 1


def test_axis_labels_title_and_headline() -> None:
    series = Series("loss")
    for number in range(101):
        series.add(number, 2.4 - number * 0.016)
    chart = Chart("training loss", series)
    chart.headline = "0.8412  best 0.8000 at 100"
    rows = rows_of(chart)
    assert rows[0].startswith("╭ training loss  0.8412  best 0.8000 at 100 ─")
    labels = [line[1:6].strip() for line in rows[1:-2] if line[1:6].strip(" │")]
    assert [float(label.rstrip("│")) for label in labels] == sorted(
        (float(label.rstrip("│")) for label in labels), reverse=True
    )
    assert "└0" in rows[-2] and "┴20" in rows[-2] and rows[-2].rstrip("│").endswith(" step")
    assert {len(line) for line in rows} == {60}


def test_nan_makes_a_gap_and_is_counted() -> None:
    series = Series("loss")
    for number in range(60):
        series.add(number, math.nan if 20 <= number < 40 else 1.0)
    rows = rows_of(Chart("loss", series))
    drawn = sorted({column for line in rows for column in dots(line)})
    gaps = [right - left for left, right in zip(drawn, drawn[1:], strict=False)]
    assert max(gaps) > 10
    assert "20 not a number" in rows[-1]


def test_only_nan_and_infinities_draw_an_empty_chart() -> None:
    series = Series("loss")
    for number, value in enumerate([math.nan, math.inf, -math.inf, None]):
        series.add(number, value)
    assert "nothing yet" in "".join(rows_of(Chart("loss", series)))


def test_a_single_point_is_one_dot() -> None:
    series = Series("loss")
    series.add(3, 1.5)
    rows = rows_of(Chart("loss", series))
    assert sum(len(dots(line)) for line in rows) == 1


def test_log_scale_straightens_an_exponential() -> None:
    series = Series("loss")
    for number in range(101):
        series.add(number, 10 ** (3 - number / 25))
    chart = Chart("loss", series)

    def heights() -> list[int]:
        lines = rows_of(chart, 70, 30)[1:-2]
        first = {x: y for y, line in reversed(list(enumerate(lines))) for x in dots(line)}
        return [first[x] for x in sorted(first)]

    straight = heights()
    chart.logarithmic = True
    steps = heights()
    assert straight[len(straight) // 2] > len(rows_of(chart, 70, 30)) - 6  # linear: at the bottom by half-way
    middle = steps[len(steps) // 2]
    assert abs(middle - (steps[0] + steps[-1]) / 2) <= 1.5
    assert "log scale" in rows_of(chart)[-1]


def test_smoothing_keeps_the_band_under_the_line() -> None:
    noise = random.Random(1)
    series = Series("loss", smooth=True)
    for number in range(2000):
        series.add(number, 1 + noise.gauss(0, 0.1) + (3 if number == 1500 else 0))
    chart = Chart("loss", series)
    chart.smooth = True
    styles = {style for row in chart._draw(60, 14) for text, style in row if text.strip()}
    assert {"first", "under"} <= styles
    assert any(len(dots(line)) == 1 for line in rows_of(chart))  # the spike is still there


def test_two_series_and_marks() -> None:
    first, second = flat(50, 2.0), flat(50, 1.0)
    chart = Chart("loss", first, second)
    chart.marks = [Mark(0, 2.0, "○", "o"), Mark(40, 1.0, "◆", "*")]
    drawn = chart._draw(60, 14)
    assert {"first", "second", "mark"} <= {style for row in drawn for _, style in row}
    assert "◆" in "".join(rows_of(chart))


def test_ascii_has_no_other_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_ASCII", "1")
    chart = Chart("loss", flat(50))
    chart.headline, chart.marks = "0.1 · best", [Mark(0, 1.0)]
    text = "".join(rows_of(chart))
    assert text.isascii() and "step" in text


@pytest.mark.parametrize("size", [(1, 1), (12, 3), (13, 4), (20, 5), (300, 80)])
def test_any_size_is_filled_exactly(size: tuple[int, int]) -> None:
    rows = rows_of(Chart("training loss", flat(500)), *size)
    assert len(rows) == size[1] and {len(line) for line in rows} == {size[0]}


class ChartApp(App[None]):
    def __init__(self, chart: Chart) -> None:
        super().__init__()
        self.chart = chart

    def compose(self) -> ComposeResult:
        yield self.chart


async def test_only_rows_that_changed_are_repainted(monkeypatch: pytest.MonkeyPatch) -> None:
    series = Series("loss")
    for number in range(90):
        series.add(number, 2 - number / 90)
    chart = Chart("loss", series)
    async with ChartApp(chart).run_test(size=(60, 16)) as pilot:
        await pilot.pause()
        assert any(dots(chart.render_line(y).text) for y in range(16))
        repainted: list[int] = []
        monkeypatch.setattr(
            chart, "refresh", lambda *regions, **_: repainted.extend(region.y for region in regions)
        )
        chart.draw()
        assert repainted == []
        series.add(90, 1.0)
        chart.draw()
        assert 0 < len(repainted) <= 9
