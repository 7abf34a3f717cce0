"""Azure AI services on the pages: with a new hub, from their line of the checklist, in the clean-up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.widgets import Input

from core.azure.ai_services import Account
from core.azure.readiness import Line
from core.azure.sweep import IN_USE, OTHERS_TOO, Thing
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_azure import (
    CHOSEN,
    Chunks,
    ScriptedWorker,
    account,
    lines,
    open_page,
    plain,
    scripted_worker,
)
from tui.app import FinetuiApp
from tui.widgets.dialogs import Ask, Choose, Confirm

__all__ = ["scripted_worker"]

SIZE = (80, 24)
THERE = [plain(Account("speech-one", "/subscriptions/x/speech-one", "westus3"))]
FIX = "connect_ai_services"


def offered() -> Chunks:
    """A checklist of what is there, and AI services, which are not."""
    line = Line(
        "ai_services",
        "AI services",
        "optional",
        "Not needed: the hub is connected to none.",
        "Speech.",
        fix=FIX,
    )
    return Chunks([lines()[0], plain(line)], {"ready": True})


async def test_the_checklists_line_connects_an_account_after_a_question(worker: ScriptedWorker) -> None:
    worker.answers |= {
        "checklist": offered(),
        "ai_services": THERE,
        "fix": Chunks([{"text": "speech-one is connected"}], account()),
    }
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot)
        await shown(pilot, "optional  AI services")
        assert "to do" not in screen_text(pilot)
        await press(pilot, "G")
        await shown(pilot, "enter connects an account to the hub")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await shown(pilot, "westus3")
        assert "fine-tuning needs none" not in screen_text(pilot)  # the line itself may be left alone
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, "Connect the AI services account speech-one")
        await shown(pilot, "cost nothing until they are used")
        await press(pilot, "n")
        assert "fix" not in worker.ops()
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: "fix" in worker.ops())
        assert worker.last("fix") == {"action": FIX, "ai_services": "speech-one"}


@pytest.mark.parametrize("typed", ["", "speech-two"])
async def test_a_new_account_comes_with_a_new_hub(worker: ScriptedWorker, typed: str) -> None:
    worker.answers |= {
        "account": account(replace(CHOSEN, project="", region="")),
        "projects": [],
        "ai_services": THERE,
        "fix": Chunks([{"text": "Azure makes the hub lab-hub"}], account()),
    }
    name = typed or "lab-ai"
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(100, 30)) as pilot:
        await open_page(pilot)
        await shown(pilot, "project not chosen")
        await press(pilot, "c enter")
        await shown(pilot, "a new one ...")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, "lab")
        await press(pilot, "enter")
        await shown(pilot, "Name of its hub")
        await press(pilot, "enter")
        await shown(pilot, "tunes phi-4")
        await press(pilot, "enter")
        await shown(pilot, "fine-tuning needs none")
        await press(pilot, "j j enter")
        await shown(pilot, "the only one in the world")
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.value == "lab-ai")
        if typed:
            await type_text(pilot, typed)
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, f"{name} is connected")
        await press(pilot, "y")
        await until(pilot, lambda: "fix" in worker.ops())
        assert worker.last("fix")["ai_services"] == name


async def test_escape_at_the_question_makes_nothing(worker: ScriptedWorker) -> None:
    worker.answers |= {"checklist": offered(), "ai_services": []}
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot)
        await shown(pilot, "Not needed")
        await press(pilot, "G enter")
        for _ in range(2):
            await until(pilot, lambda: isinstance(app.screen, Choose))
            await press(pilot, "enter")
            await until(pilot, lambda: isinstance(app.screen, Ask))
            await press(pilot, "escape")
            await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "escape")
        assert "fix" not in worker.ops()


async def test_hubs_projects_and_accounts_stay_in_the_clean_up_with_a_reason(worker: ScriptedWorker) -> None:
    made = [
        Thing("project", "lab", stays=OTHERS_TOO),
        Thing("hub", "lab-hub", stays=OTHERS_TOO),
        Thing("ai_services", "speech-one", cost="nothing until it is used, then by the call", stays=IN_USE),
    ]
    worker.answers["sweep"] = {"things": [plain(item, key=item.key) for item in made], "not_listed": []}
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(120, 40)) as pilot:
        await open_page(pilot, 4)
        await shown(pilot, "Made by finetui  3   0 marked")
        for title in ("Projects", "Hubs", "AI services accounts"):
            assert title in screen_text(pilot)
        await press(pilot, "a j j")
        await shown(pilot, "ai services speech-one")
        await shown(pilot, "costs    nothing until it is used, then by the call")
        await shown(pilot, "A hub is connected to it")
        assert "0 marked" in screen_text(pilot)
