"""Runs side by side: the words, the chart, and the page over the list of runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from core import events as e
from core.runs import prices
from core.runs.compare import compare
from core.runs.directory import RunDirectory
from core.runs.tally import Point
from tests.core.runs.test_clean import froze
from tests.core.runs.test_compare import recipe, remote
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_runs import T0, make_run, running, some_runs, step, story, write
from tui import compare_text
from tui.app import FinetuiApp
from tui.curves import Curves, time_axis
from tui.envelope import Series
from tui.screens.compare import CompareScreen
from tui.screens.runs import RunsScreen
from tui.widgets.dialogs import Ask, ErrorDialog
from tui.widgets.overlay import DASHES, TALL_DOTS, Overlay, dashed, place_letter


def lowered(run: RunDirectory, by: float, last: int) -> None:
    """The run's story once more, with lower losses."""
    run.journal_path.unlink(missing_ok=True)
    events = [
        replace(event, loss=event.loss - by)
        if isinstance(event, e.Step | e.Evaluated) and event.loss
        else event
        for event in story(40, last)
    ]
    write(
        run,
        [*events, e.Stopped(time=T0 + 50, step=last, model="model", checkpoint=f"checkpoints/step-{last}")],
    )


@pytest.fixture
def runs() -> dict[str, RunDirectory]:
    """Three runs whose curves and recipes differ, on the same rows."""
    made = some_runs()
    lowered(made["stopped-one"], 0.2, 30)
    lowered(made["paused-one"], -0.3, 20)
    recipe(made["stopped-one"], rank=32, learning_rate=5e-4)
    for name in ("done-one", "stopped-one", "paused-one"):
        froze(made[name], "a" * 64)
    measured = {"tuned": {"loss": 0.25, "exact_match": 0.925}, "rows": 40}
    made["done-one"].report_path.write_text(json.dumps({"evaluation": measured}))
    return made


NAMES = ["done-one", "stopped-one", "paused-one"]


# words


def test_figures_are_told_with_their_units_and_the_best_is_marked(runs: dict[str, RunDirectory]) -> None:
    found = compare_text.figure_lines(compare(NAMES), 90)
    told = {line[:22].strip(): line[22:].split() for line in found}
    assert found[0].split() == ["A", "done-one", "B", "stopped-one", "C", "paused-one"]
    assert told["state"] == ["✓", "done", "■", "stopped", "■", "stopped"]
    assert told["steps"] == ["40", "/", "40", "30", "/", "40", "20", "/", "40"]
    assert told["validation loss"] == ["0.9205", "◆", "0.7037", "1.2275"]
    assert told["tokens/s"] == ["2k", "2k", "2k"] and told["most memory"][:2] == ["5.1", "GB"]
    assert told["evaluated exact match"] == ["92.5", "%", "—", "—"]
    assert told["took"] == ["59", "s", "49", "s", "49", "s"]


def test_nothing_is_called_best_where_losses_don_t_compare(runs: dict[str, RunDirectory]) -> None:
    assert any("◆" in line for line in compare_text.figure_lines(compare(NAMES), 90))
    recipe(runs["stopped-one"], validation_fraction=0.1)
    assert not any("◆" in line for line in compare_text.figure_lines(compare(NAMES), 90))


def test_defaults_stand_in_brackets_and_the_same_recipe_is_said_to_be(runs: dict[str, RunDirectory]) -> None:
    told = [line.split() for line in compare_text.recipe_lines(compare(NAMES), 90)]
    assert told[1:] == [
        ["rank", "(16)", "32", "(16)"],
        ["learning_rate", "(0.0002)", "0.0005", "(0.0002)"],
    ]
    assert compare_text.recipe_lines(compare(["done-one", "paused-one"]), 90) == []
    assert "The recipes are the same." in compare_text.lines(compare(["done-one", "paused-one"]), 90)


def test_rows_are_told_by_their_hash(runs: dict[str, RunDirectory]) -> None:
    told = compare_text.data_lines(compare(NAMES))
    assert told[0] == "training rows  the same"
    assert told[2] == "A training  t.jsonl  sha256 aaaaaaaa"
    assert compare_text.data_lines(compare(["done-one", "failed-phi"]))[0] == "training rows  not known yet"
    froze(runs["paused-one"], "b" * 64)
    assert compare_text.data_lines(compare([*NAMES, "failed-phi"]))[0] == "training rows  different"


