"""What `finetui azure ...` refuses, and what it says when it is interrupted or only part of Azure answers."""

# ruff: noqa: F811 - the fixtures are those of core.azure's tests

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.azure import data
from core.azure.account import Account, load, save
from core.azure.clients import Azure
from core.azure.rows import RowFile
from tests.azure_emulator.emulator import Emulator
from tests.core.azure.conftest import azure, clients, loopback, rows  # noqa: F401
from tests.core.azure.support import register_model
from tests.tui.verbs.conftest import Finetui
from tests.tui.verbs.test_azure import ran


def test_an_interrupted_deployment_names_what_goes_on_and_costs(
    azure: Emulator, finetui: Finetui, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> float:
        raise KeyboardInterrupt

    name, version = register_model(azure)
    monkeypatch.setattr("core.azure.endpoints.poll_s", interrupted)
    result = finetui("azure", "deploy", f"{name}:{version}", "--name", "left", "--yes")
    assert result.exit_code == 130
    assert "left" in azure.state.endpoints
    assert "Azure goes on making left" in result.stderr
    assert "0.80 USD an hour" in result.stderr
    assert "finetui azure undeploy left" in result.stderr


def test_a_deployment_interrupted_before_azure_is_asked_leaves_nothing(
    azure: Emulator, finetui: Finetui, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    name, version = register_model(azure)
    monkeypatch.setattr("core.azure.endpoints._refuse_forbidden", interrupted)
    result = finetui("azure", "deploy", f"{name}:{version}", "--yes")
    assert result.exit_code == 130
    assert azure.state.endpoints == {}
    assert "goes on" not in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("deploy", "nope:1"), "There is no model nope:1"),
        (("deploy", "tone:1", "--name", "Bad Name!"), "can't be called 'Bad Name!'"),
        (("logs", "nope"), "There is no job nope"),
        (("rotate", "nope"), "There is no endpoint nope"),
    ],
)
def test_what_is_not_there_is_named_before_any_price(
    azure: Emulator, finetui: Finetui, words: tuple[str, ...], said: str
) -> None:
    register_model(azure)
    result = finetui("azure", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Hours are charged" not in result.stderr
    assert not any(method == "PUT" for method, *_ in azure.requests)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--project", "nope"), "There is no project 'nope'"),
        (("--region", "mars"), "not in mars"),
        (("--project", "new-one", "--region", "mars"), "no region 'mars'"),
        (("--group", "nope", "--project", "new-one", "--region", "mars"), "no region 'mars'"),
    ],
)
def test_a_login_refuses_what_is_not_there(
    azure: Emulator, finetui: Finetui, words: tuple[str, ...], said: str
) -> None:
    before = load()
    result = finetui("azure", "login", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert azure.workspace in result.stderr or azure.region in result.stderr  # what there is
    assert load() == before


def test_a_project_that_is_to_be_made_is_chosen_with_its_region(azure: Emulator, finetui: Finetui) -> None:
    result = finetui("azure", "login", "--project", "new-one", "--region", "westus3")
    assert result.exit_code == 0, result.output
    assert "finetui azure check --fix --project new-one" in result.stderr
    assert (load().project, load().region) == ("new-one", "westus3")
    unnamed = finetui("azure", "check", "--fix")
    assert unnamed.exit_code == 2
    assert "--project NAME" in unnamed.stderr
    assert not any(method == "PUT" for method, *_ in azure.requests)


def test_a_project_is_chosen_with_its_group_and_region(azure: Emulator, finetui: Finetui) -> None:
    save(Account("service_principal", azure.tenant, azure.subscription))
    result = finetui("azure", "login", "--project", azure.workspace.upper(), "--region", azure.region)
    assert result.exit_code == 0, result.output
    assert (load().resource_group, load().project) == (azure.resource_group, azure.workspace)


@pytest.mark.parametrize("option", ["--group", "--project", "--region", "--hub"])
def test_a_fix_refuses_other_names_than_those_chosen(azure: Emulator, finetui: Finetui, option: str) -> None:
    result = finetui("azure", "check", "--fix", option, "another")
    assert result.exit_code == 2
    assert option in result.stderr
    assert "chosen already" in result.stderr or "no project is to be made" in result.stderr
    same = ("--group", azure.resource_group, "--project", azure.workspace, "--region", azure.region)
    assert finetui("azure", "check", "--fix", *same).exit_code == 0


def test_rows_that_can_not_be_saved_are_told_so(
    clients: Azure, finetui: Finetui, rows: Path, tmp_path: Path
) -> None:
    sent = data.ensure(clients, RowFile(rows, 12, rows.stat().st_size, "ab" * 32), "run-1", lambda *_: None)
    result = finetui("azure", "data", f"{sent.name}:{sent.version}", "--save", tmp_path / "none" / "x.jsonl")
    assert result.exit_code == 2
    assert "x.jsonl can't be written" in result.stderr


@pytest.mark.parametrize("words", [("prices", "phi-4-mini-instruct"), ("endpoints",), ("sweep",)])
def test_an_unknown_currency_is_refused(finetui: Finetui, words: tuple[str, ...]) -> None:
    result = finetui("azure", *words, "--currency", "XYZ")
    assert result.exit_code == 2
    assert "no such currency as 'XYZ'" in result.stderr
    assert finetui("azure", *words, "--currency", "eur").exit_code == 0


def test_an_empty_prompt_is_refused(finetui: Finetui) -> None:
    result = finetui("chat", "azure:nothing", "-p", "")
    assert result.exit_code == 2
    assert "--prompt is empty" in result.stderr


@pytest.mark.parametrize(
    ("fault", "listed", "left"),
    [
        ("GET resources", {"model", "data", "job"}, set()),  # the AI services accounts
        ("GET jobs", {"data"}, {"model", "data", "job"}),
        ("GET models", {"data", "job"}, {"model", "job"}),
        ("GET data", {"model", "job"}, {"data"}),
    ],
)
def test_a_list_that_fails_does_not_hide_the_others(
    azure: Emulator, finetui: Finetui, rows: Path, fault: str, listed: set[str], left: set[str]
) -> None:
    def kinds() -> set[str]:
        return {item["kind"] for item in json.loads(finetui("azure", "sweep", "--json").stdout)}

    azure.settings.training_steps = 2
    ran(rows)
    assert kinds() == {"model", "data", "job"}
    azure.faults.add(fault, kind="forbidden", times=1000)
    result = finetui("azure", "sweep")
    assert result.exit_code == 1
    assert "Not listed: The " in result.stderr
    assert "AuthorizationFailed" in result.stderr
    assert kinds() == listed
    # what tells whose another thing is, or may be in use, is not deleted
    assert finetui("azure", "sweep", "--delete", "--yes").exit_code == 1
    azure.faults.clear()
    assert kinds() == left


def test_a_sweep_is_refused_where_nothing_can_be_listed(azure: Emulator, finetui: Finetui) -> None:
    azure.faults.add("GET resourceGroups", kind="forbidden", times=1000)
    result = finetui("azure", "sweep")
    assert result.exit_code == 2
    assert "AuthorizationFailed" in result.stderr
    assert "Not listed" not in result.stderr


@pytest.mark.parametrize("words", [("--project", "P2"), ("--group", "a b")])
def test_a_login_refuses_names_that_azure_would_not_take(finetui: Finetui, words: tuple[str, str]) -> None:
    before = load()
    result = finetui("azure", "login", *words, "--region", "eastus2")
    assert result.exit_code == 2
    assert f"can't be called {words[1]!r}" in result.stderr
    assert load() == before


def test_a_managed_identity_that_is_not_there_is_no_matter_of_az(finetui: Finetui) -> None:
    result = finetui("azure", "login", "--identity", "managed_identity")
    assert result.exit_code == 2
    assert "az login" not in result.stderr
    assert "--identity` chooses another way" in result.stderr


def test_the_checklist_asks_for_no_name_that_is_chosen_already(azure: Emulator, finetui: Finetui) -> None:
    chosen = replace(load(), resource_group="new-group", project="new-project", region="westus3")
    save(chosen)
    told = finetui("azure", "check").stdout
    assert "finetui azure check --fix --project new-project\n" in told
    save(Account("service_principal", azure.tenant, azure.subscription))
    told = finetui("azure", "check").stdout
    assert "finetui azure check --fix --group NAME --project NAME --region REGION\n" in told
