"""What several of these tests need of runs: their events, and workers of their own that can be killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from core.azure.record import Record, read
from core.events import Event
from core.runs.directory import RunDirectory
from core.runs.journal import JournalReader
from tests.azure_emulator import models
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.jobs import Job

E = TypeVar("E", bound=Event)
PATIENCE_S = 60.0

SHAPES = ("sig=", "Bearer ey", "eyJ0eXAi", "eyJhbGci", "client_secret", "AccountKey=")
"""Signatures and tokens as they would look, whatever their values."""


def events(run: RunDirectory) -> list[Event]:
    """Everything in a run's journal."""
    reader, found = JournalReader(run.journal_path), []
    while batch := reader.read(1 << 20):
        found += batch
    return found


def of(run: RunDirectory, kind: type[E]) -> list[E]:
    """The events of one kind."""
    return [event for event in events(run) if isinstance(event, kind)]


def record(run: RunDirectory) -> Record:
    """What a run knows of itself in Azure."""
    found = read(run.path)
    assert found is not None
    return found


def jobs_of(azure: Emulator, run: RunDirectory) -> list[str]:
    """The names of the jobs in a run's project."""
    workspace = azure.state.workspace(record(run).account.project)
    assert workspace is not None
    with azure.state.lock:
        azure.state.settle()
        return list(workspace.jobs)


def register_model(azure: Emulator) -> tuple[str, str]:
    """Name and version of a tuned model in the project, as a job of nobody's has registered it."""
    tuning = {"model": {"uri": "azureml://registries/azureml/models/Phi-4-mini-instruct/versions/1"}}
    made = {"fineTuningDetails": tuning, "outputs": {"registered_model": {"assetName": "tone"}}}
    with azure.state.lock:
        models.register(azure.state, azure.project, Job("job-1", made, "", 0.0, "Completed", {}))
    return "tone", "1"


def started(run: RunDirectory) -> subprocess.Popen[bytes]:
    """A worker of a run, in a process of its own; its words go to worker.log."""
    command = [sys.executable, "-P", "-m", "core.runs.worker", str(run.path)]
    log = os.open(run.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(log, "ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=dict(os.environ))


@contextlib.contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread while a worker works in this process; what goes wrong there fails here."""
    failed: list[BaseException] = []

    def acting() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failed.append(error)

    thread = threading.Thread(target=acting, name="meanwhile")
    thread.start()
    try:
        yield
    finally:
        thread.join()
        if failed:
            raise failed[0]


def until(what: Callable[[], object]) -> None:
    """Wait until something is so; fails when it never is."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.02)


def leaks(files: Iterable[Path], secrets: Iterable[str]) -> list[str]:
    """The secrets, and what has the shape of one, that lie in files."""
    searched = [secret.encode() for secret in (*secrets, *SHAPES)]
    contents = ((path, path.read_bytes()) for path in files)
    return [f"{secret!r} in {path}" for path, content in contents for secret in searched if secret in content]
