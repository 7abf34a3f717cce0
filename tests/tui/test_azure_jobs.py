"""The jobs of a project by plain keys: watched as runs of this machine, cancelled, their logs read; and data assets."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from core.azure.record import begin
from core.recipe import Recipe
from core.runs import attaching
from tests.tui.driving import press, screen_text, shown, until
from tests.tui.made_azure import (
    CHOSEN,
    T0,
    ScriptedWorker,
    jobs,
    open_page,
    refused,
    rows,
    scripted_worker,
    toasts,
)
from tests.tui.test_azure_form import azure_run, backend, on_azure
from tests.tui.test_train import form_of, screen_of
from tui.app import FinetuiApp
from tui.screens import azure_jobs
from tui.widgets.dialogs import Choose, Confirm, ErrorDialog

__all__ = ["backend", "scripted_worker"]

SIZE = (80, 24)
FAR, TONE = (job["name"] for job in jobs())


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment from which ages are counted."""
    monkeypatch.setattr(azure_jobs, "now", lambda: T0)


async def test_a_job_of_another_machine_becomes_a_run_here(
    worker: ScriptedWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(model="phi-4-mini-instruct", backend="azure", data=[{"path": str(rows(tmp_path))}])
    made = replace(begin("far-9z", "far", CHOSEN), job=FAR, submitted=True)
    worker.answers["attach"] = {"recipe": recipe.model_dump(exclude_none=True), "record": asdict(made)}
    monkeypatch.setattr("core.runs.process.spawn", lambda run: None)  # its worker is another test's
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 2)
        await shown(pilot, "▌ far ␛[31m[/foo]")
        await shown(pilot, "● training")
        await shown(pilot, "no run yet: enter makes one")
        await press(pilot, "enter")
        await until(pilot, lambda: app.current_mode == "monitor")
        await until(pilot, lambda: any("watches the job" in text for text in toasts(app)))
        assert worker.last("attach") == {"name": FAR}
        run_id = attaching.by_job()[FAR]
        await press(pilot, "2")
        await shown(pilot, "a run")
        await shown(pilot, f"the run {run_id}: enter goes to it")
    assert worker.ops().count("attach") == 1


async def test_a_failed_job_is_watched_without_sending_another(
    worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawned: list[Any] = []
    monkeypatch.setattr("core.runs.process.spawn", spawned.append)
    worker.answers["jobs"] = [{**jobs()[1], "status": "Failed", "words": "failed"}]
    run = azure_run(job=TONE)
    from core.azure.record import read, write

    made = read(run.path)
    assert made is not None
    write(run.path, replace(made, status="Failed"))
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 2)
        await shown(pilot, "✗ failed")
        await shown(pilot, "enter goes to it")
        assert "x Cancel" not in screen_text(pilot)
        await press(pilot, "enter")
        await until(pilot, lambda: app.current_mode == "monitor")
    assert spawned == [] and "attach" not in worker.ops()


async def test_a_job_that_cannot_be_a_run_says_why(worker: ScriptedWorker) -> None:
    worker.answers["attach"] = refused("The job's task is Strange.", "`finetui azure jobs` lists them.")
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        page = await open_page(pilot, 2)
        await shown(pilot, "no run yet")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await shown(pilot, "The job's task is Strange.")
        await shown(pilot, "Jobs lists them.")
        await press(pilot, "escape")
        assert app.screen is page and attaching.by_job() == {}


async def test_a_job_is_cancelled_after_what_that_loses(worker: ScriptedWorker) -> None:
    worker.answers["cancel"] = {**jobs()[0], "status": "CancelRequested", "words": "being cancelled"}
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 2)
        await shown(pilot, "● training")
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, "so far is not kept, what it has used is")
        worker.answers["jobs"] = [worker.answers["cancel"]]
        await press(pilot, "enter")  # the safe answer has the focus
        await until(pilot, lambda: not isinstance(app.screen, Confirm))
        assert "cancel" not in worker.ops()
        await press(pilot, "x y")
        await shown(pilot, "■ being cancelled")
        assert worker.last("cancel") == {"name": FAR}


async def test_logs_stand_in_the_place_of_the_list(worker: ScriptedWorker) -> None:
    worker.answers["logs"] = [{"name": "user_logs/std_log.txt", "text": "step 1\n\x1b[2Jstep 2 [/foo]"}]
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 2)
        await shown(pilot, "● training")
        await press(pilot, "j l")
        await shown(pilot, f"Logs of {TONE}")
        await shown(pilot, "␛[2Jstep 2 [/foo]")
        await press(pilot, "escape")
        await shown(pilot, "state    ✓ completed")
        await press(pilot, "y")
        assert app.clipboard == f"{TONE}\nhttps://ml.azure.com/runs/tone"


# data assets


ASSETS = [
    {"ref": "azureml:old:3", "kind": "uri_file", "description": "", "run": "tone-1a2b", "created": T0 - 9e5},
    {"ref": "azureml:folder:1", "kind": "uri_folder", "description": "", "run": "", "created": T0},
    {
        "ref": "azureml:lab-rows:2",
        "kind": "uri_file",
        "description": "[/foo] by Ada",
        "run": "",
        "created": T0,
    },
]


async def test_a_data_asset_is_chosen_as_a_recipes_rows(
    worker: ScriptedWorker,
    backend: Any,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    looked = {"rows": 36, "why": "", "faults": [{"line": 7, "why": "the row has no turns"}]}
    worker.answers |= {"assets": ASSETS, "asset": looked}
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await on_azure(pilot, app, tmp_path)
        await press(pilot, "a")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await shown(pilot, "lab-rows:2")
        assert "[/foo] by Ada" in screen_text(pilot) and "folder:1" not in screen_text(pilot)
        await press(pilot, "enter")  # the newest
        await until(pilot, lambda: toasts(app))
        assert toasts(app) == ["36 rows, 1 that Azure can't take; line 7: the row has no turns"]
        assert worker.last("asset") == {"ref": "azureml:lab-rows:2", "task": "chat"}
        recipe = form_of(app).recipe()
        assert [source.asset for source in recipe.data] == ["azureml:lab-rows:2"]
        await shown(pilot, "data                   azureml:lab-rows:2")
        screen_of(app)._form.go_to("validation")
        await press(pilot, "a")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "G enter")
        await until(pilot, lambda: form_of(app).values.get("validation") == "azureml:old:3")
        await press(pilot, "b")
        await until(pilot, lambda: "backend" not in form_of(app).values)
        assert screen_of(app).check_action("asset", ()) is False  # on this machine there is none


async def test_assets_that_cannot_be_listed_say_why(
    worker: ScriptedWorker,
    backend: Any,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    worker.answers["assets"] = refused("The data assets: nobody is signed in.", "`finetui azure login`.")
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await on_azure(pilot, app, tmp_path)
        await press(pilot, "a")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await shown(pilot, "Next: i on Get ready.")
        await press(pilot, "escape")
        worker.answers["assets"] = []
        await press(pilot, "a")
        await until(pilot, lambda: any("has no data asset yet" in text for text in toasts(app)))
