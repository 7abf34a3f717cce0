"""How a worker ends: what it writes, what it exits with, and that there is only one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.events import Event, Failed, Resumed, Warned
from core.recipe import Recipe
from core.runs import devices, locks, queue
from core.runs.directory import RunDirectory
from core.runs.handle import RunHandle
from core.runs.journal import Journal, JournalReader
from core.work import Outcome
from tests.core.runs.support import FAKE_WORKER, make_recipe


def work(run: RunDirectory) -> int:
    with run.log_path.open("ab") as log:
        command = (sys.executable, "-P", str(FAKE_WORKER), str(run.path))
        return subprocess.run(command, stdout=log, stderr=log, check=False).returncode


def create(folder: Path, behaviour: str = "", **changes: object) -> RunDirectory:
    prompts = {"sample_prompts": [behaviour]} if behaviour else {}
    return RunDirectory.create(make_recipe(folder, **prompts, **changes).absolute(folder))


def told(run: RunDirectory) -> list[Event]:
    return JournalReader(run.journal_path).read()


@pytest.mark.parametrize(
    ("behaviour", "status", "what", "cause", "next_step"),
    [
        ("fail:told", 2, "Row 7 is too long.", "9000 tokens", "Cut it."),
        ("fail:memory", 2, "not enough memory for step 3", "DefaultCPUAllocator", "token_budget"),
        ("fail:disk", 2, "disk is full: adapter.safetensors", "MB are free", "finetui resume"),
        ("fail:bug", 1, "ZeroDivisionError: division by zero", "worker.log", "finetui resume"),
    ],
)
def test_a_failure_is_told_in_three_parts(
    tmp_path: Path, behaviour: str, status: int, what: str, cause: str, next_step: str
) -> None:
    run = create(tmp_path, behaviour)
    assert work(run) == status
    failed = told(run)[-1]
    assert isinstance(failed, Failed)
    assert what in failed.what
    assert cause in failed.cause
    assert next_step in failed.next_step
    assert failed.step == 2
    assert ("Traceback" in "\n".join(run.log_tail(50))) == (behaviour != "fail:told")
    assert not list(run.checkpoints_dir.iterdir())  # what it had half written is gone


def test_a_recipe_that_cannot_be_read_any_more_is_told(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.recipe_path.write_text("model: x\ndata: y.jsonl\nrnak: 3\n")
    assert work(run) == 2
    failed = told(run)[-1]
    assert isinstance(failed, Failed)
    assert "rnak" in failed.what


def test_a_second_worker_for_a_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.runs import worker

    run = create(tmp_path)
    monkeypatch.setattr(worker, "LOCK_TIMEOUT_S", 0.1)
    with locks.take(run.lock_path):  # type: ignore[union-attr]
        assert worker.run(run.path) == 3
    assert not run.worker_path.exists()
    assert told(run) == []


def test_a_damaged_checkpoint_is_passed_over_and_told(tmp_path: Path) -> None:
    run = create(tmp_path, "fail:bug", checkpoint_every=1)
    assert work(run) == 1
    assert [item.step for item in run.checkpoints()] == [1, 2]
    (run.checkpoints_dir / "step-2" / "state.txt").write_text("9")
    assert work(run) == 1
    (resumed,) = [event for event in told(run) if isinstance(event, Resumed)]
    assert resumed.step == 1
    (warned,) = [event for event in told(run) if isinstance(event, Warned)]
    assert "step-2/state.txt" in warned.text


def test_the_worker_waits_for_room_for_its_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.runs import worker

    run = create(tmp_path)
    answers = iter([False, False, True])
    naps: list[float] = []
    monkeypatch.setattr(worker.time, "sleep", naps.append)
    with Journal(run.journal_path) as journal:
        session = worker._Session(run, journal, worker.past(run), None)  # type: ignore[arg-type]
        monkeypatch.setattr(journal, "flush", lambda: next(answers, True))
        session._insist()
    assert naps == [1.0, 1.0]


class Looks:
    """A backend that looks at what its run has."""

    def train(self, recipe: Recipe, run: RunHandle) -> Outcome:
        self.devices, self.visible = run.devices, os.environ["CUDA_VISIBLE_DEVICES"]
        self.holders = [queue.holder(device) for device in run.devices]
        return Outcome("finished", 1)


def test_a_run_has_the_locks_of_all_its_devices_and_lets_go_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.runs import worker

    two = ("cuda:GPU-a", "cuda:GPU-b")
    monkeypatch.setattr(devices, "choose", lambda wanted, count: two[:count])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run, backend = create(tmp_path, device="cuda", devices=2), Looks()
    assert worker.run(run.path, backend) == 0  # type: ignore[arg-type]
    assert (backend.devices, backend.holders) == (two, [run.id, run.id])
    assert backend.visible == "GPU-a,GPU-b"
    assert [queue.holder(device) for device in two] == ["", ""]


def test_a_run_that_is_stopped_while_it_waits_for_its_second_device_gives_the_first_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.runs import control, worker

    two = ("cuda:GPU-a", "cuda:GPU-b")
    monkeypatch.setattr(devices, "choose", lambda wanted, count: two)
    other = queue.acquire("cuda:GPU-b", "other", 1, lambda *_: None, lambda: False)
    assert other is not None
    run = create(tmp_path, device="cuda", devices=2)
    control.send(run.control_dir, "stop")
    assert worker.run(run.path) == 0
    assert [type(event).__name__ for event in told(run)][-1] == "Stopped"
    assert [queue.holder(device) for device in two] == ["", "other"]
    other.release()


def test_the_command_line_names_the_module(tmp_path: Path) -> None:
    command = (sys.executable, "-P", "-m", "core.runs.worker")
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "usage" in answer.stderr
