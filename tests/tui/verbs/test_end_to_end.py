"""One run by commands alone, with real worker processes: train, pause, resume, finish, chat, delete, restore."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from core.runs import process, supervisor
from core.runs.directory import RunDirectory
from core.runs.journal import JournalReader
from tests.core.runs.conftest import workers
from tests.core.runs.support import ENDLESS, end_process, submit, until, working
from tests.tui.verbs.conftest import COMMAND, Finetui
from tui.verbs import follow

STEPS = 120

__all__ = ["workers"]  # a fixture of the tests of runs


@pytest.fixture
def no_worker_left(home: Path) -> object:
    yield
    for path in home.glob("data/*/*/worker.json"):
        worker = process.read_worker(RunDirectory(path.parent))
        if worker is not None and worker.identity.alive():
            end_process(worker.identity.pid)


@pytest.mark.usefixtures("no_worker_left")
def test_a_run_s_whole_life(
    finetui: Finetui,
    home: Path,
    rows: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Headless training follows its run in lines; relative names mean what they do in this directory.
    monkeypatch.chdir(tiny_model.parent)
    options = [
        "--name",
        "life",
        "--max-steps",
        str(STEPS),
        "--batch-size",
        "2",
        "--device",
        "cpu",
        "--rank",
        "4",
    ]
    options += ["--learning-rate", "1e-2", "--checkpoint-every", "1000", "--sample-prompts", "the lamp"]
    command = [*COMMAND, "train", os.path.relpath(rows), "--model", tiny_model.name, *options]
    environment = {**os.environ, "FINETUI_HOME": os.path.relpath(home)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as training:
        until(lambda: supervisor.list_runs() and supervisor.get("life").step >= 1 or training.poll())

        paused = finetui("pause", "life", "--json")
        assert paused.exit_code == 0, paused.stderr
        row = json.loads(paused.stdout)
        assert row["state"] == "paused", (row, supervisor.log_tail("life"))
        at = row["step"]
        assert 1 <= at < STEPS
        told, narrated = training.communicate(timeout=60)
        assert training.returncode == 0, narrated
        assert f"paused after step {at}" in told
        assert f"step {at}/{STEPS}  loss" in told
        assert f"Started {row['id']}" in narrated

    again = finetui("pause", "life")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "paused already" in again.stderr
    assert "finetui resume" in again.stderr

    # It goes on at the next step and finishes.
    assert finetui("resume", "life").exit_code == 0
    busy = finetui("delete", "life")
    assert busy.exit_code == 2
    assert "can't be deleted" in busy.stderr
    watched = finetui("watch", "life")
    assert watched.exit_code == 0, watched.stderr
    assert f"goes on after step {at}" in watched.stdout
    assert "finished in" in watched.stdout
    journal = JournalReader(supervisor.get("life").directory / "journal.jsonl").read()
    assert [event.step for event in journal if event.kind == "step"] == list(range(1, STEPS + 1))
    finished = finetui("pause", "life")
    assert finished.exit_code == 2
    assert "finetui chat" in finished.stderr

    # Both sides answer.
    chat = finetui("chat", "life", "--prompt", "the lamp glows", "-p", "ask again", "--max-tokens", "8")
    assert chat.exit_code == 0, chat.stderr
    lines = [line for line in chat.stdout.splitlines() if line]
    assert [line.split()[0] for line in lines] == [">", "base", "tuned"] * 2
    assert lines[1].split()[1:] != lines[2].split()[1:]
    assert "loading phi3" in chat.stderr

    # Deleted and back, with everything.
    assert finetui("delete", "life").exit_code == 0
    assert finetui("chat", "life", "-p", "x").exit_code == 2
    assert finetui("restore", "life").exit_code == 0
    assert json.loads(finetui("runs", "--json").stdout)[0]["state"] == "finished"
    directory = supervisor.get("life").directory
    assert (directory / "model" / "adapter_model.safetensors").exists()
    assert not list(directory.rglob("home"))  # the worker, at work there, took the home for the same folder


@pytest.mark.usefixtures("workers")
def test_ctrl_c_leaves_the_run_to_itself(
    finetui: Finetui, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(follow, "POLL_S", 0.0)
        patch.setattr(follow.time, "sleep", interrupted)
        result = finetui("watch", row.id)
    assert result.exit_code == 130
    assert f"finetui watch {row.id}" in result.stderr
    assert supervisor.get(row.id).active
    stopped = finetui("stop", row.id, "--json")
    assert stopped.exit_code == 0
    assert json.loads(stopped.stdout)["state"] == "stopped"
    again = finetui("stop", row.id)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "finetui resume" in again.stderr


@pytest.mark.usefixtures("workers")
def test_a_run_that_fails_ends_its_command_with_1(finetui: Finetui, tmp_path: Path) -> None:
    row = submit(tmp_path, sample_prompts=["fail:told"])
    result = finetui("watch", row.id)
    assert result.exit_code == 1
    assert "failed: Row 7 is too long." in result.stdout
    assert "Cut it." in result.stderr
    assert "Traceback" not in result.output
