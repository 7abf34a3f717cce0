"""After a whole life in Azure no token, key, secret or signature lies in any file or log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.runs import worker
from core.runs.directory import RunDirectory
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.state import SECRET
from tests.core.azure.support import leaks, record, started


def finetui(*words: str, log: Path) -> str:
    """A command of its own; what it says goes to the log too."""
    code = "import sys; from tui.cli import main; sys.argv[0] = 'finetui'; main()"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, timeout=120, check=False)
    with log.open("ab") as file:
        file.write(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.slow
def test_nothing_secret_is_left_anywhere(
    azure: Emulator, new_run: Callable[..., RunDirectory], home: Path, tmp_path: Path
) -> None:
    azure.settings.training_steps = 2
    azure.faults.add("GET jobs", kind="server_error", times=3)
    log = tmp_path / "said.txt"
    run = new_run()
    process = started(run)
    assert process.wait(120) == 0
    finetui("azure", "deploy", run.id, "--name", "tone", "--yes", log=log)
    finetui("azure", "endpoints", "--json", log=log)
    finetui("azure", "jobs", "--json", log=log)
    finetui("azure", "logs", record(run).job, log=log)
    finetui("azure", "rotate", "tone", "--json", log=log)
    finetui("azure", "check", log=log)
    keys = list(azure.state.endpoints["tone"].keys.values())
    finetui("azure", "sweep", "--delete", "--yes", "--json", log=log)

    secrets = [*keys, os.environ["AZURE_CLIENT_SECRET"]]
    files = [path for path in (*home.rglob("*"), log) if path.is_file()]
    assert run.journal_path in files
    assert run.path / "azure.json" in files
    assert len(files) > 8
    assert leaks(files, secrets) == []
    assert [path for path in home.rglob("azure*.json") if path.stat().st_mode & 0o077] == []
    assert run.log_path.stat().st_mode & 0o077 == 0


def test_no_picture_of_the_app_shows_a_secret() -> None:
    pictures = sorted((Path(__file__).parents[3] / "screenshots").glob("*.svg"))
    assert len(pictures) > 8
    assert leaks(pictures, [SECRET]) == []


def test_the_record_of_a_run_is_plain_and_complete(
    azure: Emulator, new_run: Callable[..., RunDirectory]
) -> None:
    azure.settings.training_steps = 2
    run = new_run()
    assert worker.run(run.path) == 0
    content = json.loads((run.path / "azure.json").read_text(encoding="utf-8"))
    assert set(content["account"]) == {
        "identity",
        "tenant",
        "subscription",
        "resource_group",
        "project",
        "region",
    }
    assert content["registered"] == f"{content['output']}:1"
    assert content["studio"].startswith("https://")
