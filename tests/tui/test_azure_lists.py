"""The lists of the Azure pages by plain keys: models, endpoints, clean-up; the worker answers what the test chose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_azure import (
    CHOSEN,
    T0,
    Chunks,
    ScriptedWorker,
    account,
    endpoints,
    models,
    open_page,
    scripted_worker,
    toasts,
)
from tui.app import FinetuiApp
from tui.screens import azure_endpoints, azure_sweep
from tui.screens.azure_dialogs import DeployDialog
from tui.screens.train import TrainScreen
from tui.widgets.dialogs import Choose, Confirm, ErrorDialog
from tui.widgets.table import Table

__all__ = ["scripted_worker"]

SIZE = (80, 24)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment from which ages are counted."""
    for module in (azure_endpoints, azure_sweep):
        monkeypatch.setattr(module, "now", lambda: T0)


@asynccontextmanager
async def clean_up() -> AsyncIterator[tuple[FinetuiApp, Pilot[None]]]:
    """The app on its Clean up page, with what there is to delete on it."""
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 4)
        await shown(pilot, "Made by finetui  4   0 marked")
        yield app, pilot


# models


async def test_a_model_goes_into_the_form_as_one_that_is_undone_at_once(worker: ScriptedWorker) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 1)
        await shown(pilot, "▌ Phi-4-mini-instruct         ✓ tuned in eastus2")
        await shown(pilot, "3.00 USD for a million tokens")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, TrainScreen))
        form = app.screen.form  # type: ignore[attr-defined]
        assert (form.values["model"], form.values["backend"]) == ("phi-4-mini-instruct", "azure")
        await shown(pilot, "emulator: project-one in eastus2")
        await shown(pilot, "not set  Azure has none")
        await press(pilot, "u")
        assert "backend" not in form.values


async def test_a_model_outside_the_catalogue_is_named_by_its_registry_id(worker: ScriptedWorker) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 1)
        await shown(pilot, "✗ not in eastus2, in 1 other")
        await press(pilot, "j y")
        assert app.clipboard == "azureml://registries/azureml/models/Elsewhere"
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, TrainScreen))
        assert app.screen.form.values["model"] == "azureml://registries/azureml/models/Elsewhere"  # type: ignore[attr-defined]


async def test_a_retired_model_is_refused_with_what_follows_it(worker: ScriptedWorker) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        page = await open_page(pilot, 1)
        await shown(pilot, "■ retired: use Phi-4-mini-instruct")
        await press(pilot, "G enter")
        await until(pilot, lambda: toasts(app))
        assert "2025-08-30. Phi-4-mini-instruct follows it. On this machine" in toasts(app)[0]
        assert app.screen is page


async def test_the_registry_is_searched_by_words(worker: ScriptedWorker) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 1)
        await shown(pilot, "Models  4")
        worker.answers["models"] = []
        await press(pilot, "slash")
        await until(pilot, lambda: isinstance(app.focused, Input))
        await type_text(pilot, "phi 9")
        await press(pilot, "enter")
        await shown(pilot, "No model of the registry has all of these words in its name: phi 9")
        assert worker.last("models") == {"words": "phi 9"}
        await press(pilot, "slash escape")
        await until(pilot, lambda: not isinstance(app.focused, Input))
        worker.answers["models"] = models()
        await press(pilot, "r")
        await shown(pilot, "Models  4   named phi 9")
        await until(
            pilot, lambda: isinstance(app.focused, Table)
        )  # the list had gone, and is back with its keys
        await press(pilot, "G")
        await shown(pilot, "▌ Phi-3-mini-4k-instruct")
        assert "[Models]" in screen_text(pilot)


# endpoints


async def test_a_tuned_model_is_deployed_with_name_filter_and_price(worker: ScriptedWorker) -> None:
    made = {**endpoints()[0], "name": "tone-two", "state": "Online"}
    worker.answers |= {"endpoints": [], "deploy": Chunks([{"text": "Azure makes it, 34 s so far"}], made)}
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 3)
        await shown(pilot, "d deploys a tuned model.")
        await press(pilot, "d")  # there is but one
        await until(pilot, lambda: isinstance(app.screen, DeployDialog))
        text = " ".join(screen_text(pilot).replace("┃", "").split())
        assert "0.80 USD an hour (584.00 USD a month)" in text and "In eastus2." in text
        assert "prompts 0.075 USD for a million tokens" in text and "public list of 2026-09-21" in text
        assert "Terms: Microsoft's Product Terms" in text and "the base model's licence: MIT." in text
        assert "nothing is filtered or stopped" in text and "pass Azure's filter" in text
        await type_text(pilot, "tone.two")
        await press(pilot, "enter")
        await shown(pilot, "A name has up to 52 letters")
        await type_text(pilot, "tone-two")
        worker.gate.clear()
        await press(pilot, "enter j enter")
        await shown(pilot, "deploying tone-two: Azure makes it, 34 s so far")
        await press(pilot, "escape")  # it goes on when the page is left
        await until(pilot, lambda: isinstance(app.screen, TrainScreen))
        worker.answers["endpoints"] = endpoints()
        worker.gate.set()
        await until(pilot, lambda: any("tone-two is online" in text for text in toasts(app)))
        assert worker.last("deploy") == {
            "name": "tone-two", "model": "tone-1a:1", "content_safety": False, "run": "tone-1a2b",
        }  # fmt: skip
        await press(pilot, "z tab tab tab")
        await shown(pilot, "1 endpoint charged by the hour, used or not: 0.80 USD/h")


