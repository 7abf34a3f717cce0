"""Pictures of the Azure pages at both designed sizes. Each also says what must be readable on it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.driving import press, shown, until
from tests.tui.made_azure import (
    CHOSEN,
    T0,
    Chunks,
    ScriptedWorker,
    account,
    jobs,
    lines,
    open_page,
    scripted_worker,
)
from tests.tui.test_azure_form import Backend, azure_run, backend, on_azure
from tests.tui.test_train import screen_of
from tui.app import FinetuiApp
from tui.screens import azure_endpoints, azure_jobs, azure_sweep
from tui.widgets.dialogs import Choose

__all__ = ["backend", "scripted_worker"]

sizes = pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=["80x24", "160x45"])


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """One moment, one zone."""
    for module in (azure_endpoints, azure_jobs, azure_sweep):
        monkeypatch.setattr(module, "now", lambda: T0)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@sizes
def test_checklist(snap_compare: Any, size: tuple[int, int], worker: ScriptedWorker) -> None:
    worker.answers["checklist"] = Chunks(lines("missing"), {"ready": False})

    async def run(pilot: Pilot[Any]) -> None:
        await open_page(pilot)
        await shown(pilot, "Get ready   2 to do")
        await shown(pilot, "enter registers it: free, some minutes")

    assert snap_compare(FinetuiApp(mode="train"), terminal_size=size, run_before=run)


@sizes
def test_sign_in_by_device_code(snap_compare: Any, size: tuple[int, int], worker: ScriptedWorker) -> None:
    code = {"url": "https://microsoft.com/devicelogin", "code": "GTHK2Q9XV"}
    worker.answers["sign_in"] = Chunks(
        [code], {"user": "", **account(replace(CHOSEN, identity="device_code"))}
    )

    async def run(pilot: Pilot[Any]) -> None:
        await open_page(pilot)
        await shown(pilot, "1 to do")
        worker.gate.clear()
        await press(pilot, "i")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await press(pilot, "g j enter")
        await shown(pilot, "▄▀▀▀▀ ▀▀█▀▀ █   █")

    assert snap_compare(FinetuiApp(mode="train"), terminal_size=size, run_before=run)


@sizes
@pytest.mark.parametrize(
    ("turns", "texts"),
    [
        (1, ("✓ tuned in eastus2", "3.00 USD for a million tokens")),
        (2, ("● training", "a run", "no run yet")),
        (3, ("1 endpoint charged by the hour", "! idle 3 d")),
        (4, ("0.80 USD/h", "in use by tone-live")),
    ],
    ids=["models", "jobs", "endpoints", "clean-up"],
)
def test_lists(
    snap_compare: Any, size: tuple[int, int], worker: ScriptedWorker, turns: int, texts: tuple[str, ...]
) -> None:
    azure_run(job=jobs()[1]["name"])

    async def run(pilot: Pilot[Any]) -> None:
        await open_page(pilot, turns)
        for text in texts:
            await shown(pilot, text)
        if turns == 4:
            await press(pilot, "space")
            await shown(pilot, "1 marked")

    assert snap_compare(FinetuiApp(mode="train"), terminal_size=size, run_before=run)


@sizes
def test_price(
    snap_compare: Any,
    size: tuple[int, int],
    worker: ScriptedWorker,
    backend: Backend,  # noqa: F811 - the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    app = FinetuiApp(mode="train")

    async def run(pilot: Pilot[Any]) -> None:
        await on_azure(pilot, app, Path())
        await until(pilot, lambda: "0.059 USD, at 3.00 USD" in screen_of(app)._plan.plain)
        await press(pilot, "c")
        await shown(pilot, "0.059 USD, at 3.00 USD")

    assert snap_compare(app, terminal_size=size, run_before=run)


@sizes
def test_monitor_of_a_run_in_azure(
    snap_compare: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import events as e
    from tests.tui.made_runs import T0 as BEGAN
    from tests.tui.made_runs import step, write

    monkeypatch.setenv("FINETUI_AZURE_NOTE", "emulator")
    run = azure_run()
    write(
        run,
        [replace(step(n, 40), tokens_per_s=None, memory_bytes=None, grad_norm=None) for n in range(1, 41)],
    )
    write(run, [e.Finished(time=BEGAN + 60, step=40, model="azureml:tone-1a:1", duration_s=55)])

    async def ready(pilot: Pilot[Any]) -> None:
        await shown(pilot, "in Azure it is tone-1a:1")
        await shown(pilot, "Azure (emulator): phi-4-mini-instruct")

    assert snap_compare(FinetuiApp(mode="monitor", run=run.id), terminal_size=size, run_before=ready)
