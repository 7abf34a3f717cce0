"""The Train screen by plain keys: edit, undo, checks, files, backends, start."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from core.backends.base import Checked, RecipeProblem
from core.recipe import Recipe, field, load
from core.work import Estimate
from tests.tui.driving import press, rows_file, screen_text, shown, type_text, until
from tui import planning
from tui.app import FinetuiApp
from tui.screens.train import TrainScreen
from tui.train_form import FormState
from tui.widgets.dialogs import Ask, Choose, ErrorDialog

ESTIMATE = Estimate(
    device="cpu", rows=48, validation_rows=12, steps=18, tokens=6534, trained_tokens=2100, computed_tokens=6400,
    sampled_rows=0, longest_row=75, cut_rows=2, dropped_rows=0, parameters=134_515_008, trainable_parameters=4_884_480,
    process_bytes=400_000_000, loading_bytes=800_000_000, weights_bytes=538_000_000, adapter_bytes=78_000_000,
    activation_bytes=1_600_000_000, head_bytes=84_000_000, pack_tokens=300, peak_bytes=2_700_000_000,
    available_bytes=22_000_000_000, checkpoint_bytes=59_000_000, checkpoints=3, disk_bytes=195_000_000,
    free_disk_bytes=82_000_000_000,
)  # fmt: skip
WARNING = RecipeProblem("warning", "epochs", "[bold]Many epochs[/foo].", "Set `epochs` to 3.")
ERROR = RecipeProblem("error", "rank", "The rank does not fit.", "Set `rank` to 8.")


class FixedBackend:
    """Answers that a test chose; counts the questions."""

    def __init__(self) -> None:
        self.problems: list[RecipeProblem] = [WARNING]
        self.asked: list[Recipe] = []

    async def check(self, client: object, recipe: Recipe) -> Checked:
        self.asked.append(recipe)
        errors = any(problem.severity == "error" for problem in self.problems)
        return Checked(tuple(self.problems), None if errors else ESTIMATE)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FixedBackend:
    fixed = FixedBackend()
    monkeypatch.setattr(planning, "check", fixed.check)
    return fixed


def screen_of(app: FinetuiApp) -> TrainScreen:
    screen = app.screen_stack[0]
    assert isinstance(screen, TrainScreen)
    return screen


def form_of(app: FinetuiApp) -> FormState:
    form = screen_of(app).form
    assert form is not None
    return form


async def ready(pilot: Pilot[None], app: FinetuiApp) -> None:
    await until(pilot, lambda: screen_of(app).form is not None and screen_of(app)._form.current, "the form")


async def set_field(pilot: Pilot[None], app: FinetuiApp, name: str, text: str, leave: str = "enter") -> None:
    screen_of(app)._form.go_to(name)
    await press(pilot, "enter")
    await until(pilot, lambda: isinstance(app.focused, Input))
    await type_text(pilot, text)
    await press(pilot, leave)
    await until(pilot, lambda: not screen_of(app).query(Input))


async def test_fields_show_their_defaults_and_the_needed_one_is_named(backend: FixedBackend) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        text = screen_text(pilot)
        assert "16 (default)" in text
        assert "✗ needed" in text
        assert "1 to put right" in text
        assert "weight decay" not in text
        await press(pilot, "m G")
        await shown(pilot, "seed")
        form = screen_of(app)._form
        assert len(form._rows) > 30
        await press(pilot, "m")
        await until(pilot, lambda: len(form._rows) < 20)


async def test_typing_is_letters_until_esc_and_the_footer_says_so(backend: FixedBackend) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.focused, Input))
        assert "typing: esc leaves the field" in screen_text(pilot).splitlines()[-1]
        await press(pilot, "q s 1 b")
        assert isinstance(app.focused, Input)
        assert app.focused.value == "qs1b"
        await press(pilot, "escape")
        await until(pilot, lambda: form_of(app).values.get("name") == "qs1b")
        assert "s Start" in screen_text(pilot).splitlines()[-1]
        assert app.focused is screen_of(app)._form
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.focused, Input))
        await press(pilot, "tab")
        await until(pilot, lambda: screen_of(app)._form.current == "backend")


async def test_wrong_values_are_flagged_at_their_field(backend: FixedBackend) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(160, 40)) as pilot:
        await ready(pilot, app)
        await set_field(pilot, app, "rank", "9999")
        await shown(pilot, f"✗ expected {field('rank').expected}")
        await shown(pilot, "2 to put right")
        await press(pilot, "u")
        await shown(pilot, "1 to put right")
        assert "rank" not in form_of(app).values


async def test_undo_and_reset(backend: FixedBackend) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        assert "Undo" not in screen_text(pilot).splitlines()[-1]
        await set_field(pilot, app, "rank", "32")
        await until(pilot, lambda: form_of(app).values.get("rank") == 32)
        await press(pilot, "r")
        await until(pilot, lambda: "rank" not in form_of(app).values)
        await press(pilot, "u")
        await until(pilot, lambda: form_of(app).values.get("rank") == 32)


async def test_choices_and_yes_or_no_are_set_by_enter(backend: FixedBackend) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(100, 40)) as pilot:
        await ready(pilot, app)
        screen_of(app)._form.go_to("precision")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "j enter")
        await until(pilot, lambda: form_of(app).values.get("precision") == "fp32")
        await press(pilot, "m")
        await until(pilot, lambda: len(screen_of(app)._form._rows) > 30)
        screen_of(app)._form.go_to("gradient_checkpointing")
        await press(pilot, "enter")
        await until(pilot, lambda: form_of(app).values.get("gradient_checkpointing") is True)


async def test_a_model_is_chosen_from_the_catalogue(backend: FixedBackend) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(100, 40)) as pilot:
        await ready(pilot, app)
        screen_of(app)._form.go_to("model")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        assert "smollm2-135m-instruct" in screen_text(pilot)
        before = form_of(app).values["model"]
        await press(pilot, "g j enter")
        await until(pilot, lambda: form_of(app).values["model"] != before)


async def test_the_plan_shows_estimate_warnings_and_command(backend: FixedBackend, tmp_path: Path) -> None:
    path = rows_file(tmp_path / "r.jsonl")
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(160, 45)) as pilot:
        await ready(pilot, app)
        app.use_data(path)
        await shown(pilot, "2.7 GB of 22 GB")
        text = screen_text(pilot)
        assert "18   from 48 rows, 12 for validation" in text
        assert "4.9M of 135M parameters (3.6 %)" in text
        assert "! [bold]Many epochs[/foo]." in text
        assert "→ Set `epochs` to 3." in text
        assert "! 2 rows are longer and will be cut" in text
        await press(pilot, "y")
        assert app.clipboard == f"finetui train {path} --model smollm2-135m-instruct"


async def test_many_changes_ask_once_and_old_answers_are_dropped(backend: FixedBackend) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(160, 45)) as pilot:
        await ready(pilot, app)
        for rank in range(1, 9):
            form_of(app).replace({"model": "phi-4", "data": ["a.jsonl"], "rank": rank})
            await screen_of(app)._show()
        await until(pilot, lambda: backend.asked)
        await pilot.pause(0.1)
        assert [recipe.rank for recipe in backend.asked] == [8]
        screen_of(app)._take_plan(0, [])
        assert "Device" in screen_of(app)._plan.plain


async def test_on_a_narrow_screen_c_shows_the_plan_and_esc_goes_back(
    backend: FixedBackend, tmp_path: Path
) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        app.use_data(rows_file(tmp_path / "r.jsonl"))
        await until(pilot, lambda: backend.asked)
        assert "Before you start" not in screen_text(pilot)
        await press(pilot, "c")
        await shown(pilot, "2.7 GB of 22 GB")
        await press(pilot, "escape")
        await shown(pilot, "New run")


async def test_a_recipe_is_written_and_read_back(backend: FixedBackend, tmp_path: Path) -> None:
    path = rows_file(tmp_path / "r.jsonl")
    target = tmp_path / "recipe.yaml"
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(100, 40), notifications=True) as pilot:
        await ready(pilot, app)
        app.use_data(path)
        await set_field(pilot, app, "rank", "64")
        await until(pilot, lambda: form_of(app).values.get("rank") == 64)
        await press(pilot, "w")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, str(target))
        await press(pilot, "enter")
        await until(pilot, target.exists)
        assert load(target).rank == 64
        await press(pilot, "u u")
        await until(pilot, lambda: "rank" not in form_of(app).values)
        await press(pilot, "o")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, str(target))
        await press(pilot, "enter")
        await until(pilot, lambda: form_of(app).values.get("rank") == 64)
        assert form_of(app).values["data"] == [str(path)]


async def test_a_wrong_recipe_file_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("model: phi-4\ndata: a.jsonl\nrnk: 3\n")
    app = FinetuiApp(mode="train", recipe=path)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await shown(pilot, "Did you mean")
        assert "`rank`?" in screen_text(pilot)


async def test_start_is_refused_with_every_error_and_nothing_is_submitted(
    backend: FixedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.runs import supervisor

    submitted: list[Any] = []
    monkeypatch.setattr(supervisor, "submit", lambda *arguments: submitted.append(arguments))
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        await press(pilot, "s")
        await shown(pilot, "`data` is missing.")
        await press(pilot, "escape")
        app.use_data(rows_file(tmp_path / "r.jsonl"))
        await until(pilot, lambda: form_of(app).values.get("data"))
        backend.problems = [ERROR, WARNING]
        await press(pilot, "s")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        text = screen_text(pilot)
        assert "The rank does not fit." in text and "Next: Set `rank` to 8." in text
        assert submitted == []


async def test_s_starts_the_run_and_opens_it(
    backend: FixedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.runs import supervisor

    submitted: list[Recipe] = []

    def submit(recipe: Recipe, base_dir: Path) -> SimpleNamespace:
        submitted.append(recipe)
        return SimpleNamespace(id="run-1")

    opened: list[str] = []
    monkeypatch.setattr(supervisor, "submit", submit)
    app = FinetuiApp(mode="train")
    monkeypatch.setattr(app, "open_run", opened.append)
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        app.use_data(rows_file(tmp_path / "r.jsonl"))
        await until(pilot, lambda: form_of(app).values.get("data"))
        await press(pilot, "s")
        await until(pilot, lambda: opened)
        assert opened == ["run-1"]
        assert submitted[0].data[0].path == str(tmp_path / "r.jsonl")
