"""Deploying from the app: the dialog, the command it starts, how it is told, and the key that is shown once.

The command is played by a small script, so that nothing is merged or served here.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core import paths
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_deployments import CHECK, make_deployment, served
from tests.tui.made_runs import T0, make_run, some_runs
from tui import deploying
from tui.app import FinetuiApp
from tui.deploying import Deploys, Made, Offer, Order, offer, read_failure
from tui.screens.deployments import DeploymentsScreen
from tui.screens.runs import RunsScreen
from tui.widgets.deploydialog import DeployDialog, KeyDialog
from tui.widgets.dialogs import Confirm, ErrorDialog

SIZES = [(80, 24), (160, 45)]
sizes = pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x45"])
KEY = "ft-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
MADE = {
    "name": "done-one", "url": "http://127.0.0.1:8100/v1", "key": KEY,
    "settings": {"regression": {"done-one": CHECK}},
}  # fmt: skip

SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
here = Path({folder!r})
def put(name, text):
    (here / f".{{name}}").write_text(text); (here / f".{{name}}").rename(here / name)
put("words", json.dumps(sys.argv[1:]))
put("pid", str(os.getpid()))
put("session", str(os.getsid(0)))
def say(text):
    print(text, file=sys.stderr, flush=True)
say("done-one: merging [/x] \\x1b[31m ...")
try:
    while not (here / "go").exists():
        time.sleep(0.02)
except KeyboardInterrupt:
    put("interrupted", "")
    raise SystemExit(130)
{end}
"""


class Command:
    """Plays `finetui deploy`.

    Args:
        folder: where it writes what it was given, and waits for `go`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ends_with(self, code: str) -> tuple[str, ...]:
        """The command, which does this once it may go on."""
        return (sys.executable, "-c", SCRIPT.format(folder=str(self.folder), end=code))

    def go(self) -> None:
        (self.folder / "go").touch()

    @property
    def words(self) -> list[str]:
        found: list[str] = json.loads((self.folder / "words").read_text())
        return found

    @property
    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def gone(self) -> bool:
        """Whether it has ended; a zombie has."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    folder = tmp_path / "command"
    folder.mkdir()
    made = Command(folder)
    monkeypatch.setattr(
        deploying, "COMMAND", made.ends_with(f"print({json.dumps(json.dumps(MADE))}, flush=True)")
    )
    return made


async def dialog_of(pilot: Pilot[Any]) -> DeployDialog:
    """Open the dialog for the newest run."""
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, RunsScreen)
    await until(pilot, lambda: screen.chosen() is not None)
    await press(pilot, "d")
    await until(pilot, lambda: isinstance(pilot.app.screen, DeployDialog) and pilot.app.focused is not None)
    dialog = pilot.app.screen
    assert isinstance(dialog, DeployDialog)
    return dialog


# The dialog


@sizes
async def test_what_is_chosen_is_what_the_command_says(
    command: Command, size: tuple[int, int], tmp_path: Path
) -> None:
    some_runs()
    patterns = tmp_path / "patterns.txt"
    patterns.write_text("a secret\n")
    async with FinetuiApp().run_test(size=size) as pilot:
        await dialog_of(pilot)
        await shown(pilot, "finetui deploy done-one --name done-one")
        await type_text(pilot, "support")
        await press(pilot, "tab")
        await type_text(pilot, "8111")
        await press(pilot, "tab space")
        await shown(pilot, "block list")
        await press(pilot, "tab")
        await type_text(pilot, str(patterns))
        await press(pilot, "tab space tab space tab space")
        await shown(pilot, "--skip-check")
        await press(pilot, "enter")
        await until(pilot, (command.folder / "words").exists)
        command.go()
        await until(pilot, lambda: isinstance(pilot.app.screen, KeyDialog))
    assert command.words == [
        "deploy", "done-one", "--name", "support", "--with-base", "--port", "8111", "--safety", str(patterns),
        "--keep-texts", "--skip-check", "--json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "text", "says"),
    [
        ("name", "No Such", "A name has up to 40"),
        ("name", "taken", "There is a deployment 'taken' already"),
        ("port", "70000", "is no port"),
        ("port", "-1", "is no port"),
    ],
)
async def test_what_won_t_do_is_said_in_the_dialog(
    command: Command, field: str, text: str, says: str
) -> None:
    some_runs()
    make_deployment("taken")
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        dialog = await dialog_of(pilot)
        dialog.query_one(f"#deploy-{field}").focus()
        await pilot.pause()
        await type_text(pilot, text)
        await press(pilot, "enter")
        await shown(pilot, says)
        assert pilot.app.screen is dialog
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
    assert not (command.folder / "words").exists()