@pytest.mark.parametrize("width", [40, 60, 75, 100, 200])
def test_every_line_of_a_table_fits(runs: dict[str, RunDirectory], width: int) -> None:
    runs["done-one"].write_meta(replace(runs["done-one"].meta, name="a very long name of a run " * 3))
    for refs in (NAMES[1:], [*NAMES, "failed-phi"]):
        found = compare([runs[name].id for name in refs])
        lines = [*compare_text.figure_lines(found, width), *compare_text.recipe_lines(found, width)]
        assert max(map(cell_len, lines)) <= width
        assert all(f"{letter} " in lines[0] for letter in "ABCD"[: len(refs)])


def test_nothing_from_outside_reaches_the_terminal(runs: dict[str, RunDirectory]) -> None:
    runs["done-one"].recipe_path.write_text(
        'model: "a\\e[31mb"\nodd: "[/x]\\e]0;y"\ndata: "/d/\\e[2J.jsonl"\n'
    )
    froze(runs["stopped-one"])
    (runs["stopped-one"].data_dir / "sources.json").write_text(
        json.dumps({"training": [{"title": "t\x1b[2J", "sha256": "a"}], "validation": None})
    )
    found = compare(NAMES)
    shown = compare_text.figure_paragraphs(found, 80) + compare_text.recipe_paragraphs(found, 80)
    assert "\x1b" not in "\n".join(
        [*compare_text.lines(found, 80), *(item.text + item.head for item in shown)]
    )


# the chart


def test_curves_are_kept_by_steps_tokens_and_time() -> None:
    curves = Curves("one")
    curves.add(
        [Point(1, 100, 0.5, loss=2.0), Point(2, 300, 1.25, loss=1.0), Point(2, 300, 1.25, None, 0.7, True)]
    )
    assert curves.series["loss", "step"].last_step == 2
    assert curves.series["loss", "tokens"].last_step == 300
    assert curves.series["evaluation", "time"].last_step == 1250
    assert curves.series["evaluation", "time"].last == 0.7
    assert not curves.lacks("tokens")
    bare = Curves("two")
    bare.add([Point(1, 0, 0.5, loss=2.0)])
    assert bare.lacks("tokens") and not bare.lacks("time")


@pytest.mark.parametrize(
    ("seconds", "unit"),
    [(59, "seconds"), (599, "seconds"), (600, "minutes"), (35_999, "minutes"), (36_000, "hours")],
)
def test_time_is_told_in_a_unit_that_suits_it(seconds: int, unit: str) -> None:
    assert time_axis(seconds * 1000.0)[0] == unit


def test_dashes_differ_and_hide_no_spike() -> None:
    line, spike = [0b1] * 60, (1 << (TALL_DOTS + 1)) - 1
    patterns = [tuple(dashed(line, dash)) for dash in DASHES]
    assert len(set(patterns)) == len(DASHES) == 4
    assert patterns[0] == tuple(line) and all(0 < sum(pattern) < 60 for pattern in patterns[1:])
    line[6] = spike
    assert all(dashed(line, dash)[6] == spike for dash in DASHES)


def test_every_line_has_its_letters_also_where_all_are_alike() -> None:
    taken: dict[tuple[int, int], str] = {}
    for number, letter in enumerate("ABCD"):
        place_letter(taken, letter, [0b1000] * 80, number, 5)
    assert set(taken.values()) == set("ABCD")
    places = sorted(taken)
    assert all(right[0] - left[0] > 1 for left, right in zip(places, places[1:], strict=False))
    assert {y for _, y in taken} == {0}
    place_letter(taken, "E", [0] * 80, 0, 5)
    assert "E" not in taken.values()


