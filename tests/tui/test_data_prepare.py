"""Repairing and splitting in the app: steps are staged, shown as a diff, undone, and written to a new file."""

from __future__ import annotations

import json
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from tests.core.data.check.making import chat, clean, write
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.test_data import checked, screen_of
from tui.app import FinetuiApp
from tui.screens.repair import Repair
from tui.widgets.dialogs import Ask, Confirm, ErrorDialog
from tui.widgets.splitting import Splitting


def bad(path: Path) -> Path:
    """Twelve clean rows, one with an address and markup, one that is no JSON."""
    return write(path, *map(clean, range(12)), chat("Mail b@acme.org [/x]", "Done."), "{broken")


async def choose(pilot: Pilot[None], words: str) -> None:
    """Press enter on the first offer with these words."""
    options = pilot.app.screen.query_one(OptionList)
    place = next(
        n for n in range(options.option_count) if words in str(options.get_option_at_index(n).prompt)
    )
    options.highlighted = place
    await press(pilot, "enter")


async def test_repairs_are_shown_undone_and_written_to_a_new_file(tmp_path: Path) -> None:
    path = bad(tmp_path / "rows.jsonl")
    before = path.read_bytes()
    app = FinetuiApp(mode="data", file=path)
    async with app.run_test(size=(160, 45), notifications=True) as pilot:
        await checked(pilot, app)
        await press(pilot, "r")
        await until(pilot, lambda: isinstance(app.screen, Repair))
        assert "nothing chosen yet" in screen_text(pilot)
        await choose(pilot, "email, 1")
        await shown(pilot, '+      "content": "Mail [email] [/x]"')
        await choose(pilot, "broken-json, 1")
        await shown(pilot, "row 14 (line 14), dropped")
        assert "2. Drop the row (broken-json)" in screen_text(pilot)
        await press(pilot, "u")
        await until(pilot, lambda: "2. Drop" not in screen_text(pilot))
        await until(pilot, lambda: "row 14" not in screen_text(pilot))
        await choose(pilot, "broken-json, 1")
        await press(pilot, "w")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        assert app.screen.query_one(Input).value == "rows.fixed.jsonl"
        await type_text(pilot, str(tmp_path / "new.jsonl"))
        await press(pilot, "enter")
        await shown(pilot, "written: 13 rows, 1 changed, 1 dropped")
        await until(
            pilot, lambda: screen_of(app).file is not None and screen_of(app).file.name == "new.jsonl"
        )
        await checked(pilot, app)
        assert "0 problems" in screen_text(pilot)
    rows = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    assert rows[12] == chat("Mail [email] [/x]", "Done.")
    assert path.read_bytes() == before
    assert (tmp_path / "new.jsonl.lineage.json").exists()


async def test_a_row_is_edited_in_the_editor_and_the_source_is_never_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["{no json", "[1]", json.dumps(chat("Hi", "Ho"))]

    def run(command: list[str], check: bool) -> None:
        Path(command[-1]).write_text(answers.pop(0))

    monkeypatch.setenv("EDITOR", "myeditor")
    monkeypatch.setattr(subprocess, "run", run)
    path = bad(tmp_path / "rows.jsonl")
    app = FinetuiApp(mode="data", file=path)
    monkeypatch.setattr(app, "suspend", nullcontext)
    async with app.run_test(size=(160, 45), notifications=True) as pilot:
        await checked(pilot, app)
        await press(pilot, "n r")
        await until(pilot, lambda: isinstance(app.screen, Repair))
        for told in ("That is no JSON", "one JSON object"):
            await choose(pilot, "$EDITOR")
            await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
            await shown(pilot, told)
            await press(pilot, "escape")
        await choose(pilot, "$EDITOR")
        await shown(pilot, '+      "content": "Ho"')
        await press(pilot, "w")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, str(path))
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await shown(pilot, "never written")
        await press(pilot, "escape escape")
        assert screen_of(app).row == 12


async def test_w_without_a_repair_says_what_to_do_first(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=bad(tmp_path / "rows.jsonl"))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await checked(pilot, app)
        await press(pilot, "r")
        await until(pilot, lambda: isinstance(app.screen, Repair))
        await press(pilot, "w")
        await shown(pilot, "Add a repair first")


async def test_a_split_is_asked_for_and_made(tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=bad(tmp_path / "rows.jsonl"))
    async with app.run_test(size=(160, 45), notifications=True) as pilot:
        await checked(pilot, app)
        await press(pilot, "p")
        await until(pilot, lambda: isinstance(app.screen, Splitting))
        fields = {field.id: field for field in app.screen.query(Input)}
        fields["split-size"].value = "a few"
        await press(pilot, "enter")
        await shown(pilot, "is no number")
        fields["split-size"].value = "3"
        fields["split-train"].value = str(tmp_path / "t.jsonl")
        fields["split-validation"].value = str(tmp_path / "v.jsonl")
        await press(pilot, "enter")
        await shown(pilot, "10 in t.jsonl, 3 in v.jsonl; 1 can't be used")
    sides = [(tmp_path / name).read_text().splitlines() for name in ("t.jsonl", "v.jsonl")]
    assert [len(side) for side in sides] == [10, 3]
