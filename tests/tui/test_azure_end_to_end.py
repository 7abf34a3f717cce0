"""The whole way in the app, on the loopback Azure: sign in, check, choose, train, deploy, talk, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core.azure import account as accounts
from core.azure import record
from core.recipe import build
from core.runs import attaching, worker
from core.runs.directory import RunDirectory
from tests.azure_emulator import azurite, emulator
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.entra import PERSON_NAME
from tests.azure_emulator.state import CLIENT, SECRET, Settings
from tests.core.azure.support import leaks
from tests.tui import driving
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_azure import open_page, rows, toasts
from tests.tui.test_train import screen_of
from tui.app import FinetuiApp
from tui.screens.azure_dialogs import DeployDialog
from tui.screens.chat import ChatScreen
from tui.screens.monitor import MonitorScreen
from tui.widgets.dialogs import Choose, Confirm
from tui.widgets.signin import SignIn


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A loopback Azure with Azurite, this process and its children led to it."""
    if azurite.missing():
        pytest.skip(azurite.missing())
    with emulator.running(settings=Settings(seconds_per_status=0.1, running_seconds=1.0)) as running:
        for name, value in {
            **running.environment,
            **running.service_principal,
            "FINETUI_AZURE_POLL_S": "0.2",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(
            driving, "TRIES", 6000
        )  # processes start on the way, each with the packages of Azure
        yield running


@pytest.mark.slow
async def test_from_sign_in_to_clean_up(azure: Emulator, tmp_path: Path, home: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()

    def picture(name: str) -> None:
        (pictures / f"{name}.svg").write_text(app.export_screenshot() + screen_text(pilot), encoding="utf-8")

    app = FinetuiApp(mode="train")
    async with app.run_test(size=(120, 40)) as pilot:
        # sign in: with one subscription, one group and one project nothing else is to be chosen
        await open_page(pilot)
        await press(pilot, "i")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "g j j enter")
        await shown(pilot, f"group {azure.resource_group} · project {azure.workspace} in {azure.region}")
        await shown(pilot, f"Service principal, signed in as {CLIENT} · tenant {azure.tenant}")
        await shown(pilot, "Azure tells no quota")
        await shown(pilot, "○ optional  AI services")
        for line in ("Sign-in", "Subscription", "Resource group", "Your role", "Region", "Storage"):
            assert f"✓ ok        {line}" in screen_text(pilot)
        assert "✗" not in screen_text(pilot) and "! emulator" in screen_text(pilot)
        picture("checklist")

        # choose a model, name the rows, start after the price
        await press(pilot, "tab")
        await shown(pilot, "Phi-4-mini-instruct")
        await press(pilot, "j")
        await shown(pilot, "3.00 USD for a million tokens")
        await press(pilot, "enter")
        await until(pilot, lambda: app.screen is screen_of(app))
        screen_of(app)._form.go_to("data")
        await press(pilot, "enter")
        await type_text(pilot, str(rows(tmp_path)))
        await press(pilot, "enter")
        await until(pilot, lambda: "Phi-4-mini-instruct FT Training Tokens" in screen_of(app)._plan.plain)
        await press(pilot, "s")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        picture("price")
        await press(pilot, "y")
        await shown(pilot, "Azure (emulator): phi-4-mini-instruct")
        await shown(pilot, "d on Runs deploys it")
        assert len(azure.state.jobs) == 1
        picture("monitor")

        # deploy it
        await press(pilot, "2 z tab tab tab")
        await shown(pilot, "d deploys a tuned model.")
        await press(pilot, "d")
        await until(pilot, lambda: isinstance(app.screen, DeployDialog))
        await shown(pilot, "0.80 USD an hour")
        await type_text(pilot, "tone-live")
        await press(pilot, "enter enter")
        await shown(pilot, "1 endpoint charged by the hour, used or not: 0.80 USD/h, 19.20 USD a day")
        await shown(pilot, "● Online")
        assert list(azure.state.endpoints) == ["tone-live"]
        secrets = [SECRET, *azure.state.endpoints["tone-live"].keys.values()]
        picture("endpoints")

        # talk to it
        await press(pilot, "c")
        await until(pilot, lambda: app.current_mode == "chat")
        await shown(pilot, "Type a message")
        await shown(pilot, "! emulator   temperature")
        if not app.screen.query_one("#message").has_focus:
            await press(pilot, "i")
        await type_text(pilot, "anybody there")
        await press(pilot, "enter")
        await until(pilot, lambda: screen_text(pilot).count("anybody there") > 1, "an echo")
        picture("chat")
        await press(pilot, "escape")

        # a model in use stays; endpoint, model, rows and job go together
        await press(pilot, "2 tab")
        await shown(pilot, "in use by tone-live")
        await press(pilot, "j space x")
        await shown(pilot, "The endpoint tone-live serves it.")
        await press(pilot, "escape left_square_bracket")
        await shown(pilot, "▌ tone-live")
        await press(pilot, "x y")
        await until(pilot, lambda: "tone-live is deleted and no longer charged." in toasts(app))
        await press(pilot, "tab")
        await shown(pilot, "Made by finetui  3")
        await press(pilot, "a x")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: "3 deleted in Azure." in toasts(app))
        await shown(pilot, "Nothing of finetui's is in this project.")
        picture("clean-up")
    files = [path for folder in (home, pictures) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 6 + 8
    assert leaks(files, secrets) == []
    project = azure.project
    assert not (
        azure.state.endpoints
        or azure.state.jobs
        or any(project.models.values())
        or any(project.data.values())
    )
    assert azure.schema_errors == []


def sent_from_elsewhere(azure: Emulator, folder: Path) -> str:
    """A job that another machine's finetui has sent and watched; returns its name."""
    with pytest.MonkeyPatch.context() as there:
        there.setenv("FINETUI_HOME", str(folder / "elsewhere"))
        place = (azure.subscription, azure.resource_group, azure.workspace, azure.region)
        accounts.save(accounts.Account("service_principal", azure.tenant, *place))
        content = {"model": "phi-4-mini-instruct", "data": str(rows(folder)), "backend": "azure", "epochs": 2}
        run = RunDirectory.create(build(content), "far")
        assert worker.run(run.path) == 0
        known = record.read(run.path)
        assert known is not None
        return known.job


async def type_code(pilot: Pilot[Any], azure: Emulator, panel: Callable[[], SignIn]) -> None:
    """Wait for a code on the screen and type it where it belongs."""
    await until(pilot, lambda: panel().code)
    azure.entra.approve(panel().code)
    await until(pilot, lambda: not panel().code)


@pytest.mark.slow
async def test_a_job_of_another_machine_is_attached_and_talked_to_by_device_code(
    azure: Emulator, tmp_path: Path
) -> None:
    job = sent_from_elsewhere(azure, tmp_path)
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(120, 40)) as pilot:
        page = await open_page(pilot)
        await shown(pilot, "Service principal, signed in")
        await press(pilot, "i")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "g j enter")
        await type_code(pilot, azure, lambda: page.sign_in_panel)
        await shown(pilot, f"Device code, signed in as {PERSON_NAME}")
        await shown(pilot, "nothing is missing; unknown: Quota")

        # its job becomes a run here, which signs in by a code of its own
        await press(pilot, "tab tab")
        await shown(pilot, "no run yet: enter makes one")
        await press(pilot, "enter")
        await until(pilot, lambda: app.current_mode == "monitor")
        monitor = app.screen
        assert isinstance(monitor, MonitorScreen)
        await until(pilot, lambda: monitor.row is not None)
        await type_code(pilot, azure, lambda: monitor.sign_in)
        await shown(pilot, "done: 20 steps")
        await press(pilot, "4")
        await shown(pilot, "c chat   d deploy")
        assert len(azure.state.jobs) == 1 and attaching.by_job().keys() == {job}

        # deployed from the list, by the sign-in of the pages, and talked to by one of the chat's own
        await press(pilot, "d")
        await until(pilot, lambda: isinstance(app.screen, DeployDialog))
        await shown(pilot, "0.80 USD an hour")
        await type_text(pilot, "far-live")
        await press(pilot, "enter enter")
        await shown(pilot, "● Online")
        await press(pilot, "4 c")
        await until(pilot, lambda: app.current_mode == "chat")
        chat = app.screen
        assert isinstance(chat, ChatScreen)
        await type_code(pilot, azure, lambda: chat.sign_in)
        await until(pilot, lambda: not chat.busy)
        if not chat.message.has_focus:
            await press(pilot, "i")
        await type_text(pilot, "anybody there")
        await press(pilot, "enter")
        await until(pilot, lambda: screen_text(pilot).count("anybody there") > 1, "an echo")
        await press(pilot, "escape")

        # its rows are a data asset, and so the rows of the next run
        await press(pilot, "2 escape")
        await until(pilot, lambda: app.screen is screen_of(app))
        screen_of(app).use_model("phi-4-mini-instruct")
        await press(pilot, "a")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "enter")
        await shown(pilot, "data                   azureml:finetui-")
        await until(pilot, lambda: "12 rows" in toasts(app))
    assert azure.schema_errors == []
