"""A run in Azure from the form: its price before anything is sent, the account beside the backend, and the monitor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import events as e
from core.azure.account import Account, save
from core.azure.record import begin
from core.azure.record import write as keep
from core.backends.base import Checked, RecipeProblem
from core.pipes import PipeError
from core.recipe import Recipe
from core.runs import supervisor
from core.runs.directory import RunDirectory
from core.work import RemoteEstimate
from tests.tui.driving import press, screen_text, shown, until
from tests.tui.made_azure import (
    CHOSEN,
    Chunks,
    ScriptedWorker,
    account,
    lines,
    quotes,
    rows,
    scripted_worker,
)
from tests.tui.made_runs import T0, make_run, running, step, write
from tests.tui.test_train import form_of, ready, screen_of
from tui import planning
from tui.app import FinetuiApp
from tui.widgets.dialogs import Confirm, ErrorDialog

__all__ = ["scripted_worker"]

SIZES = RemoteEstimate(
    rows=36,
    validation_rows=4,
    epochs=3.0,
    epochs_from="recipe",
    tokens=6534,
    counted="tokenizer",
    sampled_rows=0,
)
RANK = RecipeProblem("error", "rank", "`rank` is set, and Azure chooses the method itself.", "Leave it out.")
ASKED = RecipeProblem("warning", "backend", "Azure was not asked yet.", "`finetui azure check` asks.")


class Backend:
    """Answers that a test chose, and what was started."""

    def __init__(self) -> None:
        self.problems = [ASKED]
        self.started: list[Recipe] = []

    async def check(self, client: object, recipe: Recipe) -> Checked:
        return Checked(tuple(self.problems), None, SIZES if recipe.backend == "azure" else None)

    def submit(self, recipe: Recipe) -> str:
        self.started.append(recipe)
        return make_run("sent").id


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    made = Backend()
    monkeypatch.setattr(planning, "check", made.check)
    monkeypatch.setattr(planning, "submit", made.submit)
    return made


async def on_azure(pilot: Any, app: FinetuiApp, folder: Path, **more: Any) -> None:
    """Fill the form with a run in Azure."""
    await ready(pilot, app)
    form_of(app).replace(
        {"model": "phi-4-mini-instruct", "data": [str(rows(folder))], "backend": "azure", "epochs": 3, **more}
    )
    screen_of(app).form_changed()


async def test_the_price_stands_before_the_start_with_its_meters(
    worker: ScriptedWorker, backend: Backend, tmp_path: Path
) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(80, 24)) as pilot:
        await on_azure(pilot, app, tmp_path)
        await press(pilot, "c")
        await shown(pilot, "6 534 x 3 epochs (by the recipe) = 19 602")
        await shown(pilot, "0.059 USD, at 3.00 USD for a million tokens")
        await shown(pilot, "0.80 USD an hour (584.00 USD a month), used or not, once deployed")
        await shown(pilot, "unknown: the price list has no meter with its name")
        await shown(pilot, "→ Get ready (z) asks.")
        assert worker.last("prices") == {"model": "phi-4-mini-instruct"}


@pytest.mark.parametrize("state", ["ok", "missing"])
async def test_what_get_ready_found_takes_the_place_of_the_warning_that_nobody_asked(
    worker: ScriptedWorker, backend: Backend, tmp_path: Path, state: str
) -> None:
    worker.answers["checklist"] = Chunks(lines(state)[:2], {"ready": state == "ok"})
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(120, 40)) as pilot:
        await on_azure(pilot, app, tmp_path)
        await shown(pilot, "Azure was not asked yet.")
        await press(pilot, "z")
        await shown(pilot, "Network")
        await until(pilot, lambda: screen_of(app).desk.checked)
        await press(pilot, "escape")
        await until(pilot, lambda: "Azure was not asked yet." not in screen_text(pilot))
        wanted = "nothing stands against it" if state == "ok" else "Azure lacks something that the run needs."
        await shown(pilot, wanted)
        form_of(app).set("model", "phi-4")  # whose regions may be others
        screen_of(app).form_changed()
        await shown(pilot, "Azure was not asked yet.")


async def test_a_setting_that_azure_lacks_is_named_before_the_start(
    worker: ScriptedWorker, backend: Backend, tmp_path: Path
) -> None:
    backend.problems = [RANK]
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(80, 24)) as pilot:
        await on_azure(pilot, app, tmp_path, rank=8)
        await press(pilot, "s")
        await shown(pilot, "`rank` is set, and Azure chooses the method itself.")
        await press(pilot, "escape")
        assert backend.started == [] and not isinstance(app.screen, Confirm)


async def test_a_run_in_azure_is_sent_only_after_its_price(
    worker: ScriptedWorker, backend: Backend, tmp_path: Path
) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(80, 24)) as pilot:
        await on_azure(pilot, app, tmp_path)
        await press(pilot, "s")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, "Training on 19 602 tokens costs 0.059 USD.")
        await press(pilot, "enter")  # the safe answer has the focus
        await until(pilot, lambda: not isinstance(app.screen, Confirm))
        assert backend.started == []
        worker.answers["prices"] = quotes(training=None)
        await press(pilot, "s")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, "19 602 tokens costs is unknown: the price list")
        await press(pilot, "y")
        await until(pilot, lambda: backend.started)
        await until(pilot, lambda: app.current_mode == "monitor")


async def test_the_price_is_asked_anew_when_the_account_was_changed_elsewhere(
    worker: ScriptedWorker, backend: Backend, tmp_path: Path
) -> None:
    save(CHOSEN)
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(80, 24)) as pilot:
        await on_azure(pilot, app, tmp_path)
        save(replace(CHOSEN, project="between"))  # before the question is asked
        await press(pilot, "s")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert "between" not in screen_text(pilot)
        other = replace(CHOSEN, project="elsewhere", identity="device_code")
        save(other)  # while it stands
        await press(pilot, "y")
        await shown(pilot, "The account was changed meanwhile, elsewhere:")
        await shown(pilot, "project elsewhere in eastus2.")
        await shown(pilot, "the monitor shows a code")
        assert backend.started == []
        await press(pilot, "y")
        await until(pilot, lambda: backend.started)


async def test_rows_in_azure_that_nobody_looked_at_can_be_sent(
    worker: ScriptedWorker, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(client: object, recipe: Recipe) -> Checked:
        return Checked((), None, None)

    monkeypatch.setattr(planning, "check", check)
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(80, 24)) as pilot:
        await on_azure(pilot, app, tmp_path, data=["azureml:mine:1"])
        worker.answers["asset"] = PipeError("There is no data asset azureml:mine:1.", "", "a lists them.")
        await press(pilot, "s")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await press(pilot, "escape")
        assert backend.started == []
        worker.answers["asset"] = {"asset": {}, "rows": 0, "faults": [], "why": "They lie elsewhere."}
        await press(pilot, "s")
        await shown(pilot, "Nothing is uploaded")
        await press(pilot, "y")
        await until(pilot, lambda: backend.started)


@pytest.mark.parametrize(
    ("chosen", "signed_in", "words"),
    [
        (CHOSEN, True, "emulator: project-one in eastus2"),
        (CHOSEN, False, "emulator: nobody is signed in (z)"),
        (Account(), True, "emulator: no subscription yet (z)"),
    ],
)
async def test_the_form_says_whose_azure_it_is(
    worker: ScriptedWorker, backend: Backend, tmp_path: Path, chosen: Account, signed_in: bool, words: str
) -> None:
    worker.answers |= {"account": account(chosen), "signed_in": {"signed_in": signed_in, "what": "no"}}
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(80, 24)) as pilot:
        await on_azure(pilot, app, tmp_path)
        await shown(pilot, words)
        await shown(
            pilot, "the service's own (default)"
        )  # batch size: sent under the service's name when set
        assert screen_text(pilot).count("not set  Azure has none") == 6
        await press(pilot, "t")
        assert worker.ops().count("signed_in") == 1 and screen_of(app).time_lines == []


async def test_a_local_run_asks_azure_nothing(
    worker: ScriptedWorker, backend: Backend, tmp_path: Path
) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(80, 24)) as pilot:
        await on_azure(pilot, app, tmp_path, backend="local")
        await until(pilot, lambda: screen_of(app)._planned)
        assert worker.asked == []
        assert "Azure has none" not in screen_text(pilot)


# the monitor


def azure_run(name: str = "sent", job: str = "finetui-sent-1a2b") -> RunDirectory:
    """A run that Azure works on."""
    run = make_run(name, "phi-4-mini-instruct")
    run.write_meta(replace(run.meta, backend="azure"))
    made = begin(run.id, name, CHOSEN)
    keep(
        run.path,
        replace(made, job=job, submitted=True, studio="https://ml.azure.com/runs/x?tid=1"),
    )
    write(
        run,
        [e.Starting(time=T0, phase="signing in to Azure"), e.Submitted(time=T0 + 1, job=job)],
    )
    return run


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_a_code_that_a_run_waits_for_is_large_until_it_was_typed(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUI_AZURE_NOTE", "emulator")
    run = azure_run()
    write(run, [e.SignInNeeded(time=T0 + 2, url="https://microsoft.com/devicelogin", code="GTHK2Q9XV")])
    lock = running(run)
    app = FinetuiApp(mode="monitor", run=run.id)
    async with app.run_test(size=size) as pilot:
        await shown(pilot, "▄▀▀▀▀ ▀▀█▀▀ █   █ █ ▄▀")
        await shown(pilot, "Azure (emulator): phi-4-mini")
        await press(pilot, "y")
        assert app.clipboard == "GTHK2Q9XV"
        write(run, [e.Warned(time=T0 + 3, text="A job in Azure can't be paused.")])
        await shown(pilot, "can't be paused")
        assert "GTHK2Q9XV   y copies it" in screen_text(pilot)
        write(run, [e.Status(time=T0 + 4, text="signed in")])
        await until(pilot, lambda: "y copies it; the job" not in screen_text(pilot))
    lock.release()


async def test_job_and_page_are_shown_and_copied_and_only_a_cancel_is_offered() -> None:
    run = azure_run()
    write(run, [e.Status(time=T0 + 2, text="training"), step(7, 40, time=T0 + 3)])
    lock = running(run)
    app = FinetuiApp(mode="monitor", run=run.id)
    async with app.run_test(size=(160, 45)) as pilot:
        await shown(
            pilot, "job finetui-sent-1a2b · y copies it and its page · https://ml.azure.com/runs/x?tid=1"
        )
        await shown(pilot, "step 7")
        assert "p Pause" not in screen_text(pilot)
        await press(pilot, "y")
        assert "page https://ml.azure.com/runs/x?tid=1" in app.clipboard.splitlines()
        await press(pilot, "s")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, "Cancel sent in Azure?")
        await shown(pilot, "so far is not kept, what it has used is")
        await press(pilot, "escape")
    lock.release()


async def test_a_finished_run_says_how_its_model_is_deployed() -> None:
    run = azure_run()
    write(
        run,
        [step(7, 40, time=T0 + 3), e.Finished(time=T0 + 9, step=7, model="azureml:tone-1a:1", duration_s=5)],
    )
    app = FinetuiApp(mode="monitor", run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(pilot, "in Azure it is tone-1a:1, d on")
        await shown(pilot, "Azure gives none while it trains")
        assert "e Evaluate" not in screen_text(pilot)  # nothing of it is on this machine


async def test_a_failed_job_says_which_keys_help() -> None:
    run = azure_run()
    wrong = "`finetui azure logs finetui-sent-1a2b` shows its log; `finetui resume sent` sends a new one."
    write(
        run, [e.Failed(time=T0 + 3, what="The job failed in Azure.", cause="UserError: no", next_step=wrong)]
    )
    app = FinetuiApp(mode="monitor", run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(pilot, "l on Jobs (2, z) shows its log; r sends a new one.")
        assert "r Resume" in screen_text(pilot) and "c Chat" not in screen_text(pilot)


async def test_a_new_job_is_paid_for_only_after_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    run = azure_run()
    keep(run.path, replace(begin(run.id, "sent", CHOSEN), submitted=True, status="Canceled"))
    write(run, [e.Submitted(time=T0 + 1, job="j", cost_usd=0.0117), e.Stopped(time=T0 + 3, step=0)])
    resumed: list[str] = []
    monkeypatch.setattr(supervisor, "resume", lambda ref: resumed.append(ref) or supervisor.get(ref))
    app = FinetuiApp(mode="monitor", run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(pilot, "r Resume")
        await press(pilot, "r")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, "(cancelled)")
        await shown(pilot, "0.012 USD")
        await press(pilot, "n")
        await until(pilot, lambda: not isinstance(app.screen, Confirm))
        assert resumed == []
        await press(pilot, "r")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: resumed == [run.id])


async def test_a_job_that_trains_is_shown_as_running() -> None:
    run = azure_run()
    write(run, [e.Status(time=T0 + 2, text="training", training=True)])
    lock = running(run)
    app = FinetuiApp(mode="monitor", run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(pilot, "training")
        assert "running" in screen_text(pilot) and "starting" not in screen_text(pilot)
    lock.release()
