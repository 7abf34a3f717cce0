"""An end for every worker that a test has started."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.runs import process
from core.runs.directory import RunDirectory
from tests.core.runs.support import FAKE_WORKER, end_process


@pytest.fixture
def workers(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`submit` and `resume` start fake workers; none is left when the test ends."""
    monkeypatch.setattr(process, "WORKER_COMMAND", (sys.executable, "-P", "-u", str(FAKE_WORKER)))
    yield
    for path in home.glob("data/*/*/worker.json"):
        worker = process.read_worker(RunDirectory(path.parent))
        if worker is not None and worker.identity.alive():
            end_process(worker.identity.pid)
