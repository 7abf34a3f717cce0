"""The page of a run's evaluation: what it shows, how it measures, and that measuring outlives it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core import events as e
from core.pipes import PipeError
from core.runs.directory import RunDirectory
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_runs import T0, make_run, some_runs, story, write
from tui import evaluating, exporting
from tui.app import FinetuiApp
from tui.evaluating import Settings, Step
from tui.evaluation_text import about, confusion, figures, lines, reply_paragraphs
from tui.screens import evaluation
from tui.screens.evaluation import EvaluationScreen
from tui.screens.monitor import MonitorScreen
from tui.widgets.dialogs import Ask, ErrorDialog

REPLIES = {
    "prompt": "Is [/foo] a lamp?\x1b[31m",
    "expected": "yes",
    "base": "I [bold]can't[/bold] say.",
    "tuned": "no",
}
MADE: dict[str, Any] = {
    "version": 1,
    "when": T0,
    "seconds": 75.0,
    "device": "cpu",
    "task": "chat",
    "model": "model",
    "checkpoint": None,
    "data": {
        "kind": "validation",
        "available": 120,
        "files": [{"title": "/data/held\x1b out.jsonl", "sha256": "0123456789abcdef" * 4}],
    },
    "seed": 42,
    "max_tokens": 128,
    "temperature": 0.7,
    "rows": 40,
    "trained_tokens": 900,
    "dropped": 1,
    "cut": 2,
    "asked": 40,
    "base": {
        "loss": 2.4, "token_accuracy": 0.411, "perplexity": None, "exact_match": 0.0, "token_f1": 0.05,
        "accuracy": 0.0, "macro_f1": 0.0,
    },
    "tuned": {
        "loss": 0.25, "token_accuracy": 0.9, "perplexity": 1.284, "exact_match": 0.925, "token_f1": 0.95,
        "accuracy": 0.925, "macro_f1": 0.9,
    },
    "confusion": {
        "labels": ["no", "perhaps", "yes [/x]"],
        "base": [[0, 3, 20], [1, 3, 5], [2, 3, 15]],
        "tuned": [[0, 0, 19], [0, 2, 1], [1, 1, 5], [2, 0, 1], [2, 2, 13], [2, 3, 1]],
    },
    "samples": [REPLIES] * 6,
    "worst": [{**REPLIES, "where": "/data/held.jsonl:7", "token_f1": 0.0}],
    "notes": ["2 rows were cut to the run's sequence length."],
}  # fmt: skip


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours after the evaluation."""
    monkeypatch.setattr(evaluation, "now", lambda: T0 + 7200)


@pytest.fixture
def done() -> RunDirectory:
    """A finished run that was never evaluated."""
    return some_runs()["done-one"]


@pytest.fixture
def evaluated(done: RunDirectory) -> RunDirectory:
    put(done, MADE)
    return done


def put(run: RunDirectory, made: dict[str, Any]) -> None:
    run.report_path.write_text(json.dumps({"step": 40, "evaluation": made}))


