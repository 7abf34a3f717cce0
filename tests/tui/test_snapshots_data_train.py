"""Pictures of the Data and Train screens at both designed sizes. Each also says what must be readable on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.core.data.check.making import chat, clean, write
from tests.tui.driving import press, rows_file, shown, tiny_model, until
from tests.tui.test_data import checked, screen_of
from tests.tui.test_train import FixedBackend, backend, form_of, ready
from tests.tui.test_train import screen_of as train_of
from tui.app import FinetuiApp
from tui.screens.repair import Repair

__all__ = ["backend"]

Steps = Callable[[Pilot[Any]], Awaitable[None]]
SIZES = [(80, 24), (160, 45)]
sizes = pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x45"])


def steps(keys: str, *texts: str) -> Steps:
    """Press the keys once the app is ready, then wait for texts on the screen."""

    async def run(pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert isinstance(app, FinetuiApp)
        if app.current_mode == "data" and app._first[2] is not None:
            await checked(pilot, app)
        if app.current_mode == "train":
            await ready(pilot, app)
        if keys:
            await press(pilot, keys)
        for text in texts:
            await shown(pilot, text)
        await pilot.pause()

    return run


@sizes
def test_data_empty(snap_compare: Any, size: tuple[int, int]) -> None:
    assert snap_compare(
        FinetuiApp(mode="data"), terminal_size=size, run_before=steps("", "Press o to open one.")
    )


@sizes
def test_data_list(snap_compare: Any, size: tuple[int, int], tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "support.jsonl"))
    assert snap_compare(app, terminal_size=size, run_before=steps("n", "5 / 30", "3 problems"))


@sizes
def test_data_conversation(snap_compare: Any, size: tuple[int, int], tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "support.jsonl"))
    assert snap_compare(
        app, terminal_size=size, run_before=steps("n n enter", "trained on", "warning line 9")
    )


@sizes
def test_data_tokens(
    snap_compare: Any, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "support.jsonl"))

    async def run(pilot: Pilot[Any]) -> None:
        await checked(pilot, app)
        screen_of(app)._pane.model = "./tiny"
        await steps("j t", "⟦answer 2 [link=x]y<|im_end|>■⟧↵")(pilot)

    assert snap_compare(app, terminal_size=size, run_before=run)


def wide_rows(path: Path) -> Path:
    """Rows in scripts two cells wide, with joined emoji and combining marks."""
    pairs = [
        ("你好，我想退款，可以帮我吗？" * 4, "好的，请告诉我您的订单号。"),
        ("👩‍👩‍👧‍👦 family, 🇩🇪 flag, 👍🏽 skin", "🎉 done"),
        ("e\u0301 combining, नमस्ते दुनिया, مرحبا بالعالم", "سلام"),
        ("ｆｕｌｌ ｗｉｄｔｈ 한국어 문장입니다", "네"),
    ]
    return write(path, *(chat(*pair) for pair in pairs * 3))


def hostile_rows(path: Path) -> Path:
    """Rows that would act on a terminal or on markup, and a line of a megabyte."""
    rows: list[object] = [
        chat("[bold red]markup[/] [/nope] [link=file:///etc/passwd]x", "[@click=app.quit]no[/]"),
        chat("\x1b[2J\x1b[31mcleared\x1b]0;title\x07\x9b31m", "bell \x07 back\b\b\b tab\tend"),
        chat("right to left \u202e override \u2066 isolate", "zero\u200bwidth \ufeff mark"),
        chat("long " * 200_000, "short"),
        '{"messages": "\x1b[31m[bold]not a list"}',
        '{"broken \x1b[31m',
    ]
    return write(path, *rows, *map(clean, range(8)))


@sizes
def test_data_wide(snap_compare: Any, size: tuple[int, int], tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=wide_rows(tmp_path / "wide.jsonl"))
    assert snap_compare(app, terminal_size=size, run_before=steps("j", "2 / 12"))


@sizes
def test_data_hostile(snap_compare: Any, size: tuple[int, int], tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=hostile_rows(tmp_path / "hostile.jsonl"))
    assert snap_compare(app, terminal_size=size, run_before=steps("j", "2 / 14", "(a row of 1.0 MB"))


@sizes
def test_data_cut(
    snap_compare: Any, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens with the cut of the sequence length and their ids."""
    tiny_model(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "support.jsonl"))

    async def run(pilot: Pilot[Any]) -> None:
        await checked(pilot, app)
        screen_of(app)._pane.model, screen_of(app)._pane.sequence_length = "./tiny", 13
        await steps("t i", "cut here: 13 tokens", "<|im_end|>■ 2 ⟧")(pilot)

    assert snap_compare(app, terminal_size=size, run_before=run)


@sizes
def test_data_repair(snap_compare: Any, size: tuple[int, int], tmp_path: Path) -> None:
    app = FinetuiApp(mode="data", file=rows_file(tmp_path / "support.jsonl"))

    async def run(pilot: Pilot[Any]) -> None:
        await steps("n r")(pilot)
        await until(pilot, lambda: isinstance(app.screen, Repair))
        await steps("j enter", "row 5 (line 5), dropped")(pilot)

    assert snap_compare(app, terminal_size=size, run_before=run)


@sizes
def test_train(
    snap_compare: Any,
    size: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: FixedBackend,  # noqa: F811 - the fixture
) -> None:
    monkeypatch.chdir(tmp_path)
    rows_file(tmp_path / "support.jsonl")
    app = FinetuiApp(mode="train")

    async def run(pilot: Pilot[Any]) -> None:
        await ready(pilot, app)
        form_of(app).replace({"model": "phi-4-mini-instruct", "data": ["support.jsonl"], "rank": 9999})
        await train_of(app)._show()
        train_of(app)._form.go_to("rank")
        await shown(pilot, "9999  ✗ expected a whole number")
        if size[0] > 100:
            await until(pilot, lambda: "9999" in train_of(app)._plan.plain)

    assert snap_compare(app, terminal_size=size, run_before=run)


@sizes
def test_train_plan(
    snap_compare: Any,
    size: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: FixedBackend,  # noqa: F811 - the fixture
) -> None:
    monkeypatch.chdir(tmp_path)
    app = FinetuiApp(mode="train")

    async def run(pilot: Pilot[Any]) -> None:
        await ready(pilot, app)
        app.use_data(Path("support.jsonl"))
        await until(pilot, lambda: backend.asked)
        await steps("c", "2.7 GB of 22 GB", "finetui train support.jsonl")(pilot)

    assert snap_compare(app, terminal_size=size, run_before=run)


@sizes
def test_help(snap_compare: Any, size: tuple[int, int]) -> None:
    app = FinetuiApp(mode="data")
    run = steps(
        "question_mark", "Look at training data before you train on it", "Open a file of conversations"
    )
    assert snap_compare(app, terminal_size=size, run_before=run)