async def test_the_chart_draws_each_run_with_its_letter() -> None:
    from textual.app import App

    class Page(App[None]):
        def compose(self) -> Any:
            yield Overlay("losses", id="chart")

    app = Page()
    async with app.run_test(size=(80, 20)) as pilot:
        chart = app.query_one(Overlay)
        series = [Series(str(number)) for number in range(4)]
        for number, one in enumerate(series):
            for at in range(50):
                one.add(at, number + 1.0)
        chart.show(series, "ABCD")
        chart.axis, chart.per_axis = "minutes", 2.0
        chart.draw()
        await pilot.pause()
        text = screen_text(pilot)
        rows = {letter: [line for line in text.splitlines()[1:-1] if letter in line] for letter in "ABCD"}
        assert all(len(lines) == 1 for lines in rows.values())
        assert "minutes" in text and "┴20" in text and "┴30" not in text


# the page


def screen_of(pilot: Pilot[Any]) -> CompareScreen:
    screen = pilot.app.screen
    assert isinstance(screen, CompareScreen)
    return screen


async def open_page(pilot: Pilot[Any], names: list[str]) -> CompareScreen:
    """Mark runs by keys, and compare them."""
    runs: Any = pilot.app.screen_stack[0]
    assert isinstance(runs, RunsScreen)
    await until(pilot, lambda: len(runs.table.rows_shown) >= len(names))
    for name in names:
        await press(pilot, "g " + "j " * [row.name for row in runs.table.runs].index(name))
        await press(pilot, "space")
    await press(pilot, "v")
    await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen) and pilot.app.screen.found)
    return screen_of(pilot)


def toasts(pilot: Pilot[Any]) -> list[str]:
    return [notice.message for notice in pilot.app._notifications]


async def test_marked_runs_are_compared_and_esc_goes_back(runs: dict[str, RunDirectory]) -> None:
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await open_page(pilot, NAMES)
        await shown(pilot, "A 0.7591  B 0.")
        await shown(pilot, "◆ 0.7037")
        await press(pilot, "tab")
        await shown(pilot, "learning_rate")
        await shown(pilot, "training rows  the same")
        await press(pilot, "tab")
        await shown(pilot, "◆ 0.7037")
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        assert "3 marked: v compares them" in screen_text(pilot)


async def test_marks_are_letters_four_at_most_and_go_with_their_runs(runs: dict[str, RunDirectory]) -> None:
    async with FinetuiApp().run_test(size=(100, 30), notifications=True) as pilot:
        screen: Any = pilot.app.screen
        await until(pilot, lambda: len(screen.table.rows_shown) == 5)
        await press(pilot, "v")
        await until(pilot, lambda: toasts(pilot) == ["space marks a run; 2 to 4 of them are compared."])
        await press(pilot, "space space space space space")
        await until(pilot, lambda: toasts(pilot)[-1].startswith("4 runs are marked already"))
        assert len(screen.marks) == 4
        for letter, name in zip("ABCD", ("done-one", "failed-phi", "stopped-one", "paused-one"), strict=True):
            assert f"{letter} {name}" in screen_text(pilot)
        await press(pilot, "g j space")  # the second one's mark goes, and the others move up
        await shown(pilot, "B stopped-one")
        await press(pilot, "t t")
        await until(pilot, lambda: len(screen.table.rows_shown) == 5)
        assert len(screen.marks) == 3
        await press(pilot, "g x y")
        await until(pilot, lambda: screen.marks == ["stopped-one", "paused-one"])
        await shown(pilot, "A stopped-one")


async def test_keys_change_curve_axis_and_scale(runs: dict[str, RunDirectory]) -> None:
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        screen = await open_page(pilot, NAMES)
        await shown(pilot, "by step · smoothed")
        await press(pilot, "b")
        await shown(pilot, "by tokens · smoothed")
        await press(pilot, "b")
        await shown(pilot, "by training time")
        await shown(pilot, "seconds")
        await press(pilot, "z l")
        await shown(pilot, "by training time · log scale")
        await press(pilot, "right_square_bracket")
        await shown(pilot, "validation loss  A 0.9205")
        assert screen.check_action("smooth", ()) is False
        await press(pilot, "b right_square_bracket")
        await shown(pilot, "training loss  A")
        await shown(pilot, "by step")