async def test_one_thing_at_a_time_is_done(worker: ScriptedWorker) -> None:
    worker.answers["undeploy"] = Chunks([], {"deleted": "tone-live"})
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 3)
        await shown(pilot, "tone-live")
        worker.gate.clear()
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, "Its model tone-1a:1 stays.")
        await press(pilot, "y")
        await shown(pilot, "deleting tone-live")
        for label in ("d Deploy", "x Delete"):
            assert label not in screen_text(pilot)
        worker.answers["endpoints"] = endpoints()[1:]
        worker.gate.set()
        await until(pilot, lambda: "tone-live is deleted and no longer charged." in toasts(app))
        await until(pilot, lambda: "charged by the hour" not in screen_text(pilot))
        assert "theirs-␛[31m[/foo]" in screen_text(pilot)


async def test_a_key_is_changed_after_a_question_and_never_shown(worker: ScriptedWorker) -> None:
    worker.answers["rotate"] = {"rotated": "tone-live", "which": "Secondary"}
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 3)
        await shown(pilot, "tone-live")
        await press(pilot, "n")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "j enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: "tone-live has a new secondary key." in toasts(app))
        assert worker.last("rotate") == {"name": "tone-live", "which": "Secondary"}


async def test_a_chat_is_begun_whoever_is_signed_in(
    worker: ScriptedWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talked: list[str] = []
    monkeypatch.setattr(FinetuiApp, "chat_with", lambda _, side: talked.append(side))
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        page = await open_page(pilot, 3)
        await shown(pilot, "tone-live")
        page.desk.account = account(
            replace(CHOSEN, identity="device_code")
        )  # the chat shows a code of its own
        await press(pilot, "c")
        assert talked == ["azure:tone-live"]


async def test_what_another_screen_wants_of_a_model_is_done(
    worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    talked: list[str] = []
    monkeypatch.setattr(FinetuiApp, "chat_with", lambda _, side: talked.append(side))
    worker.answers["endpoints"] = list(reversed(endpoints()))
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        app.serve_in_azure("chat", "tone-1a:1")
        await until(pilot, lambda: talked == ["azure:tone-live"])
        await shown(pilot, "▌ tone-live")
        app.serve_in_azure("chat", "other:1")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await shown(pilot, "No endpoint serves other:1.")
        await shown(pilot, "d deploys it, after its price.")
        await press(pilot, "escape")
        app.serve_in_azure("deploy", "tone-1a:1")
        await shown(pilot, "[Endpoints]")
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(app.screen, TrainScreen))
        assert "deploy" not in worker.ops()


# clean-up


async def test_a_model_in_use_is_refused_with_the_endpoint_and_its_keys(worker: ScriptedWorker) -> None:
    worker.answers["sweep_delete"] = Chunks(
        [{"key": "endpoint tone-live", "error": None}, {"key": "model tone-1a:1", "error": None}],
        {"deleted": 2, "failed": 0},
    )
    async with clean_up() as (app, pilot):
        await press(pilot, "j space x")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await shown(pilot, "The endpoint tone-live serves it.")
        await shown(pilot, "space on the endpoint tone-live marks it")
        await press(pilot, "escape g space")
        await shown(pilot, "2 marked")
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, "0.80 USD an hour are no longer charged.")
        await press(pilot, "y")
        await until(pilot, lambda: "2 deleted in Azure." in toasts(app))
        assert sorted(worker.last("sweep_delete")["keys"]) == ["endpoint tone-live", "model tone-1a:1"]


async def test_what_was_deleted_meanwhile_is_no_part_of_the_question(worker: ScriptedWorker) -> None:
    async with clean_up() as (app, pilot):
        await press(pilot, "g space space")
        await shown(pilot, "2 marked")
        worker.answers["sweep"]["things"] = [
            {**thing, "used_by": ""}
            for thing in worker.answers["sweep"]["things"]
            if thing["kind"] != "endpoint"
        ]
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, "Delete the model tone-1a:1 in Azure?")
        assert "no longer charged" not in screen_text(pilot)
        assert "1 of those marked can't be deleted any more." in toasts(app)


async def test_a_list_that_azure_refuses_is_named_over_those_it_gives(worker: ScriptedWorker) -> None:
    refused = {"what": "The models can't be listed.", "cause": "HTTP 403.", "next_step": ""}
    worker.answers["sweep"]["not_listed"] = [refused]
    async with clean_up() as (app, pilot):
        await shown(pilot, "This is not all of it.")
        await shown(pilot, "The models can't be listed. HTTP 403.")
        await press(pilot, "g space")
        await shown(pilot, "1 marked")
        worker.answers["sweep"]["not_listed"] = []
        await press(pilot, "r")
        await until(pilot, lambda: "This is not all of it." not in screen_text(pilot))


async def test_what_stays_is_not_marked_and_what_could_not_be_deleted_is_told(
    worker: ScriptedWorker,
) -> None:
    wrong = {
        "what": "The model is in use.",
        "cause": "By x.",
        "next_step": "`finetui azure undeploy x` first.",
    }
    worker.answers["sweep_delete"] = Chunks(
        [{"key": "model tone-1a:1", "error": wrong}], {"deleted": 2, "failed": 1}
    )
    async with clean_up() as (app, pilot):
        await press(pilot, "a")
        await shown(pilot, "3 marked")
        await press(pilot, "y")
        assert app.clipboard.splitlines()[0] == "endpoint tone-live  0.80 USD an hour, used or not"
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await shown(pilot, "x on x on Endpoints first.")
        await until(
            pilot, lambda: worker.ops().count("sweep") == 3
        )  # before the question, and after the deletion
        await press(pilot, "escape a a")
        await shown(pilot, "0 marked")
