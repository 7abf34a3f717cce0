"""What several tests of runs share."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import recipe as recipes
from core.recipe import Recipe
from core.runs import locks, process, supervisor
from core.runs.directory import RunDirectory
from core.runs.journal import JournalReader
from core.runs.supervisor import RunRow

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
PATIENCE_S = 60.0


def until(condition: Callable[[], Any]) -> Any:
    """Poll until something is true; its value. Fails only when it takes far too long."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("it never came true")


def make_recipe(folder: Path, **changes: Any) -> Recipe:
    (folder / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    values = {"model": "smollm2-135m-instruct", "data": ["train.jsonl"], "device": "cpu", "max_steps": 5}
    return recipes.build({**values, **changes})


def end_process(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    until(lambda: process.Identity.of(pid).start == 0.0)


ENDLESS = 1_000_000


def submit(folder: Path, **changes: Any) -> RunRow:
    return supervisor.submit(make_recipe(folder, **changes), folder)


def reach(row: RunRow, *states: str) -> RunRow:
    """Wait for a state; any other end is a failure, shown with its message."""
    reached = supervisor.wait(row.id, states, PATIENCE_S)
    assert reached.state in states, (reached.state, reached.message, RunDirectory(row.directory).log_tail(20))
    return reached


def events(row: RunRow) -> list[Any]:
    return JournalReader(row.directory / "journal.jsonl").read()


def working(row: RunRow, steps: int = 1) -> RunRow:
    until(lambda: supervisor.get(row.id).step >= steps or not supervisor.get(row.id).active)
    return reach(row, "running")


def pid_of(row: RunRow) -> int:
    worker = process.read_worker(RunDirectory(row.directory))
    assert worker is not None
    return worker.identity.pid


def kill(row: RunRow) -> None:
    end_process(pid_of(row))
    # The process's threads, and with them its files, are gone a moment after it.
    until(lambda: not locks.is_held(row.directory / "run.lock"))