async def test_an_axis_that_a_run_doesn_t_count_is_said() -> None:
    runs = some_runs()
    far = make_run("far", created=T0 + 10)
    remote(far)
    bare = dict.fromkeys(("epoch", "learning_rate", "grad_norm", "tokens", "trained_tokens", "tokens_per_s",
                          "memory_bytes", "duration_s"))  # fmt: skip
    write(far, [e.Step(time=T0 + number, step=number, loss=2.0 / number, **bare) for number in range(1, 9)])
    write(far, [e.Finished(time=T0 + 60, step=8, model="model")])
    assert runs
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        await open_page(pilot, ["far", "done-one"])
        await press(pilot, "b")
        await shown(pilot, "A counts no tokens")
        await press(pilot, "b")
        await shown(pilot, "by training time")


async def test_a_live_run_is_followed_and_only_while_the_page_is_shown(runs: dict[str, RunDirectory]) -> None:
    live = make_run("live", created=T0 + 10)
    lock = running(live)
    write(live, story(40, 10))
    try:
        async with FinetuiApp().run_test(size=(100, 30)) as pilot:
            screen = await open_page(pilot, ["live", "done-one"])
            await until(pilot, lambda: screen._timer is not None)
            write(live, [step(11, 40, loss=0.1234)])
            await shown(pilot, "A 0.1234")
            await shown(pilot, "11 / 40")
            await press(pilot, "1")
            await until(pilot, lambda: screen._timer is None)
            await press(pilot, "4")
            await until(pilot, lambda: screen._timer is not None)
            write(live, [e.Finished(time=T0 + 99, step=11, model="model")])
            await until(pilot, lambda: screen._timer is None)
    finally:
        lock.release()


async def test_tables_are_copied_and_written(
    runs: dict[str, RunDirectory], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = FinetuiApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await open_page(pilot, NAMES)
        await press(pilot, "y")
        assert "validation loss" in app.clipboard and "training rows  the same" in app.clipboard
        await press(pilot, "w")
        await until(pilot, lambda: app.screen is not screen_of_or_none(pilot))
        await press(pilot, "enter")
        target = tmp_path / "done-one-stopped-one-paused-one.compare.json"
        await until(pilot, target.exists)
        assert [run["id"] for run in json.loads(target.read_text())["runs"]] == NAMES


async def test_the_price_of_an_hour_gives_the_training_cost_and_is_kept(
    runs: dict[str, RunDirectory],
) -> None:
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        screen = await open_page(pilot, NAMES)

        def cost() -> list[str]:
            told = next(
                item.text for item in screen.figures.paragraphs if item.text.startswith("training cost")
            )
            return re.split(r"\s{2,}", told)[1:]

        assert cost() == ["unknown"] * 3
        await press(pilot, "dollar_sign")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await type_text(pilot, "cheap")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await press(pilot, "escape dollar_sign")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await type_text(pilot, "$3600")
        await press(pilot, "enter")
        await until(pilot, lambda: "unknown" not in cost())
        seconds = [side.figures(None)["duration_s"] for side in screen.sides]
        assert cost() == [f"{second:.2f} USD" for second in seconds]  # a dollar a second
        assert prices.hour_usd() == 3600.0


def screen_of_or_none(pilot: Pilot[Any]) -> CompareScreen | None:
    return pilot.app.screen if isinstance(pilot.app.screen, CompareScreen) else None


async def test_a_run_that_is_gone_is_said_and_the_app_lives_on(runs: dict[str, RunDirectory]) -> None:
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        pilot.app.push_screen(CompareScreen(["done-one", "nonesuch"]))
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await press(pilot, "escape escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))


def test_the_page_imports_nothing_that_belongs_in_workers() -> None:
    heavy = ("torch", "transformers", "peft", "pyarrow", "openai", "azure")
    code = (
        "import sys, tui.screens.compare, tui.screens.clean, tui.compare_text, tui.clean_text;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
def test_pictures(
    runs: dict[str, RunDirectory], snap_compare: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ready(pilot: Pilot[Any]) -> None:
        await open_page(pilot, NAMES)
        await shown(pilot, "◆ 0.7037")

    assert snap_compare(FinetuiApp(), terminal_size=size, run_before=ready)
