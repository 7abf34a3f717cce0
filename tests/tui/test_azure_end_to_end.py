"""The whole way in the app, on the loopback Azure: sign in, check, choose, train, deploy, talk, delete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure_emulator import azurite, emulator
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.state import SECRET, Settings
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_azure import open_page, rows, toasts
from tests.tui.test_train import screen_of
from tui.app import FinetuiApp
from tui.screens.azure_dialogs import DeployDialog
from tui.widgets.dialogs import Choose, Confirm


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
        yield running


@pytest.mark.slow
async def test_from_sign_in_to_clean_up(azure: Emulator, tmp_path: Path) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(120, 40)) as pilot:
        # sign in: with one subscription, one group and one project nothing else is to be chosen
        await open_page(pilot)
        await shown(pilot, "None is chosen.")
        await press(pilot, "i")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "g j j enter")
        await shown(pilot, f"group {azure.resource_group} · project {azure.workspace} in {azure.region}")
        await shown(pilot, f"Service principal, signed in · tenant {azure.tenant}")
        await shown(pilot, "Azure tells no quota")
        for line in ("Sign-in", "Subscription", "Resource group", "Your role", "Region", "Storage"):
            assert f"✓ ok        {line}" in screen_text(pilot)
        assert "✗" not in screen_text(pilot) and "! emulator" in screen_text(pilot)

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
        await press(pilot, "y")
        await shown(pilot, "Azure (emulator): phi-4-mini-instruct")
        await shown(pilot, "d on Endpoints")
        assert len(azure.state.jobs) == 1

        # deploy it
        await press(pilot, "2 z tab tab")
        await shown(pilot, "d deploys a tuned model.")
        await press(pilot, "d")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, DeployDialog))
        await shown(pilot, "0.80 USD an hour")
        await type_text(pilot, "tone-live")
        await press(pilot, "enter enter")
        await shown(pilot, "1 endpoint charged by the hour, used or not: 0.80 USD/h, 19.20 USD a day")
        await shown(pilot, "● Online")
        assert list(azure.state.endpoints) == ["tone-live"]

        # talk to it
        await press(pilot, "c")
        await until(pilot, lambda: app.current_mode == "chat")
        await shown(pilot, "Type a message")
        if not app.screen.query_one("#message").has_focus:
            await press(pilot, "i")
        await type_text(pilot, "anybody there")
        await press(pilot, "enter")
        await until(pilot, lambda: screen_text(pilot).count("anybody there") > 1, "an echo")
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
        await press(pilot, "a x y")
        await until(pilot, lambda: "3 deleted in Azure." in toasts(app))
        await shown(pilot, "Nothing of finetui's is in this project.")
        assert SECRET not in screen_text(pilot)
    project = azure.project
    assert not (
        azure.state.endpoints
        or azure.state.jobs
        or any(project.models.values())
        or any(project.data.values())
    )
    assert azure.schema_errors == []
