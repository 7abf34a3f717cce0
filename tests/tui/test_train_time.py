"""The time of a run in the form: measured on demand, shown above the plan, dropped with the settings it was of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.backends import planner
from core.backends.base import BackendError
from core.pipes import PipeError, Request
from core.recipe import Recipe
from core.work import TimePlan
from tests.core.training.conftest import make_recipe, tiny_model
from tests.tui.driving import press, screen_text, shown, until
from tests.tui.test_train import FixedBackend, backend, form_of, ready, rows_file, screen_of
from tui import planning
from tui.app import FinetuiApp

__all__ = ["backend", "make_recipe", "tiny_model"]
TIMES = TimePlan(start_s=12.0, train_s=600.0, evaluate_s=48.0, samples_s=30.0, save_s=5.0, tokens_per_s=240.0)


async def test_t_measures_and_a_change_forgets(
    backend: FixedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Recipe] = []

    async def time(client: object, recipe: Recipe) -> TimePlan:
        asked.append(recipe)
        return TIMES

    monkeypatch.setattr(planning, "time", time)
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(160, 45)) as pilot:
        await ready(pilot, app)
        app.use_data(rows_file(tmp_path / "r.jsonl"))
        await shown(pilot, "2.7 GB of 22 GB")
        await press(pilot, "t")
        await shown(pilot, "240 tokens/s, measured just now")
        assert "11 min" in screen_text(pilot)
        assert "2.7 GB of 22 GB" in screen_text(pilot)
        assert len(asked) == 1
        form_of(app).set("rank", 8)
        screen_of(app)._changed()
        await until(pilot, lambda: "measured just now" not in screen_text(pilot))


async def test_a_change_gives_the_measuring_up(
    backend: FixedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []

    class Client:
        async def close(self) -> None:
            closed.append(True)

    async def time(client: object, recipe: Recipe) -> TimePlan:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(planning, "time", time)
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(160, 45)) as pilot:
        await ready(pilot, app)
        app.use_data(rows_file(tmp_path / "r.jsonl"))
        await shown(pilot, "2.7 GB of 22 GB")
        monkeypatch.setattr(planning, "make_client", Client)
        await press(pilot, "t")
        await shown(pilot, "a short training that is thrown away")
        form_of(app).set("rank", 8)
        screen_of(app)._changed()
        await until(pilot, lambda: closed)
        await until(pilot, lambda: "thrown away" not in screen_text(pilot))


async def test_what_can_not_be_measured_says_why(
    backend: FixedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def time(client: object, recipe: Recipe) -> TimePlan:
        raise PipeError("The time can't be measured yet.", "The model is not here.", "Fetch it.")

    monkeypatch.setattr(planning, "time", time)
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(160, 45)) as pilot:
        await ready(pilot, app)
        app.use_data(rows_file(tmp_path / "r.jsonl"))
        await shown(pilot, "2.7 GB of 22 GB")
        await press(pilot, "t")
        await shown(pilot, "The time can't be measured yet.")


def values(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(exclude_none=True)


def test_the_planner_measures(make_recipe: Callable[..., Recipe]) -> None:
    nobody = Request(1, lambda _: False)
    times = planner.time(nobody, values(make_recipe()))
    assert min(times[name] for name in ("start_s", "train_s", "evaluate_s", "samples_s", "tokens_per_s")) > 0
    with pytest.raises(BackendError, match="can't be measured") as caught:
        planner.time(nobody, values(make_recipe(data="/nowhere.jsonl")))
    assert "nowhere" in caught.value.cause
