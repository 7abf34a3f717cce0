"""`finetui azure ...` as a person types it, on the loopback Azure."""

# ruff: noqa: F811 - the fixtures are those of core.azure's tests

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.azure import prices
from core.azure.account import Account, load, save
from core.events import Status
from core.recipe import build
from core.runs import supervisor, worker
from core.runs.directory import RunDirectory
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.state import READER
from tests.core.azure.conftest import azure, loopback, rows  # noqa: F401
from tests.core.azure.support import PATIENCE_S, of, record, until
from tests.tui.verbs.conftest import Finetui

MODEL = ("--model", "phi-4-mini-instruct")


@pytest.fixture(autouse=True)
def short(azure: Emulator) -> Iterator[None]:
    """Jobs train two steps; no worker outlives its test."""
    azure.settings.training_steps = 2
    yield
    azure.settings.hold_jobs_at = None
    for row in supervisor.list_runs():
        if row.active:
            os.kill(row.summary.pid, signal.SIGKILL)


def data(finetui: Finetui, *words: object) -> Any:
    """The JSON that a command prints."""
    result = finetui(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def ran(path: Path, name: str = "tone") -> str:
    """The id of a run that has ended; its worker worked in this process."""
    content = {"model": MODEL[1], "data": str(path), "backend": "azure", "epochs": 2, "name": name}
    run = RunDirectory.create(build(content), name)
    worker.run(run.path)
    return run.id


def test_login_chooses_what_there_is_but_one_of(azure: Emulator, finetui: Finetui) -> None:
    save(Account("service_principal"))
    result = finetui("azure", "login")
    assert result.exit_code == 0
    assert "Azure: emulator" in result.stderr
    chosen = load()
    assert (chosen.subscription, chosen.resource_group) == (azure.subscription, azure.resource_group)
    assert (chosen.project, chosen.region) == (azure.workspace, azure.region)


def test_login_by_code_shows_it(azure: Emulator, finetui: Finetui) -> None:
    azure.settings.device_code_approves_after = 0.0
    result = finetui("azure", "login", "--identity", "device_code")
    assert result.exit_code == 0, result.output
    assert "enter the code" in result.stderr
    assert "ends with this command" in result.stderr


@pytest.mark.parametrize(
    "words",
    [("--tenant", "wrong.example"), ("--identity", "device_code", "--tenant", "wrong.example"),
     ("--identity", "managed_identity"), ("--subscription", "nowhere")],
)  # fmt: skip
def test_a_login_that_fails_leaves_the_one_that_works(finetui: Finetui, words: tuple[str, ...]) -> None:
    before = load()
    result = finetui("azure", "login", *words)
    assert result.exit_code == 2
    assert "Signed in" not in result.stderr
    assert "its time is over" not in result.stderr
    assert load() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("login", "--identity", "password"), "azure_cli"),
        (("login", "--subscription", "nowhere"), "Loopback subscription"),
        (("attach", "no-such-job"), "no job no-such-job"),
        (("cancel", "no-such-job"), "no job no-such-job"),
        (("undeploy", "nothing", "--yes"), "no endpoint nothing"),
        (("delete-model", "nothing", "--yes"), "no model nothing:1"),
        (("deploy", "no-such-run"), "no-such-run"),
        (("prices", "smollm2-135m-instruct"), "phi-4-mini-instruct"),
        (("prices", "phi-4", "--region", "nonsense"), "no region 'nonsense'"),
        (("prices", "phi-4", "--region", "East US' or 1 eq 1"), "no region"),
        (("check", "--model", "nonsense"), "nonsense is not in Azure's model registry"),
        (("check", "--group", "other"), "--group names what --fix makes, and --fix is not given."),
        (("check", "--ai-services", "a-b"), "--ai-services names what --fix makes, and --fix is not given."),
        (("login", "--identity", "managed_identity", "--tenant", "t.example"), "takes no tenant"),
    ],
)
def test_mistakes_are_told_with_a_next_step(finetui: Finetui, words: tuple[str, ...], said: str) -> None:
    result = finetui("azure", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Next:" in result.stderr


def test_the_checklist_ends_with_two_while_something_is_missing(azure: Emulator, finetui: Finetui) -> None:
    ready = finetui("azure", "check", *MODEL)
    assert ready.exit_code == 0  # though the quota is not known
    assert "unknown  Quota: " in ready.stdout
    assert ready.stdout.count("Cost: ") == 10
    azure.state.set_provider(azure.subscription, "Microsoft.Network", "NotRegistered")
    result = finetui("azure", "check")
    assert result.exit_code == 2
    assert "MISSING  Resource provider Microsoft.Network" in result.stdout
    assert "--fix does it" in result.stdout
    fixed = finetui("azure", "check", "--fix")
    assert fixed.exit_code == 0
    assert "Registered" in fixed.stdout
    assert fixed.stdout.count("Cost: ") == 10 + 1  # all of it once, then only what has changed


def test_nothing_there_is_said(azure: Emulator, finetui: Finetui) -> None:
    for words, said in (
        (("jobs",), "No fine-tuning jobs."),
        (("endpoints",), "No endpoints."),
        (("models", "--tuned"), "No tuned models."),
    ):
        result = finetui("azure", *words)
        assert (result.exit_code, result.stdout, said in result.stderr) == (0, "", True)


@pytest.mark.slow
def test_the_checklist_makes_what_is_named(azure: Emulator, finetui: Finetui) -> None:
    save(Account("service_principal", azure.tenant, azure.subscription))
    result = finetui("azure", "check", "--fix")
    assert result.exit_code == 2
    assert "--group NAME" in result.stderr
    result = finetui(
        "azure", "check", "--fix", "--group", "by-verb", "--project", "verb-project", "--region", "westus"
    )
    assert result.exit_code == 0, result.output
    assert (load().resource_group, load().project, load().region) == ("by-verb", "verb-project", "westus")


def test_a_recipe_is_priced_and_its_wrong_settings_are_named(
    azure: Emulator, finetui: Finetui, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure, "price_rows", list(azure.price_rows))
    result = finetui("train", rows, *MODEL, "--backend", "azure", "--rank", "8", "--epochs", "2")
    assert result.exit_code == 2
    assert "`rank` is set" in result.stderr
    assert "Phi-4-mini-instruct FT Training Tokens" in result.stderr
    plan = finetui("plan", rows, *MODEL, "--backend", "azure", "--epochs", "2")
    assert plan.exit_code == 0
    assert re.search(r"^tokens    (\d+) = (\d+) \(.*\) x 2 epochs$", plan.stdout, re.MULTILINE)
    assert "FT Hosting Unit" in plan.stdout
    azure.price_rows.clear()
    monkeypatch.setattr(prices, "_kept", {})
    plan = finetui("plan", rows, *MODEL, "--backend", "azure", "--epochs", "1")
    assert re.search(r"^tokens    (\d+) \(.*\) x 1 epoch$", plan.stdout, re.MULTILINE)
    assert re.search(r"^training  unknown: the price list has no", plan.stdout, re.MULTILINE)
    assert supervisor.list_runs() == []


@pytest.mark.slow
def test_from_rows_to_nothing_left(azure: Emulator, finetui: Finetui, rows: Path) -> None:
    result = finetui("azure", "submit", rows, *MODEL, "--name", "tone", "--epochs", "2", "--json")
    assert result.exit_code == 0, result.output
    assert all(json.loads(line) for line in result.stdout.splitlines())
    [row] = supervisor.list_runs()
    run = row.id
    assert f"{run}  " in finetui("runs").stdout
    assert "2/0" not in finetui("runs").stdout  # Azure tells no number of steps beforehand
    known = record(RunDirectory(row.directory))
    ended = finetui("azure", "cancel", known.job)
    assert ended.exit_code == 2
    assert "nothing to cancel" in ended.stderr
    assert [job["name"] for job in data(finetui, "azure", "jobs")] == [known.job]
    assert known.studio in finetui("azure", "jobs").stdout
    assert "loss" in finetui("azure", "logs", known.job).stdout
    assert [model["run"] for model in data(finetui, "azure", "models", "--tuned")] == [run]
    asked = finetui("azure", "deploy", run, "--name", "tone")
    assert asked.exit_code == 2
    assert "--yes" in asked.stderr  # nobody is there to answer, so nothing is spent
    assert azure.state.endpoints == {}
    made = data(finetui, "azure", "deploy", run, "--name", "tone", "--no-content-safety", "--yes")
    assert (made["state"], made["content_safety"], made["run"]) == ("Online", "Disabled", run)
    other = finetui("azure", "deploy", run, "--name", "tone", "--yes")
    assert other.exit_code == 2
    assert "Content safety on" not in other.stderr
    assert "finetui azure undeploy tone" in other.stderr
    again = finetui("azure", "deploy", run, "--name", "tone", "--no-content-safety", "--yes")
    assert "exists already" in again.stderr
    assert "Hours are charged" not in again.stderr
    listing = finetui("azure", "endpoints").stdout
    assert "0.80 USD an hour" in listing
    assert f"run {run}" in listing
    azure.state.endpoints["tone"].tags.clear()
    assert "not finetui's" in finetui("azure", "endpoints").stdout
    assert "SAFETY OFF" in listing
    assert data(finetui, "azure", "rotate", "tone", "--secondary") == {
        "rotated": "tone",
        "which": "Secondary",
    }
    refused = finetui("azure", "delete-model", known.output, "--yes")
    assert refused.exit_code == 2
    assert "finetui azure undeploy tone" in refused.stderr
    assert data(finetui, "azure", "undeploy", "tone", "--yes") == {"deleted": "tone"}
    assert data(finetui, "azure", "delete-model", known.output, "--yes") == {"deleted": known.registered}
    left = data(finetui, "azure", "sweep")
    assert {item["kind"] for item in left} == {"data", "job"}
    assert "made nothing called nonsense" in finetui("azure", "sweep", "nonsense", "--delete", "--yes").stderr
    one = next(item for item in left if item["kind"] == "data")
    assert data(finetui, "azure", "sweep", one["name"], "--delete", "--yes") == [
        {"key": one["key"], "error": None}
    ]
    assert len(data(finetui, "azure", "sweep")) == len(left) - 1
    assert finetui("azure", "sweep", "--delete", "--yes").exit_code == 0
    assert data(finetui, "azure", "sweep") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--group", "new-group"), "--project NAME --region REGION"),
        (("--group", "new-group", "--project", "p" * 31, "--region", "westus3"), "can't be called"),
        (
            ("--group", "new-group", "--project", "good", "--hub", "a b", "--region", "westus3"),
            "can't be called",
        ),
        (("--group", "x" * 91, "--project", "good", "--region", "westus3"), "can't be called"),
        ((), "--group NAME --project NAME --region REGION"),
    ],
)
def test_a_fix_is_refused_whole_before_anything_is_made(
    azure: Emulator, finetui: Finetui, words: tuple[str, ...], said: str
) -> None:
    save(Account("service_principal", azure.tenant, azure.subscription))
    result = finetui("azure", "check", "--fix", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not any(method == "PUT" for method, *_ in azure.requests)
    assert load().resource_group == ""


def test_a_group_that_is_there_is_taken_with_its_region(azure: Emulator, finetui: Finetui) -> None:
    save(Account("service_principal", azure.tenant, azure.subscription))
    asked = finetui("azure", "check")
    assert "--fix --group NAME --project NAME --region REGION" in asked.stdout
    result = finetui(
        "azure",
        "check",
        "--fix",
        "--group",
        azure.resource_group,
        "--project",
        "fresh-one",
        "--hub",
        azure.hub,
    )
    assert result.exit_code == 0, result.output
    assert (load().project, load().region) == ("fresh-one", azure.region)


def test_a_model_in_azure_is_not_here(finetui: Finetui, rows: Path) -> None:
    run = ran(rows)
    assert f"finetui azure deploy {run}" in finetui("chat", run, "--prompt", "hello").stderr
    assert "finetui judge azure:NAME" in finetui("evaluate", run).stderr


def test_in_a_terminal_a_new_job_is_asked_about(
    azure: Emulator, finetui: Finetui, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[str] = []
    monkeypatch.setattr(supervisor, "resume", lambda ref: resumed.append(ref) or supervisor.get(ref))
    azure.settings.job_ending = "Failed"
    run = ran(rows)
    told = finetui("resume", run)
    assert (told.exit_code, resumed) == (2, [])  # nobody is there to answer, so nothing is spent
    assert re.search(r"paid for anew; the first was priced at about [\d.]+ USD\.", told.stderr)
    assert "--yes" in told.stderr
    again = finetui("train", rows, *MODEL, "--backend", "azure", "--name", "tone", "--go-on")
    assert (again.exit_code, resumed) == (2, [])
    assert f"finetui resume {run}" in again.stderr
    monkeypatch.setattr("tui.verbs.azure_text.interactive", lambda: True)
    refused = finetui("resume", run, stdin="n\n")
    assert refused.exit_code == 2
    assert "paid for anew" in refused.stderr
    assert "Send a new job?" in refused.stderr
    assert resumed == []
    assert finetui("resume", run, stdin="y\n").exit_code == 0
    assert finetui("resume", run, "--yes").exit_code == 0
    assert resumed == [run, run]


def test_a_stop_without_a_network_does_not_wait_for_it(
    azure: Emulator, finetui: Finetui, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.verbs.runs.CANCEL_S", 2.0)
    azure.settings.hold_jobs_at = "Running"
    run = finetui("azure", "submit", rows, *MODEL, "--name", "held", "--detach").stdout.strip()
    directory = RunDirectory(supervisor.get(run).directory)
    until(lambda: (directory.path / "azure.json").exists() and record(directory).submitted)
    until(lambda: record(directory).status == "Running")
    azure.faults.add("* *", kind="network_gone", seconds=3600)
    result = finetui("stop", run)
    assert result.exit_code == 0
    assert "stopping: the job is cancelled" in result.stderr
    assert "has not reached Azure yet" in result.stderr
    azure.settings.hold_jobs_at = None
    azure.faults.restore_network()


@pytest.mark.slow
def test_a_running_job_is_not_paused_but_stopped_even_when_nobody_watches(
    azure: Emulator,
    finetui: Finetui,
    rows: Path,
) -> None:
    azure.settings.hold_jobs_at = "Running"
    result = finetui("azure", "submit", rows, *MODEL, "--name", "held", "--detach")
    run = result.stdout.strip()
    directory = RunDirectory(supervisor.get(run).directory)
    until(lambda: (directory.path / "azure.json").exists() and record(directory).submitted)
    paused = finetui("pause", run)
    assert paused.exit_code == 2
    assert f"finetui stop {run}" in paused.stderr
    os.kill(supervisor.get(run).summary.pid, signal.SIGKILL)
    until(lambda: supervisor.get(run).state == "lost")
    assert "no second one is sent" in supervisor.get(run).next_step
    supervisor.stop(run)
    until(lambda: any("asked Azure to cancel" in item.text for item in of(directory, Status)))
    azure.settings.hold_jobs_at = None
    assert supervisor.wait(run, timeout_s=PATIENCE_S).state == "stopped"
    assert azure.state.jobs[record(directory).job].status == "Canceled"


def test_a_job_is_taken_up_on_another_machine(
    azure: Emulator,
    finetui: Finetui,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = ran(rows)
    first = record(RunDirectory(supervisor.get(run).directory))
    account = load()
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path / "other-machine"))
    save(account)
    result = finetui("azure", "attach", first.job)
    assert result.exit_code == 0, result.output
    [row] = supervisor.list_runs()
    assert row.state == "finished"
    assert row.summary.model == f"azureml:{first.registered}"
    assert row.step == 2
    made = azure.state.jobs[first.job]
    assert made.started and made.ended
    assert row.summary.worked_s == pytest.approx(
        made.ended - made.started, abs=0.01
    )  # not the watcher's time
    finetui("azure", "attach", first.job)
    assert len(supervisor.list_runs()) == 1
    assert list(azure.state.jobs).count(first.job) == 1


def test_a_role_that_is_too_small_is_told_by_the_run(azure: Emulator, finetui: Finetui, rows: Path) -> None:
    azure.state.set_role(READER)
    result = finetui("azure", "submit", rows, *MODEL)
    assert result.exit_code == 1
    assert "AuthorizationFailed" in result.output
    assert "Azure AI Developer" in result.stderr