async def test_a_guard_is_one_of_the_models_that_are_served(command: Command) -> None:
    some_runs()
    make_deployment("watcher", models=(served("guard-model"),))
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await dialog_of(pilot)
        for key in ("tab", "tab", "left"):
            await press(pilot, key)
        await shown(pilot, "watcher/guard-model")
        await shown(pilot, "guard:watcher/guard-model")


def test_the_name_offered_is_free(home: Path) -> None:
    from core.runs import supervisor

    make_run("My Run [/x]", run_id="run-1")
    row = supervisor.get("run-1")
    assert offer(row).name == "my-run-x"
    make_deployment("my-run-x")
    make_deployment("my-run-x-2")
    assert offer(row).name == "my-run-x-3"
    assert offer(row).taken == {"my-run-x", "my-run-x-2"}


async def test_a_run_without_a_model_has_no_deploy(home: Path) -> None:
    make_run("nothing-yet", created=T0 + 999)
    async with FinetuiApp().run_test(size=(160, 45)) as pilot:
        await shown(pilot, "nothing-yet")
        await press(pilot, "d")
        assert isinstance(pilot.app.screen, RunsScreen)
        assert "d Deploy " not in screen_text(pilot)


async def test_n_on_the_page_of_deployments_asks_for_the_run(command: Command) -> None:
    some_runs()
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await shown(pilot, "done-one")
        await press(pilot, "D")
        await shown(pilot, "No deployments yet.")
        await press(pilot, "n")
        await shown(pilot, "Deploy the model of")
        await press(pilot, "enter")
        await shown(pilot, "finetui deploy done-one")
        await press(pilot, "enter")
        await shown(pilot, "deploying done-one: merging")
        command.go()
        await until(pilot, lambda: isinstance(pilot.app.screen, KeyDialog))


# How it goes


