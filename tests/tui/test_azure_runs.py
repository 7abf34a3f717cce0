"""Runs of both backends in one list: compared, deployed and talked to where their models are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from core import events as e
from core.runs import lineage, supervisor
from core.runs.directory import RunDirectory
from tests.core.runs.test_clean import froze
from tests.core.runs.test_compare import recipe
from tests.tui.chatting import FakeClient, client, say
from tests.tui.driving import press, screen_text, shown, until
from tests.tui.made_azure import ScriptedWorker, endpoints, scripted_worker
from tests.tui.made_runs import T0, make_run, step, write
from tests.tui.test_azure_form import azure_run
from tui.app import FinetuiApp
from tui.rundetails import details
from tui.screens.azure_dialogs import DeployDialog
from tui.screens.compare import CompareScreen
from tui.widgets.dialogs import ErrorDialog

__all__ = ["client", "scripted_worker"]

SETTINGS = {"learning_rate": 2e-5, "epochs": 3.0, "batch_size": 4}


def trained(run: RunDirectory, model: str, by: float) -> RunDirectory:
    """The run with twenty steps behind it, and its model."""
    steps = [replace(item, loss=item.loss - by) for n in range(1, 21) if (item := step(n, 20)).loss]
    write(run, [*steps, e.Finished(time=T0 + 90, step=20, model=model, loss=1.2 - by, duration_s=80)])
    return run


def finished_in_azure() -> RunDirectory:
    return trained(azure_run("there"), "azureml:tone-1a:1", 0.1)


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_one_recipe_on_both_backends_stands_side_by_side(size: tuple[int, int]) -> None:
    here = trained(make_run("here", "phi-4-mini-instruct", T0 + 60), "model", 0.0)
    there = finished_in_azure()
    recipe(here, **SETTINGS)
    recipe(there, **SETTINGS, backend="azure")
    for run in (here, there):
        froze(run, "a" * 64)
    app = FinetuiApp(mode="runs")
    async with app.run_test(size=size) as pilot:
        await shown(pilot, "Runs  2")
        await press(pilot, "g space space v")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        await shown(pilot, "A here")
        await shown(pilot, "B there")
        page = app.screen
        assert isinstance(page, CompareScreen)
        await until(pilot, lambda: page.found is not None)
        assert page.found is not None
        set_otherwise = [item.field for item in page.found.recipe if any(value.set for value in item.values)]
        assert set_otherwise == ["backend"]
        assert {item.name: item.values for item in page.found.figures}["state"] == ("finished", "finished")
        await press(pilot, "tab")
        await shown(pilot, "backend")


async def test_a_model_in_azure_is_deployed_and_talked_to_from_the_list(worker: ScriptedWorker) -> None:
    finished_in_azure()
    worker.answers["endpoints"] = []
    app = FinetuiApp(mode="runs")
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(pilot, "c chat   d deploy")
        await press(pilot, "c")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await shown(pilot, "No endpoint serves tone-1a:1.")
        await press(pilot, "escape 4 d")
        await until(pilot, lambda: isinstance(app.screen, DeployDialog))
        await shown(pilot, "Deploy tone-1a:1")
        await press(pilot, "escape 4")
        worker.answers["endpoints"] = endpoints()
        talked: list[str] = []
        app.chat_with = lambda side, beside="": talked.append(side)  # type: ignore[method-assign]
        await press(pilot, "c")
        await until(pilot, lambda: talked == ["azure:tone-live"])


async def test_a_run_in_azure_without_a_model_offers_neither(worker: ScriptedWorker) -> None:
    run = azure_run("failed")
    write(run, [e.Failed(time=T0 + 9, what="no")])
    app = FinetuiApp(mode="runs")
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(pilot, "✗ failed")
        assert "c Chat" not in screen_text(pilot) and "d Deploy" not in screen_text(pilot)
        await press(pilot, "c d")
        assert worker.asked == []


async def test_a_code_that_the_chat_waits_for_is_large_until_it_was_typed(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, typed = client.stream, asyncio.Event()

    async def stream(op: str, **arguments: Any) -> AsyncIterator[tuple[str, Any]]:
        if op == "load":
            shown_at = {"url": "https://microsoft.com/devicelogin", "code": "GTHK2Q9XV"}
            yield "chunk", {"phase": "waiting for the code GTHK2Q9XV", **shown_at}
            await typed.wait()
        async for frame in asked(op, **arguments):
            yield frame

    monkeypatch.setattr(client, "stream", stream)
    app = FinetuiApp(mode="chat", run="azure:tone-live")
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "▄▀▀▀▀ ▀▀█▀▀ █   █ █ ▄▀")
        await shown(pilot, "Open https://microsoft.com/devicelogin in any browser")
        await press(pilot, "escape y")
        assert app.clipboard == "GTHK2Q9XV"
        typed.set()
        await until(pilot, lambda: "GTHK2Q9XV" not in screen_text(pilot))
        await say(pilot, "hello")
        await shown(pilot, "A answers hello")


def test_a_run_in_azure_tells_its_job_its_price_and_its_model() -> None:
    run = azure_run("there")
    write(run, [e.Submitted(time=T0 + 5, job="there-1a", cost_usd=1.5)])
    trained(run, "azureml:tone-1a:1", 0.1)
    (run.path / "azure.json").write_text('{"registered": "tone-1a:1"}')
    told = {
        item.head.strip(): item.text for item in details(supervisor.get(run.id), T0 + 100, lineage.of(run))
    }
    assert told["job"] == "there-1a, 1.50 USD for the training when it was sent"
    assert told["tuned"] == "tone-1a:1 in Azure"
    assert "job" not in {item.head.strip() for item in details(supervisor.get(make_run("here").id), T0 + 100)}
