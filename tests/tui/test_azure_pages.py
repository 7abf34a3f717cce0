"""The Azure pages by plain keys: account, checklist, sign-in, with a worker that answers what the test chose."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input

from core.azure.account import Account
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_azure import (
    CHOSEN,
    GUID,
    Chunks,
    ScriptedWorker,
    account,
    endpoints,
    lines,
    open_page,
    refused,
    scripted_worker,
    toasts,
)
from tui.app import FinetuiApp
from tui.screens.train import TrainScreen
from tui.widgets.dialogs import Ask, Choose, Confirm, ErrorDialog

__all__ = ["scripted_worker"]

SIZE = (80, 24)


# every page


async def test_account_and_note_stand_on_every_page_and_esc_goes_back(worker: ScriptedWorker) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot)
        for title in ("Get ready", "Models", "Jobs", "Endpoints", "Clean up", "Get ready"):
            await shown(pilot, f"[{title}]")
            await shown(pilot, "Service principal, signed in")
            await shown(pilot, "group rg-one · project project-one in eastus2")
            assert "! emulator" in screen_text(pilot)
            await press(pilot, "tab")
        await shown(pilot, "[Models]")
        await press(pilot, "left_square_bracket left_square_bracket")
        await shown(pilot, "[Clean up]")
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(app.screen, TrainScreen))
        await press(pilot, "z")
        await shown(pilot, "[Get ready]")
        assert worker.ops().count("checklist") == 1 and worker.ops().count("sweep") == 2


async def test_what_azure_refuses_is_told_in_place_with_keys(worker: ScriptedWorker) -> None:
    worker.answers["endpoints"] = refused(
        "The list of endpoints: [/foo].", "Sign in again: `finetui azure login`."
    )
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot, 3)
        await shown(pilot, "The list of endpoints: [/foo].")
        await shown(pilot, "Sign in again: i on Get ready.")
        assert "Service principal, signed in" in screen_text(pilot)
        worker.answers["endpoints"] = endpoints()
        await press(pilot, "r")
        await shown(pilot, "tone-live")
        assert "[/foo]." not in screen_text(pilot)


async def test_a_sign_in_that_has_run_out_is_seen_by_the_first_refusal(worker: ScriptedWorker) -> None:
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot)
        await shown(pilot, "Service principal, signed in")
        worker.answers |= {
            "signed_in": {"signed_in": False, "what": "Nobody."},
            "endpoints": refused("The list: nobody is signed in.", "Sign in with the code that is shown."),
        }
        await press(pilot, "tab tab tab")
        await shown(pilot, "Sign in again: i on Get ready.")
        await shown(pilot, "Service principal, not signed in")


# get ready


async def test_lines_are_shown_as_they_come_and_the_first_that_is_missing_has_the_cursor(
    worker: ScriptedWorker,
) -> None:
    worker.gate.clear()
    worker.answers["checklist"] = Chunks(lines("missing"), {"ready": False})
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot)
        await shown(pilot, "✗ missing   Microsoft.Network")
        assert "checking ..." in screen_text(pilot)
        worker.gate.set()
        await shown(pilot, "Get ready   2 to do")
        await shown(pilot, "enter registers it: free, some minutes")
        assert "Lab ␛[31m[/foo] is enabled" in screen_text(pilot)
        await press(pilot, "v")
        await shown(pilot, "means    Azure's networks.")
        await press(pilot, "escape")
        await shown(pilot, "Get ready   2 to do")


async def test_a_provider_is_registered_after_a_question_and_everything_is_checked_again(
    worker: ScriptedWorker,
) -> None:
    worker.answers["checklist"] = Chunks(lines("missing"), {"ready": False})
    worker.answers["fix"] = Chunks([{"text": "Registering"}], account())
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot)
        await shown(pilot, "enter registers it")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, "Registering is free, takes some minutes")
        await press(pilot, "enter")  # the safe answer has the focus
        await until(pilot, lambda: not isinstance(app.screen, Confirm))
        assert "fix" not in worker.ops()
        worker.gate.clear()
        await press(pilot, "enter y")
        await shown(pilot, "registering Microsoft.Network: Registering")
        assert "enter Fix" not in screen_text(pilot)
        worker.answers["checklist"] = Chunks(lines(), {"ready": False})
        worker.gate.set()
        await shown(pilot, "✓ ok        Microsoft.Network")
        assert worker.last("fix") == {"action": "register Microsoft.Network"}


async def test_a_device_code_is_shown_large_copied_and_given_up(worker: ScriptedWorker) -> None:
    code = {"url": "https://microsoft.com/devicelogin", "code": "GTHK2Q9XV"}
    device = account(replace(CHOSEN, identity="device_code"))
    worker.answers["sign_in"] = Chunks(
        [code], {"user": "ada@lab.org", "user_tenant": GUID.replace("1", "9"), **device}
    )
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot)
        await shown(pilot, "Get ready   1 to do")
        worker.gate.clear()
        await press(pilot, "i")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "g j enter")
        await shown(pilot, "▄▀▀▀▀ ▀▀█▀▀ █   █ █ ▄▀")
        await shown(pilot, "Open https://microsoft.com/devicelogin in any browser")
        await shown(pilot, "no token yet")
        await press(pilot, "y")
        assert app.clipboard == "GTHK2Q9XV"
        await press(pilot, "tab")
        await shown(pilot, "[Models]")
        await shown(pilot, "GTHK2Q9XV")
        await press(pilot, "left_square_bracket x")
        await until(pilot, lambda: worker.cancelled == ["sign_in"])
        await until(pilot, lambda: "GTHK2Q9XV" not in screen_text(pilot))
        await shown(pilot, "Service principal, signed in")  # asked again: what the worker says holds
        worker.answers["account"] = device
        await press(pilot, "i")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "g j enter")
        await shown(pilot, "GTHK2Q9XV")
        worker.gate.set()
        await shown(pilot, "Device code, signed in")
        await until(pilot, lambda: any("Signed in as ada@lab.org" in text for text in toasts(app)))
        await shown(pilot, "signed in as ada@lab.org · tenant 99999999…")
        assert worker.last("sign_in") == {"identity": "device_code"}


async def test_a_failed_sign_in_is_told_and_the_page_says_that_there_is_no_token(
    worker: ScriptedWorker,
) -> None:
    why = {"signed_in": False, "code": "x", "what": "Signing in: no az.", "cause": "", "next_step": ""}
    worker.answers |= {"signed_in": why, "sign_in": refused("Signing in: no az.")}
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot)
        await shown(pilot, "✗ missing   Sign-in")
        assert "checklist" not in worker.ops() and "c Choose" not in screen_text(pilot)
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await press(pilot, "escape")
        await shown(pilot, "Service principal, not signed in")
        await press(pilot, "tab")
        await shown(pilot, "The registry is asked with your sign-in.")


async def test_after_signing_in_what_there_is_but_one_of_is_chosen(worker: ScriptedWorker) -> None:
    fresh = Account("azure_cli")
    worker.answers |= {
        "account": account(fresh),
        "signed_in": {"signed_in": False, "what": "Nobody."},
        "sign_in": {"user": "ada@lab.org", "user_tenant": "lab.org", **account(fresh)},
        "subscriptions": [{"id": GUID, "name": "Lab", "state": "Enabled", "tenant": "lab.org"}],
        "choose": account(replace(fresh, subscription=GUID)),
        "groups": [{"name": "one", "region": "eastus2"}, {"name": "two", "region": "westus3"}],
    }
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot)
        await shown(pilot, "subscription not chosen")
        await press(pilot, "i")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(
            pilot, "g enter tab left_square_bracket"
        )  # what follows is for the page that is there then
        await shown(pilot, "subscription 11111111…")
        await shown(pilot, "Azure CLI, signed in as ada@lab.org · tenant lab.org")
        await until(pilot, lambda: "checklist" in worker.ops())
        assert [op for op in worker.ops() if op in ("choose", "projects")] == [
            "choose"
        ]  # two groups: not for it to say
        await press(pilot, "c")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "enter")
        await shown(pilot, "a new one ...")
        worker.answers["choose"] = account(replace(fresh, subscription=GUID, resource_group="two"))
        worker.answers["projects"] = []
        await press(pilot, "j enter")
        await shown(pilot, "group two")
        assert worker.last("choose") == {"resource_group": "two"}
        assert worker.asked[worker.ops().index("choose")][1] == {"subscription": GUID, "tenant": "lab.org"}


async def test_a_project_is_made_with_its_hub_after_what_they_cost(worker: ScriptedWorker) -> None:
    bare = replace(CHOSEN, project="", region="")
    worker.answers |= {
        "account": account(bare),
        "projects": [],
        "ai_services": [],
        "fix": Chunks([{"text": "Azure makes the hub lab-hub"}], account()),
    }
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot)
        await shown(pilot, "project not chosen")
        await press(pilot, "c")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await press(pilot, "enter")  # the first that is missing
        await shown(pilot, "a new one ...")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, "lab")
        await press(pilot, "enter")
        await shown(pilot, "Name of its hub")
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.value == "lab-hub")
        await press(pilot, "enter")
        await shown(pilot, "tunes phi-4")
        await press(pilot, "enter")
        await shown(pilot, "fine-tuning needs none")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await shown(pilot, "Make the hub lab-hub and the project lab in eastus2?")
        await shown(pilot, "mostly cents a month")
        await shown(pilot, "No AI services are connected.")
        await press(pilot, "y")
        await shown(pilot, "project project-one in eastus2")
        assert worker.last("fix") == {
            "action": "create_project", "name": "lab", "hub": "lab-hub", "region": "eastus2", "ai_services": "",
        }  # fmt: skip


# the process


def test_the_pages_import_nothing_of_azure(home: Path) -> None:
    code = """
import asyncio, sys
from tests.tui import made_azure
from tui import azurework
from tui.app import FinetuiApp
scripted = made_azure.ScriptedWorker()
azurework.new_worker = lambda: scripted
async def main():
    app = FinetuiApp(mode="train")
    async with app.run_test(size=(120, 40)) as pilot:
        page = await made_azure.open_page(pilot)
        for key in ("tab", "tab", "tab", "tab", "escape", "b"):
            await pilot.press(key)
            await pilot.pause(0.3)
asyncio.run(main())
heavy = ("azure", "msal", "openai", "torch", "transformers", "pyarrow", "mlflow", "httpx")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


async def test_closing_ends_the_workers(worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    monkeypatch.setattr(worker, "close", close)
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await open_page(pilot)
        await press(pilot, "q")
    assert closed.is_set()
