"""Pictures of the Data and Train screens at both designed sizes. Each also says what must be readable on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.driving import press, rows_file, shown, tiny_model, until
from tests.tui.test_data import checked, screen_of
from tests.tui.test_train import FixedBackend, backend, form_of, ready
from tests.tui.test_train import screen_of as train_of
from tui.app import FinetuiApp

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
