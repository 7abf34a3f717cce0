"""A chat with an endpoint of the emulator says so; one that is not in Azure doesn't."""

from __future__ import annotations

import pytest

from core.serving.targets import Target
from tests.tui.chatting import FakeClient, screen_of
from tests.tui.driving import screen_text, shown
from tui.app import FinetuiApp


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_the_chat_says_emulator_where_a_side_is_in_azure(
    client: FakeClient, made: list[Target], monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setenv("FINETUI_AZURE_NOTE", "emulator")
    app = FinetuiApp(mode="chat")
    async with app.run_test(size=size) as pilot:
        await shown(pilot, "A  done-one")
        assert "emulator" not in screen_text(pilot)  # both are on this machine
        screen_of(app).choose_side("B", "azure:tone-live")
        await shown(pilot, "! emulator")


async def test_the_real_azure_needs_no_word(
    client: FakeClient, made: list[Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FINETUI_AZURE_NOTE", raising=False)
    app = FinetuiApp(mode="chat")
    async with app.run_test(size=(100, 30)) as pilot:
        await shown(pilot, "A  done-one")
        screen_of(app).choose_side("B", "azure:tone-live")
        await shown(pilot, "tone-live")
        assert "! " not in screen_text(pilot)
