"""A run in Azure from its rows to its registered model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.azure import jobs
from core.azure.account import Account, load, save
from core.azure.clients import Azure
from core.events import (
    Evaluated,
    Failed,
    Finished,
    Paused,
    SignInNeeded,
    Status,
    Step,
    Stopped,
    Submitted,
    Uploaded,
    Warned,
)  # fmt: skip
from core.runs import control, worker
from core.runs.directory import RunDirectory
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.jobs import LIFE
from tests.core.azure.support import events, jobs_of, meanwhile, of, record, started, until

NewRun = Callable[..., RunDirectory]


def test_a_run_is_uploaded_submitted_watched_and_registered(new_run: NewRun, azure: Emulator) -> None:
    run = new_run(learning_rate=2e-5, epochs=2, batch_size=4)
    assert worker.run(run.path) == 0
    known = record(run)
    assert [(item.name, item.bytes > 0) for item in of(run, Uploaded)] == [
        ("train.jsonl", True), ("validation.jsonl", True)
    ]  # fmt: skip
    assert any(item.text == "uploading" and item.done == item.total > 0 for item in of(run, Status))
    assert [item.job for item in of(run, Submitted)] == [known.job] == jobs_of(azure, run)
    assert known.job.startswith(f"finetui-{run.id}-")
    assert [item.step for item in of(run, Step)] == list(range(1, 21))
    assert [item.step for item in of(run, Evaluated)] == [5, 10, 15, 20]
    assert {item.rows for item in of(run, Evaluated)} == {3}
    end = events(run)[-1]
    assert isinstance(end, Finished)
    assert end.model == f"azureml:{known.registered}" == f"azureml:{known.output}:1"
    assert end.loss == of(run, Evaluated)[-1].loss
    assert azure.schema_errors == []


def test_every_status_of_a_job_is_told(new_run: NewRun, azure: Emulator) -> None:
    azure.settings.training_steps = 2
    azure.settings.hold_jobs_at = "NotStarted"
    run = new_run()
    words = [jobs.IN_WORDS[status] for status in (*LIFE, "Completed")]

    def let_go_one_by_one() -> None:
        for status, word in zip(LIFE, words[:-1], strict=True):
            azure.settings.hold_jobs_at = status
            until(lambda word=word: any(item.text == word for item in of(run, Status)))
        azure.settings.hold_jobs_at = None

    with meanwhile(let_go_one_by_one):
        assert worker.run(run.path) == 0
    assert [item.text for item in of(run, Status) if item.text in words] == words


@pytest.mark.slow
def test_two_of_one_account_at_once_have_a_job_each_and_the_rows_once(
    new_run: NewRun, azure: Emulator
) -> None:
    one, two = new_run("one"), new_run("two")
    process = started(one)
    try:
        assert worker.run(two.path) == 0
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
    assert sorted(jobs_of(azure, one)) == sorted([record(one).job, record(two).job])
    assert record(one).training == record(two).training
    assert len(azure.project.data) == 2


def test_the_job_holds_what_the_recipe_says_and_nothing_more(new_run: NewRun, azure: Emulator) -> None:
    run = new_run(learning_rate=2e-5, epochs=2, batch_size=4)
    worker.run(run.path)
    body = next(body for method, path, _, body in azure.requests if method == "PUT" and "/jobs/" in path)
    tuning = body["properties"]["fineTuningDetails"]
    assert tuning["hyperParameters"] == {
        "learning_rate": "0.00002", "num_train_epochs": "2", "per_device_train_batch_size": "4",
    }  # fmt: skip
    assert tuning["model"]["uri"] == "azureml://registries/azureml/models/Phi-4-mini-instruct/versions/1"
    assert tuning["taskType"].lower() == "chatcompletion"
    assert body["properties"]["tags"] == {"finetui": run.id}
    assert body["properties"]["properties"] == {}  # no Git remote of the folder the worker runs in


def test_without_validation_rows_and_settings_the_service_has_its_own_way(
    new_run: NewRun, azure: Emulator
) -> None:
    run = new_run(validation_fraction=None)
    assert worker.run(run.path) == 0
    body = next(body for method, path, _, body in azure.requests if method == "PUT" and "/jobs/" in path)
    assert "validationData" not in body["properties"]["fineTuningDetails"]
    assert not body["properties"]["fineTuningDetails"].get("hyperParameters")
    assert of(run, Evaluated) == []
    assert record(run).validation_rows == 0
    assert record(run).rows == 12


def test_the_same_rows_are_uploaded_once(new_run: NewRun, azure: Emulator) -> None:
    first, second = new_run("one"), new_run("two")
    worker.run(first.path)
    assert worker.run(second.path) == 0
    assert len(of(first, Uploaded)) == 2
    assert of(second, Uploaded) == []
    assert record(first).training == record(second).training
    assert len({*jobs_of(azure, first)}) == 2
    assert record(first).output != record(second).output


def test_a_retired_model_is_refused_before_anything_is_sent(new_run: NewRun, azure: Emulator) -> None:
    run = new_run(model="phi-3-mini-4k-instruct")
    assert worker.run(run.path) == 2
    failed = of(run, Failed)[-1]
    assert "2025-08-30" in failed.what
    assert "Phi-4-mini-instruct" in failed.what
    assert jobs_of(azure, run) == []
    assert not any(method == "PUT" for method, *_ in azure.requests)


def test_a_failed_job_tells_why_and_a_resumed_run_sends_another(new_run: NewRun, azure: Emulator) -> None:
    azure.settings.job_ending = "Failed"
    run = new_run()
    assert worker.run(run.path) == 2
    failed = of(run, Failed)[-1]
    assert "row 3 has no messages" in failed.cause
    assert f"finetui resume {run.id}`" in failed.next_step
    azure.settings.job_ending = "Completed"
    first = record(run)
    assert worker.run(run.path) == 0
    assert jobs_of(azure, run) == [first.job, f"{first.job}-2"]
    assert record(run).output == f"{first.output}-2"
    assert record(run).training == first.training


def test_a_stop_cancels_the_job(new_run: NewRun, azure: Emulator) -> None:
    azure.settings.hold_jobs_at = "Running"
    run = new_run()

    def stop() -> None:
        until(lambda: of(run, Step))
        control.send(run.control_dir, "stop")
        until(lambda: any("asked Azure to cancel" in item.text for item in of(run, Status)))
        azure.settings.hold_jobs_at = None

    with meanwhile(stop):
        assert worker.run(run.path) == 0
    assert isinstance(events(run)[-1], Stopped)
    assert azure.state.jobs[record(run).job].status == "Canceled"


def test_a_stop_while_the_azure_cli_fails_is_carried_out_when_it_works_again(
    new_run: NewRun, azure: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in azure.service_principal:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(azure.cli_path), prepend=":")
    save(replace(load(), identity="azure_cli", tenant=""))
    azure.settings.hold_jobs_at = "Running"
    run = new_run()

    def stop_signed_out() -> None:
        until(lambda: of(run, Step))
        azure.settings.cli_signed_in = False
        azure.faults.add("GET jobs", kind="expired_token", times=1)  # so that a new token is asked for
        until(lambda: of(run, Warned))
        control.send(run.control_dir, "stop")
        until(lambda: not list(run.control_dir.glob("*")))
        azure.settings.cli_signed_in = True
        until(lambda: any("asked Azure to cancel" in item.text for item in of(run, Status)))
        azure.settings.hold_jobs_at = None

    with meanwhile(stop_signed_out):
        assert worker.run(run.path) == 0
    assert "az login" in of(run, Warned)[0].next_step
    assert isinstance(events(run)[-1], Stopped)
    assert azure.state.jobs[record(run).job].status == "Canceled"


def test_a_job_that_ends_before_its_cancel_arrives_is_no_error(
    new_run: NewRun, azure: Emulator, clients: Azure
) -> None:
    azure.settings.training_steps = 2
    run = new_run()
    assert worker.run(run.path) == 0
    jobs.cancel(clients, record(run).job)
    assert jobs.get(clients, record(run).job).status == "Completed"


def test_a_job_cancelled_elsewhere_is_told_so(new_run: NewRun, azure: Emulator, clients: Azure) -> None:
    azure.settings.hold_jobs_at = "Running"
    run = new_run()

    def cancel() -> None:
        until(lambda: of(run, Step))
        jobs.cancel(clients, record(run).job)
        azure.settings.hold_jobs_at = None

    with meanwhile(cancel):
        assert worker.run(run.path) == 0
    assert any("cancelled in Azure, not here" in item.text for item in of(run, Warned))
    assert isinstance(events(run)[-1], Stopped)


def test_a_stop_before_there_is_a_job_sends_none(new_run: NewRun, azure: Emulator) -> None:
    run = new_run()
    control.send(run.control_dir, "stop")
    assert worker.run(run.path) == 0
    assert isinstance(events(run)[-1], Stopped)
    assert jobs_of(azure, run) == []


def test_without_a_project_nothing_is_begun(new_run: NewRun, azure: Emulator) -> None:
    chosen = load()
    save(Account("service_principal"))
    run = new_run()
    assert worker.run(run.path) == 2
    assert "no subscription" in of(run, Failed)[-1].what
    assert not (run.path / "azure.json").exists()
    save(chosen)  # and later the same run goes on with what is chosen then
    assert worker.run(run.path) == 0
    assert record(run).account == chosen


@pytest.mark.slow
def test_a_process_told_to_end_leaves_the_job_and_comes_back_to_it(new_run: NewRun, azure: Emulator) -> None:
    azure.settings.hold_jobs_at = "Running"
    run = new_run()
    process = started(run)
    try:
        until(lambda: of(run, Step))
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert isinstance(events(run)[-1], Paused)
    assert any("goes on in Azure" in item.text for item in of(run, Warned))
    steps = len(of(run, Step))
    azure.settings.hold_jobs_at = None
    assert worker.run(run.path) == 0
    assert jobs_of(azure, run) == [record(run).job]
    assert [item.step for item in of(run, Step)] == list(range(1, 21))  # none missing, none told twice
    assert 0 < steps <= 20


STAGES = ("POST token", "GET models", "PUT jobs", "GET jobs")
TROUBLES = [(target, kind) for target in STAGES for kind in ("reset", "server_error")]


@pytest.mark.slow
@pytest.mark.parametrize(("target", "kind"), [*TROUBLES, ("CONNECT blob", "reset")])
def test_trouble_that_passes_is_waited_for(new_run: NewRun, azure: Emulator, target: str, kind: str) -> None:
    fault = azure.faults.add(target, kind=kind, times=10_000)
    run = new_run()
    process = started(run)
    try:
        until(lambda: of(run, Warned))
        assert fault.met > 0
        azure.faults.clear()
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
    assert len(of(run, Warned)) == 1  # said once, not at every try
    assert any(item.text == "Azure answers again" for item in of(run, Status))
    assert isinstance(events(run)[-1], Finished)
    assert jobs_of(azure, run) == [record(run).job]


def test_a_network_that_is_gone_while_the_job_runs_is_waited_for(new_run: NewRun, azure: Emulator) -> None:
    azure.settings.hold_jobs_at = "Running"
    run = new_run()

    def lose_and_restore() -> None:
        until(lambda: of(run, Step))
        azure.faults.add("* *", kind="network_gone", seconds=3600)
        until(lambda: of(run, Warned))
        azure.settings.hold_jobs_at = None
        azure.faults.restore_network()

    with meanwhile(lose_and_restore):
        assert worker.run(run.path) == 0
    assert "can't be reached" in of(run, Warned)[0].text
    assert [item.step for item in of(run, Step)] == list(range(1, 21))
    assert jobs_of(azure, run) == [record(run).job]


def test_being_throttled_is_not_even_worth_a_word(new_run: NewRun, azure: Emulator) -> None:
    fault = azure.faults.add("PUT jobs", kind="throttled", times=2, retry_after=0.2)
    run = new_run()
    assert worker.run(run.path) == 0
    assert fault.met == 2
    assert of(run, Warned) == []
    assert jobs_of(azure, run) == [record(run).job]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("forbidden", "Azure AI Developer"), ("quota", "Endpoint Quota"), ("wrong_region", "names its regions")],
)
def test_a_refusal_ends_the_run_with_its_next_step(
    new_run: NewRun, azure: Emulator, kind: str, words: str
) -> None:
    azure.faults.add("PUT jobs", kind=kind)
    run = new_run()
    assert worker.run(run.path) == 2
    failed = of(run, Failed)[-1]
    assert words in f"{failed.cause} {failed.next_step}"
    assert "Request " in failed.cause
    assert jobs_of(azure, run) == []


def test_a_token_that_is_refused_though_it_is_not_over_is_renewed(new_run: NewRun, azure: Emulator) -> None:
    azure.faults.add("PUT jobs", kind="expired_token")
    run = new_run()
    assert worker.run(run.path) == 0
    assert jobs_of(azure, run) == [record(run).job]


def test_a_device_code_is_shown_and_the_job_goes_on_when_the_sign_in_ends(
    new_run: NewRun, azure: Emulator
) -> None:
    save(replace(load(), identity="device_code"))
    azure.settings.hold_jobs_at = "Running"
    run = new_run()

    def sign_in_twice() -> None:
        until(lambda: of(run, SignInNeeded))
        shown = of(run, SignInNeeded)[0]
        assert shown.url
        assert jobs_of(azure, run) == []
        azure.entra.approve(shown.code)
        until(lambda: of(run, Step))
        azure.faults.add("GET jobs", kind="expired_token", times=1)
        azure.entra.revoke()
        until(lambda: len(of(run, SignInNeeded)) > 1)
        azure.settings.hold_jobs_at = None
        azure.entra.approve(of(run, SignInNeeded)[-1].code)

    with meanwhile(sign_in_twice):
        assert worker.run(run.path) == 0
    assert isinstance(events(run)[-1], Finished)
    assert jobs_of(azure, run) == [record(run).job]


def test_a_stop_while_nobody_is_signed_in_names_the_command_that_cancels(
    new_run: NewRun, azure: Emulator
) -> None:
    save(replace(load(), identity="device_code"))
    azure.settings.hold_jobs_at = "Running"
    run = new_run()

    def lose_the_sign_in_and_stop() -> None:
        until(lambda: of(run, SignInNeeded))
        azure.entra.approve(of(run, SignInNeeded)[0].code)
        until(lambda: of(run, Step))
        azure.faults.add("GET jobs", kind="expired_token", times=1)
        azure.entra.revoke()
        until(lambda: len(of(run, SignInNeeded)) > 1)
        control.send(run.control_dir, "stop")

    with meanwhile(lose_the_sign_in_and_stop):
        assert worker.run(run.path) == 2
    failed = of(run, Failed)[-1]
    assert "nobody is signed in" in failed.what
    assert f"finetui azure cancel {record(run).job}`" in failed.next_step
    assert azure.state.jobs[record(run).job].status == "Running"
