"""The Data screen's list and views: filter, sort, moves, tokens, other formats, files that change."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.driving import press, rows_file, screen_text, shown, tiny_model, type_text, until
from tests.tui.test_data import checked, screen_of
from tui.app import FinetuiApp
from tui.screens.train import TrainScreen
from tui.widgets.dialogs import Ask, Choose, ErrorDialog


def mixed(path: Path) -> Path:
    """Ten rows: every third has a system turn, row 7 is the longest, row 5 repeats row 1."""
    rows = []
    for number in range(1, 11):
        system = [{"role": "system", "content": "Be brief."}] if number % 3 == 0 else []
        question = "refund please" if number % 2 else "a cancelled order"
        content = f"{question} {1 if number == 5 else number} " + "very " * (
            90 if number == 7 else number % 5
        )
        turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "Done."}]
        rows.append({"messages": [*system, *turns]})
    rows[4] = rows[0]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def filtered(pilot: Pilot[Any], app: FinetuiApp, words: str) -> list[int]:
    """The rows (from 1) that a filter lets through."""
    screen = screen_of(app)
    await press(pilot, "slash")
    field: Any = app.focused
    assert isinstance(field, Input)
    field.value = words
    await press(pilot, "enter")
    await until(
        pilot,
        lambda: not [item for item in screen.workers if item.group == "filter" and not item.is_finished],
    )
    return [screen.order.row(place) + 1 for place in range(screen._records.count)]


async def test_a_filter_shows_the_rows_it_lets_through_and_esc_all_of_them(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=mixed(tmp_path / "r.jsonl"))
    async with app.run_test(size=(160, 30)) as pilot:
        await checked(pilot, app)
        for words, rows in (
            ("refund", [1, 3, 5, 7, 9]),
            ("role:system -refund", [6]),
            ("/order [24]/ or refund chars>300", [2, 4, 7]),
            ("code:duplicate", [5]),
            ("turns>=3", [3, 6, 9]),
        ):
            assert await filtered(pilot, app, words) == rows, words
            assert f"{len(rows)} found" in screen_text(pilot)
        await press(pilot, "G")
        assert screen_of(app).row == 8
        await press(pilot, "escape")
        assert screen_of(app)._records.count == 10
        assert screen_of(app).row == 8


async def test_nothing_found_and_filters_that_can_t_be_read(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=mixed(tmp_path / "r.jsonl"))
    async with app.run_test(size=(160, 30)) as pilot:
        await checked(pilot, app)
        assert await filtered(pilot, app, "nowhere") == []
        await shown(pilot, "No row is let through")
        await press(pilot, "escape")
        await filtered(pilot, app, "/(/")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await shown(pilot, "no regular expression")
        await press(pilot, "escape")
        assert screen_of(app)._records.count == 10
        await filtered(pilot, app, "tokens>3")
        await shown(pilot, "finetui models fetch")


async def test_rows_are_sorted_by_length_and_back_and_numbers_stay(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=mixed(tmp_path / "r.jsonl"))
    async with app.run_test(size=(160, 30)) as pilot:
        await checked(pilot, app)
        await press(pilot, "s")
        await shown(pilot, "longest first")
        screen = screen_of(app)
        assert screen.row == 6
        await pilot.press("colon", "3", "enter")
        await until(pilot, lambda: app.screen is screen and screen.row == 2)
        await press(pilot, "s")
        await until(pilot, lambda: not screen.order.sorted)
        assert (screen.row, screen._records.cursor) == (2, 2)
        assert await filtered(pilot, app, "refund") == [1, 3, 5, 7, 9]
        await press(pilot, "s")
        await until(pilot, lambda: screen.order.sorted)
        assert screen.order.row(0) == 6


@pytest.mark.parametrize(
    ("typed", "row", "told"), [("7", 6, ""), ("1 0", 9, ""), ("11", 0, "no row 11"), ("x", 0, "no row x")]
)
async def test_a_row_is_gone_to_by_its_number(tmp_path: Path, typed: str, row: int, told: str) -> None:
    app = FinetuiApp(mode="data", file=mixed(tmp_path / "r.jsonl"))
    async with app.run_test(size=(160, 30), notifications=True) as pilot:
        await checked(pilot, app)
        await press(pilot, "colon")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        app.screen.query_one(Input).value = typed
        await press(pilot, "enter")
        await until(pilot, lambda: not isinstance(app.screen, Ask))
        await shown(pilot, told)
        assert screen_of(app).row == row


async def test_next_problem_stays_among_the_rows_that_are_shown(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "r.jsonl"))
    async with app.run_test(size=(160, 30), notifications=True) as pilot:
        await checked(pilot, app)
        assert await filtered(pilot, app, "turns>=3 or line>20") == [9, *range(21, 31)]
        await press(pilot, "G N")
        assert screen_of(app).row == 8
        await press(pilot, "N")
        await shown(pilot, "No row with a problem before this one")


async def test_a_row_as_json_and_the_overview_on_a_narrow_screen(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=mixed(tmp_path / "r.jsonl"))
    async with app.run_test(size=(80, 24)) as pilot:
        await checked(pilot, app)
        await until(pilot, lambda: screen_of(app).stats is not None)
        await press(pilot, "v space")
        await shown(pilot, '"role": "user"')
        await press(pilot, "escape z")
        await shown(pilot, "duplicate 1")
        assert "turns" in screen_text(pilot)
        await press(pilot, "escape")
        await shown(pilot, "refund please 1")


async def test_tokens_with_ids_cut_and_another_template(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "r.jsonl"))
    async with app.run_test(size=(160, 40), notifications=True) as pilot:
        await checked(pilot, app)
        screen_of(app)._pane.model = str(model)
        await press(pilot, "t")
        await shown(pilot, "⟦answer 1 [link=x]y<|im_end|>■⟧↵")
        await press(pilot, "i")
        await shown(pilot, "<|im_end|>■ 2 ⟧")
        await press(pilot, "i l")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        app.screen.query_one(Input).value = "13"
        await press(pilot, "enter")
        await shown(pilot, "cut here: 13 tokens")
        assert "longer than 13 tokens: 4 are cut off" in screen_text(pilot)
        template = tmp_path / "other.jinja"
        template.write_text(
            "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|im_end|>{% endfor %}"
            "{% if add_generation_prompt %}[assistant] {% endif %}"
        )
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "G enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, str(template))
        await press(pilot, "enter")
        await shown(pilot, "template of other.jinja")
        await shown(pilot, "[assistant] ")


async def test_arrays_csv_and_packed_files_are_browsed_like_lines(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {number}", "completion": "yes\n\nno"} for number in range(1, 25)]
    array = tmp_path / "rows.json"
    array.write_text(json.dumps(rows, indent=2))
    table = tmp_path / "rows.csv"
    table.write_text("prompt,completion\n" + "".join(f'{row["prompt"]},"yes\n\nno"\n' for row in rows))
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(table.read_bytes()))
    for path in (array, table, packed):
        app = FinetuiApp(mode="data", file=path)
        async with app.run_test(size=(160, 30)) as pilot:
            await checked(pilot, app)
            await shown(pilot, "24 rows")
            await press(pilot, "G")
            assert "question 24" in screen_text(pilot)
            assert screen_of(app)._pane.plain.endswith("yes\n\nno\n"), path


async def test_unknown_columns_are_named_and_kept_for_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frage,antwort\n" + "".join(f"wie {number},so\n" for number in range(12)))
    app = FinetuiApp(mode="data", file=path)
    async with app.run_test(size=(160, 30)) as pilot:
        await checked(pilot, app)
        assert "no known shape" in screen_text(pilot)
        await press(pilot, "c")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await shown(pilot, "frage, antwort")
        await type_text(pilot, "prompt: frage, completion: antwort")
        await press(pilot, "enter")
        await shown(pilot, "trained on")
        await checked(pilot, app)
        assert "12 problems" not in screen_text(pilot)
        await press(pilot, "f")
        await shown(pilot, "[2 Train]")
        train = app.screen
        assert isinstance(train, TrainScreen)
        source = {"path": str(path), "columns": {"prompt": "frage", "completion": "antwort"}}
        await until(pilot, lambda: train.form is not None and train.form.values.get("data") == [source])


async def test_a_file_that_grows_is_read_on_and_one_that_is_replaced_anew(tmp_path: Path) -> None:
    path = rows_file(tmp_path / "r.jsonl", rows=12, broken=False)
    more = path.read_text()
    app = FinetuiApp(mode="data", file=path)
    async with app.run_test(size=(160, 30), notifications=True) as pilot:
        await checked(pilot, app)
        screen = screen_of(app)
        await press(pilot, "j")
        with path.open("a") as file:
            file.write(more)
        screen._watch()
        await shown(pilot, "24 rows")
        assert screen.row == 1
        screen._watch()
        await shown(pilot, "12 problems")  # each of the new rows is a repetition
        other = tmp_path / "other.jsonl"
        other.write_text('{"prompt": "a new one", "completion": "b"}\n')
        other.replace(path)
        screen._watch()
        await shown(pilot, "was replaced")
        await shown(pilot, "a new one")
        await checked(pilot, app)
        path.unlink()
        screen._watch()
        await shown(pilot, "does not exist")
        assert "a new one" in screen_text(pilot)