async def test_progress_is_told_and_the_key_shown_once_and_kept_nowhere(command: Command, home: Path) -> None:
    some_runs()
    app = FinetuiApp()
    async with app.run_test(size=(160, 45)) as pilot:
        await dialog_of(pilot)
        await press(pilot, "enter")
        await shown(pilot, "deploying done-one: merging [/x] ␛[31m")
        assert int((command.folder / "session").read_text()) == command.pid  # a session of its own
        await press(pilot, "D")
        await until(pilot, lambda: isinstance(app.screen, DeploymentsScreen))
        await shown(pilot, "deploying done-one")
        command.go()
        await until(pilot, lambda: isinstance(app.screen, KeyDialog))
        await shown(pilot, KEY)
        await shown(pilot, "Tuning weakened its refusals")
        await press(pilot, "y")
        assert app.clipboard == KEY
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(app.screen, DeploymentsScreen))
        assert KEY not in screen_text(pilot)
        assert "deploying" not in screen_text(pilot)
    kept = [path for path in home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert kept == []
    log = paths.logs_dir() / "deploy-done-one.log"
    assert log.stat().st_mode & 0o777 == 0o600
    assert KEY not in repr(Made("a", "b", KEY, ()))


async def test_an_error_is_shown_in_its_three_parts(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = r"say('finetui: No [/room].\n  Cause: full,\nreally\n  Next:  Free some.'); raise SystemExit(2)"
    monkeypatch.setattr(deploying, "COMMAND", command.ends_with(code))
    command.go()
    some_runs()
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await dialog_of(pilot)
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        dialog = pilot.app.screen
        assert isinstance(dialog, ErrorDialog)
        assert dialog.error.as_dict() == {
            "what": "No [/room].", "cause": "full,\nreally", "next_step": "Free some.",
        }  # fmt: skip
        await press(pilot, "escape")
        assert "deploying" not in screen_text(pilot)


def test_last_words_without_an_error_are_told_as_they_are(tmp_path: Path) -> None:
    error = read_failure("Traceback\nMemoryError\n", tmp_path / "log")
    assert error.cause == "MemoryError"
    assert str(tmp_path / "log") in error.next_step
    assert read_failure("", tmp_path / "log").cause == "It said nothing."


@pytest.mark.usefixtures("interruptible")
async def test_a_second_d_offers_to_give_it_up(command: Command) -> None:
    some_runs()
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await dialog_of(pilot)
        await press(pilot, "enter")
        await shown(pilot, "merging")
        await press(pilot, "d")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, (command.folder / "interrupted").exists)
        await until(pilot, lambda: "deploying" not in screen_text(pilot))
        assert isinstance(pilot.app.screen, RunsScreen)


async def test_it_goes_on_when_the_app_is_closed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "say('going on'); put('finished', '')"  # nobody reads the pipe for the key any more
    monkeypatch.setattr(deploying, "COMMAND", command.ends_with(code))
    some_runs()
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await dialog_of(pilot)
        await press(pilot, "enter")
        await shown(pilot, "merging")
    assert not command.gone()
    command.go()
    for _ in range(1500):
        if (command.folder / "finished").exists() and command.gone():
            break
        time.sleep(0.02)
    assert (command.folder / "finished").exists()


async def test_one_at_a_time(command: Command) -> None:
    deploys = Deploys()
    async with FinetuiApp().run_test() as pilot:
        deploys.begin(Order("a", "first"), pilot.app)  # type: ignore[arg-type]
        deploys.begin(Order("b", "second"), pilot.app)  # type: ignore[arg-type]
        await until(pilot, (command.folder / "words").exists)
        assert command.words[:4] == ["deploy", "a", "--name", "first"]
        assert deploys.name == "first"
        os.kill(command.pid, signal.SIGKILL)
        await until(pilot, lambda: deploys.name == "")


def test_the_command_is_one_that_finetui_knows() -> None:
    from typer.testing import CliRunner

    from tui.cli import build

    order = Order("run-1", "a", True, 8100, "azure", True, False)
    helped = CliRunner().invoke(build(), ["deploy", "--help"], env={"COLUMNS": "200"})
    assert helped.exit_code == 0
    assert all(word in helped.output for word in order.words() if word.startswith("--"))
    assert order.command() == (
        "finetui deploy run-1 --name a --with-base --port 8100 --safety azure --keep-texts --skip-check"
    )


# Pictures


@sizes
def test_deploy_dialog(snap_compare: Any, size: tuple[int, int]) -> None:
    async def run(pilot: Pilot[Any]) -> None:
        await shown(pilot, "No runs yet.")
        pilot.app.push_screen(DeployDialog("support [/x]", "run-1", Offer("support", frozenset(), ())))
        await shown(pilot, "finetui deploy run-1 --name support")
        await shown(pilot, "[x] compare refusals")
        await shown(pilot, "Deploy support [/x]")

    assert snap_compare(FinetuiApp(), terminal_size=size, run_before=run)


@sizes
def test_key_dialog(snap_compare: Any, size: tuple[int, int]) -> None:
    note = "support: Refuses 4 of 12 harmful prompts, the base 11; of harmless ones 1, the base 0."

    async def run(pilot: Pilot[Any]) -> None:
        await shown(pilot, "No runs yet.")
        pilot.app.push_screen(KeyDialog(Made("support", "http://127.0.0.1:8100/v1", KEY, (note,))))
        await shown(pilot, KEY)
        await shown(pilot, "y copy the key")

    assert snap_compare(FinetuiApp(), terminal_size=size, run_before=run)
