"""What the keys of the deployments page do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.serving import deployments
from core.serving.settings import DeploymentError, digest, read_settings
from tests.tui.driving import press, shown, type_text, until
from tests.tui.made_deployments import entry, log_requests, make_deployment, served, three
from tests.tui.made_runs import T0
from tests.tui.test_deployments import opened
from tui.app import FinetuiApp
from tui.deployment_watch import write_requests
from tui.screens import deployments as screen_module
from tui.screens.deployments import DeploymentsScreen
from tui.widgets.deploydialog import KeyDialog
from tui.widgets.dialogs import Confirm, ErrorDialog

NOW = T0 + 60.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute after the newest deployment was made."""
    monkeypatch.setattr(screen_module, "now", lambda: NOW)


async def test_p_changes_the_period_and_the_list_says_so() -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(-90_000), entry(1)])
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        assert screen.table.rows_shown[0].cells["requests"] == "1"
        await press(pilot, "p")
        await shown(pilot, "requests of the last hour")
        await press(pilot, "p")
        await shown(pilot, "requests of all time")
        await until(pilot, lambda: screen.table.rows_shown[0].cells["requests"] == "2")
        await shown(pilot, "2 in all")


async def test_words_filter_the_list_and_escape_brings_it_back() -> None:
    three()
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "slash")
        await type_text(pilot, "failed phi")
        await shown(pilot, "Deployments  1 of 3")
        await press(pilot, "enter")
        await shown(pilot, "old-phi  ✗ failed")
        await press(pilot, "escape")
        await shown(pilot, "Deployments  3")


async def test_y_copies_the_address() -> None:
    three()
    app = FinetuiApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "y")
        assert app.clipboard == "http://127.0.0.1:8100/v1"


async def test_w_writes_the_request_log_for_this_user_alone(tmp_path: Path) -> None:
    three()
    out = tmp_path / "out.jsonl"
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "w")
        await shown(pilot, "Write the request log")
        await type_text(pilot, str(out))
        await press(pilot, "enter")
        await until(pilot, out.exists)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(1, 27))
    assert rows[22]["category"] == "Hate [/foo] \x1b[31m"
    assert out.stat().st_mode & 0o777 == 0o600


def test_a_log_longer_than_one_reading_is_written_whole(home: Path, tmp_path: Path) -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(number) for number in range(2500)])
    assert write_requests(directory, tmp_path / "out") == 2500
    assert len((tmp_path / "out").read_text().splitlines()) == 2500


async def test_another_key_is_shown_once_after_a_question(home: Path) -> None:
    directory = make_deployment("support-prod")
    before = read_settings(directory).key_sha256
    app = FinetuiApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "K")
        await shown(pilot, "Make another key for support-prod?")
        assert read_settings(directory).key_sha256 == before
        await press(pilot, "y")
        await until(pilot, lambda: isinstance(app.screen, KeyDialog))
        dialog = app.screen
        assert isinstance(dialog, KeyDialog)
        key = dialog.made.key
        await shown(pilot, key)
        await press(pilot, "enter q space")  # typed for something else: the key stays
        assert app.screen is dialog
        await press(pilot, "y")
        assert app.clipboard == key
        await press(pilot, "a")
        assert app.clipboard == "http://127.0.0.1:8100/v1"
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(app.screen, DeploymentsScreen))
    assert read_settings(directory).key_sha256 == digest(key)
    found = [path for path in home.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    assert found == []


async def test_remove_names_what_is_lost_and_no_is_the_safe_answer() -> None:
    directory = make_deployment("support-prod", models=(served("support-prod", folder=""),))
    (directory / "weights").write_bytes(bytes(5_000_000))
    make_deployment("asks", 60.0, safety={"kind": "guard", "deployment": "support-prod", "model": "m"})
    async with FinetuiApp().run_test(size=(80, 24), notifications=True) as pilot:
        await opened(pilot)
        await press(pilot, "x")
        await shown(pilot, "Remove support-prod?")
        await shown(pilot, "5.0 MB")
        await shown(pilot, "asks asks it about each text")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DeploymentsScreen))
        assert directory.exists()
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: not directory.exists())
        await shown(pilot, "Deployments  1")
        await press(pilot, "u")
        await shown(pilot, "Bring back which deployment?")
        await shown(pilot, "kept for 30 more days")
        await press(pilot, "enter")
        await until(pilot, directory.exists)
        await shown(pilot, "Deployments  2")
        await press(pilot, "u")
        await shown(pilot, "The trash is empty")


@pytest.mark.parametrize(("key", "verb"), [("s", "stop"), ("r", "restart")])
async def test_a_running_one_is_stopped_after_a_question(
    key: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(deployments, verb, lambda name: asked.append(name) or deployments.find(name))
    three_of = three()
    assert three_of
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, key)
        await shown(pilot, f"{verb.title()} support-prod?")
        await press(pilot, "n")
        await press(pilot, key)
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert asked == []
        await press(pilot, "y")
        await until(pilot, lambda: asked == ["support-prod"])


async def test_a_start_that_fails_is_told_in_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(name: str) -> None:
        raise DeploymentError("The gateway can't listen [/].", "Port 8101 is taken.", "Choose another.")

    monkeypatch.setattr(deployments, "start", start)
    make_deployment("support-test")
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await press(pilot, "a")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await shown(pilot, "The gateway can't listen [/].")
        await shown(pilot, "Choose another.")
        assert screen.busy == {}


async def test_c_opens_the_chat_with_the_chosen_model(monkeypatch: pytest.MonkeyPatch) -> None:
    talked: list[str] = []
    monkeypatch.setattr(FinetuiApp, "chat_with", lambda self, ref: talked.append(ref))
    three_of = three()
    assert three_of
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "c")
        await shown(pilot, "Talk to which model of support-prod?")
        await press(pilot, "j enter")
        await until(pilot, lambda: talked == ["deployment:support-prod/smollm2-135m"])