class FakeMeasure:
    """Stands in for the worker: reports a step, waits at the gate, then writes `MADE` or fails."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Settings]] = []
        self.gate = asyncio.Event()
        self.fails: PipeError | None = None
        self.cancelled = False

    async def __call__(self, what: Any, settings: Settings, told: Any) -> dict[str, Any]:
        self.asked.append((what.run_id, settings))
        told(Step("asking base and tuned", 10, 40))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.fails is not None:
            raise self.fails
        put(RunDirectory(what.run), MADE)
        return MADE


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> FakeMeasure:
    fake = FakeMeasure()
    monkeypatch.setattr(evaluating, "measure", fake)
    found = exporting.Exportable
    monkeypatch.setattr(
        exporting,
        "find",
        lambda ref: found(ref, ref, evaluating_run(ref).path, evaluating_run(ref).model_dir),
    )
    return fake


def evaluating_run(run_id: str) -> RunDirectory:
    from core.runs import directory

    run = directory.find(run_id)
    assert run is not None
    return run


async def open_page(pilot: Pilot[Any]) -> EvaluationScreen:
    await shown(pilot, "40 / 40")
    await press(pilot, "e")
    await until(pilot, lambda: isinstance(pilot.app.screen, EvaluationScreen))
    screen = pilot.app.screen
    assert isinstance(screen, EvaluationScreen)
    return screen


def toasts(app: FinetuiApp) -> list[str]:
    return [notice.message for notice in app._notifications]


# words


def test_figures_stand_side_by_side_with_their_change() -> None:
    assert [line.split() for line in figures(MADE)][:5] == [
        ["base", "tuned", "change"],
        ["loss", "2.4000", "0.2500", "-2.1500"],
        ["perplexity", "—", "1.28", "—"],
        ["token", "accuracy", "41.1", "%", "90.0", "%", "+48.9"],
        ["exact", "match", "0.0", "%", "92.5", "%", "+92.5"],
    ]
    words = dict(about(MADE, T0 + 7200))
    assert words["rows"] == "40 of 120 validation rows, held␛ out.jsonl (sha256 01234567)"
    assert words["measured"] == "2 h ago in 1 min 15 s on cpu"
    dpo = {
        **MADE,
        "base": {"loss": 0.6931},
        "tuned": {"loss": 0.5, "margin": -1.25, "preference_accuracy": 0.5},
    }
    assert [line.split() for line in figures(dpo)][2:] == [
        ["preferred", "—", "50.0", "%", "—"],
        ["margin", "—", "-1.2500", "—"],
    ]


def test_a_matrix_shrinks_to_letters_and_then_to_its_mistakes() -> None:
    assert confusion(MADE, "tuned", 60) == [
        "expected  no  perhaps  yes [/x]  other",
        "no        19        ·         1      ·",
        "perhaps    ·        5         ·      ·",
        "yes [/x]   1        ·        13      1",
    ]
    assert confusion(MADE, "tuned", 32) == [
        "expected     a  b   c  other",
        "a no        19  ·   1      ·",
        "b perhaps    ·  5   ·      ·",
        "c yes [/x]   1  ·  13      1",
    ]
    assert confusion(MADE, "tuned", 24)[:2] == ["    1 x  yes [/x] taken…", "    1 x  yes [/x] taken…"]
    assert confusion(MADE, "base", 100)[1].split() == ["no", "·", "·", "·", "20"]


def test_many_classes_are_told_by_their_mistakes() -> None:
    labels = [f"class {number}" for number in range(60)]
    right = [[number, number, 3] for number in range(60)]
    wrong = [[number, 0, number] for number in range(1, 31)]
    made = {"confusion": {"labels": labels, "tuned": [*right, *wrong], "base": right}}
    told = confusion(made, "tuned", 70)
    assert told[0].split(maxsplit=2)[2] == "class 30 taken for class 0"
    assert len(told) == 21 and told[-1] == "and 10 other kinds"
    assert confusion(made, "base", 70) == ["No mistakes."]


def test_nothing_from_outside_reaches_the_terminal() -> None:
    text = "\n".join(lines(MADE, T0, 100)) + "".join(p.text + p.head + p.tail for p in reply_paragraphs(MADE))
    assert "\x1b" not in text


# the page


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_the_page_shows_what_was_measured(evaluated: RunDirectory, size: tuple[int, int]) -> None:
    app = FinetuiApp(mode="monitor", run=evaluated.id)
    async with app.run_test(size=size) as pilot:
        screen = await open_page(pilot)
        await shown(pilot, "92.5 %")
        assert "evaluated 2 h ago" in screen_text(pilot)
        assert "Is [/foo] a lamp?␛[31m" in screen_text(pilot)
        await press(pilot, "tab")
        await shown(pilot, "yes [/x]   1")
        await press(pilot, "tab G")
        assert screen.focused is screen.replies
        await shown(pilot, "held.jsonl:7")
        await press(pilot, "y")
        assert "exact match" in app.clipboard and evaluated.id in app.clipboard
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen))


async def test_it_measures_while_the_page_is_left_and_shows_it_when_done(
    done: RunDirectory, worker: FakeMeasure
) -> None:
    app = FinetuiApp(mode="monitor", run=done.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_page(pilot)
        await shown(pilot, "Not evaluated yet: m measures the model and its base on up to 200 of its")
        await press(pilot, "n")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, "040")
        await press(pilot, "enter m")
        await shown(pilot, "asking base and tuned  10 / 40")
        assert worker.asked == [(done.id, Settings(rows=40))]
        assert "m Measure" not in screen_text(pilot) and "x Stop" in screen_text(pilot)
        assert "Not evaluated yet" not in screen_text(pilot)
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen))
        worker.gate.set()
        await until(pilot, lambda: "done-one is evaluated." in toasts(app))
        await open_page(pilot)
        await shown(pilot, "92.5 %")


async def test_an_open_page_sees_the_end_by_itself(done: RunDirectory, worker: FakeMeasure) -> None:
    app = FinetuiApp(mode="monitor", run=done.id)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await open_page(pilot)
        await press(pilot, "m")
        await shown(pilot, "10 / 40")
        worker.gate.set()
        await shown(pilot, "92.5 %")
        await until(pilot, lambda: screen._timer is None)


async def test_stopping_keeps_what_there_was(evaluated: RunDirectory, worker: FakeMeasure) -> None:
    before = evaluated.report_path.read_bytes()
    app = FinetuiApp(mode="monitor", run=evaluated.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_page(pilot)
        await press(pilot, "m")
        await shown(pilot, "10 / 40")
        await press(pilot, "x")
        await shown(pilot, "evaluated 2 h ago")
        assert worker.cancelled and evaluated.report_path.read_bytes() == before


async def test_an_error_is_shown_where_it_happened(done: RunDirectory, worker: FakeMeasure) -> None:
    worker.fails = PipeError("held.jsonl:3: [/foo] is broken.", "1 of 9 rows.", "Fix it.")
    worker.gate.set()
    app = FinetuiApp(mode="monitor", run=done.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_page(pilot)
        await press(pilot, "m")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await shown(pilot, "[/foo] is broken.")
        await press(pilot, "escape")
        await shown(pilot, "not evaluated yet")
        await until(pilot, lambda: "m Measure" in screen_text(pilot))


async def test_a_damaged_report_is_told(done: RunDirectory) -> None:
    done.report_path.write_text("[1")
    app = FinetuiApp(mode="monitor", run=done.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_page(pilot)
        await shown(pilot, "report.json can't be read")


async def test_settings_are_asked_for_and_wrong_ones_refused(
    evaluated: RunDirectory, worker: FakeMeasure, tmp_path: Path
) -> None:
    app = FinetuiApp(mode="monitor", run=evaluated.id)
    async with app.run_test(size=(160, 45)) as pilot:
        screen = await open_page(pilot)
        for key, text in (("l", "0016"), ("n", "many"), ("f", str(tmp_path / "a.jsonl"))):
            await press(pilot, key)
            await until(pilot, lambda: isinstance(app.screen, Ask))
            await type_text(pilot, text)
            await press(pilot, "enter")
        assert "many is no number above 0" in toasts(app)
        await shown(pilot, "next: 200 rows of a.jsonl, replies up to 16 tokens")
        assert screen.evaluations.settings == Settings(200, 16, tmp_path / "a.jsonl")
        await press(pilot, "w")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, str(tmp_path / "out.json"))
        await press(pilot, "enter")
        await until(pilot, (tmp_path / "out.json").exists)
        assert json.loads((tmp_path / "out.json").read_text()) == MADE


async def test_another_run_on_the_monitor_closes_the_page(evaluated: RunDirectory) -> None:
    other = make_run("other-one")
    write(other, [*story(40, 40), e.Finished(time=T0 + 60, step=40, model="model", duration_s=55)])
    app = FinetuiApp(mode="monitor", run=evaluated.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_page(pilot)
        app.open_run(other.id)
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen))
        await shown(pilot, "other-one")


async def test_a_run_without_a_model_has_nothing_to_evaluate() -> None:
    run = make_run("fresh")
    write(run, [e.Queued(time=T0, device="cpu", position=1), e.Failed(time=T0, what="No.")])
    app = FinetuiApp(mode="monitor", run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "fresh")
        await press(pilot, "e")
        assert isinstance(app.screen, MonitorScreen)


def test_the_page_imports_nothing_that_belongs_in_workers(evaluated: RunDirectory) -> None:
    code = """
import asyncio, sys
from tui.app import FinetuiApp
async def main():
    app = FinetuiApp(mode="monitor", run="done-one")
    async with app.run_test(size=(120, 40)) as pilot:
        while not app.screen.query("#charts") or app.screen.row is None:
            await pilot.pause(0.05)
        await pilot.press("e")
        while getattr(app.screen, "found", None) is None:
            await pilot.pause(0.05)
asyncio.run(main())
heavy = ("torch", "transformers", "peft", "sklearn", "tokenizers", "pyarrow")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.splitlines()[-1] == "[]"


# pictures


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
@pytest.mark.parametrize("keys", ["", "tab"], ids=["replies", "classes"])
def test_pictures(
    evaluated: RunDirectory,
    snap_compare: Any,
    size: tuple[int, int],
    keys: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    async def ready(pilot: Pilot[Any]) -> None:
        await open_page(pilot)
        await shown(pilot, "92.5 %")
        if keys:
            await press(pilot, keys)
            await shown(pilot, "yes [/x]   1")
        await until(pilot, lambda: pilot.app.screen.size == size)

    assert snap_compare(FinetuiApp(mode="monitor", run=evaluated.id), terminal_size=size, run_before=ready)
