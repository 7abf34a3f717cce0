"""A worker killed at any point leaves exactly one job behind, and the next one finds it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.azure.account import load
from core.azure.record import begin
from core.events import Event, Finished, Step, Submitted, Uploaded
from core.runs import worker
from core.runs.directory import RunDirectory
from tests.azure_emulator.emulator import Emulator
from tests.core.azure.support import events, jobs_of, of, record, started, until

NewRun = Callable[..., RunDirectory]


def killed_when(run: RunDirectory, reached: Callable[[], object]) -> None:
    """Start a worker and SIGKILL it at some point."""
    process = started(run)
    try:
        until(reached)
    finally:
        process.kill()
        process.wait()


def finished_once(run: RunDirectory, azure: Emulator) -> None:
    """The next worker brings the run to its end with one job."""
    azure.settings.hold_jobs_at = None
    azure.faults.clear()
    assert worker.run(run.path) == 0
    assert isinstance(events(run)[-1], Finished)
    assert jobs_of(azure, run) == [record(run).job]
    assert len(of(run, Submitted)) == 1
    assert [item.step for item in of(run, Step)] == list(range(1, 21))


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["CONNECT blob", "PUT data", "GET jobs"], ids=["upload", "asset", "submit"]
)
def test_killed_before_there_is_a_job(new_run: NewRun, azure: Emulator, target: str) -> None:
    fault = azure.faults.add(target, kind="slow", seconds=5)
    run = new_run()
    killed_when(run, lambda: fault.met)
    assert jobs_of(azure, run) == []
    finished_once(run, azure)


def test_killed_while_the_job_is_made(new_run: NewRun, azure: Emulator) -> None:
    fault = azure.faults.add("PUT jobs", kind="slow", seconds=1)
    run = new_run()
    killed_when(run, lambda: fault.met)
    assert not record(run).submitted
    until(lambda: jobs_of(azure, run))  # Azure makes it although nobody waits for the answer
    finished_once(run, azure)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Submitted, Step])
def test_killed_while_the_job_goes_on(new_run: NewRun, azure: Emulator, kind: type[Event]) -> None:
    azure.settings.hold_jobs_at = "Running"
    run = new_run()
    killed_when(run, lambda: of(run, kind))
    finished_once(run, azure)


@pytest.mark.slow
def test_killed_again_and_again(new_run: NewRun, azure: Emulator) -> None:
    azure.settings.hold_jobs_at = "Running"
    run = new_run()
    for kind in (Uploaded, Submitted, Step):
        killed_when(run, lambda kind=kind: of(run, kind))
    finished_once(run, azure)


def test_an_answer_that_is_lost_makes_no_second_job(new_run: NewRun, azure: Emulator) -> None:
    fault = azure.faults.add("PUT jobs", kind="lost_answer", times=2)
    run = new_run()
    finishing = worker.run(run.path)
    assert fault.met == 2
    assert finishing == 0
    assert jobs_of(azure, run) == [record(run).job]


def test_two_machines_with_runs_of_one_id_have_two_jobs() -> None:
    names = {begin("tone-1234", "tone", load()).job for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("finetui-tone-1234-") for name in names)
