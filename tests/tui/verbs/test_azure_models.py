"""`finetui azure models|subscribe|data`, and talking to an endpoint, on the loopback Azure."""

# ruff: noqa: F811 - the fixtures are those of core.azure's tests

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from core.azure.account import load, save
from core.runs import supervisor
from tests.azure_emulator.emulator import Emulator
from tests.core.azure.conftest import azure, loopback, rows  # noqa: F401
from tests.core.azure.support import register_model
from tests.core.azure.test_assets import REF, put
from tests.tui.verbs.conftest import Finetui
from tests.tui.verbs.test_azure import MODEL, data


def test_models_are_listed_with_task_region_and_price(finetui: Finetui) -> None:
    listing = finetui("azure", "models", "phi-4", "--region", "westus3", "--prices").stdout
    assert "Phi-4-mini-instruct" in listing
    assert (
        "tuned for chat-completion; training 3.00 USD for a million tokens (Phi-4-mini-instruct FT Training"
        in listing
    )
    assert "retired 2025-08-30, see Phi-4-mini-instruct" in finetui("azure", "models", "phi-3.5").stdout
    nowhere = finetui("azure", "models", "--region", "nonsense")
    assert "No such models that are tuned in nonsense." in nowhere.stderr


def test_a_partners_offer_is_taken_after_a_yes(azure: Emulator, finetui: Finetui) -> None:
    llama = "azureml://registries/azureml-meta/models/Meta-Llama-3.1-8B-Instruct"
    assert f"finetui azure subscribe {llama}" in finetui("azure", "models", "--partners").stdout
    assert finetui("azure", "models", "--partners", "--region", "eastus2").stdout == ""
    elsewhere = finetui("azure", "subscribe", llama, "--yes")
    assert elsewhere.exit_code == 2
    assert "can't be tuned in eastus2, only in westus3" in elsewhere.stderr
    azure.project.location = "westus3"
    save(replace(load(), region="westus3"))
    asked = finetui("azure", "subscribe", llama)
    assert asked.exit_code == 2
    assert "terms and prices" in asked.stderr
    assert azure.project.marketplace == {}
    assert data(finetui, "azure", "subscribe", llama, "--yes") == {"model": llama, "subscribed": True}
    again = finetui("azure", "subscribe", llama)
    assert "already" in again.stderr
    assert f"`finetui azure submit FILE --model {llama}` tunes it" in again.stderr
    assert finetui("azure", "subscribe", "phi-4").exit_code == 2


@pytest.mark.slow
def test_a_chat_with_an_endpoint_shows_the_code_and_waits(azure: Emulator, finetui: Finetui) -> None:
    register_model(azure)
    assert finetui("azure", "deploy", "tone:1", "--yes").exit_code == 0
    save(replace(load(), identity="device_code"))
    azure.settings.device_code_approves_after = 0.0
    result = finetui("chat", "azure:tone", "--prompt", "anybody there")
    assert result.exit_code == 0, result.output
    assert re.search(r"waiting for the code \w+ at https://", result.stderr)
    assert "anybody there" in result.stdout.partition("> anybody there")[2]


def test_a_data_asset_is_listed_looked_into_and_trained_on(
    azure: Emulator, finetui: Finetui, tmp_path: Path
) -> None:
    put(azure)
    assert [item["ref"] for item in data(finetui, "azure", "data")] == [REF]
    assert REF in finetui("azure", "data").stdout
    looked = finetui("azure", "data", REF, "--save", tmp_path / "here.jsonl")
    assert looked.exit_code == 0
    assert f"{REF}: 12 rows, 0 can't be used" in looked.stdout
    assert len((tmp_path / "here.jsonl").read_text(encoding="utf-8").splitlines()) == 12
    plan = finetui("plan", REF, *MODEL, "--backend", "azure")
    assert plan.exit_code == 0
    assert "rows      12" in plan.stdout
    here = finetui("plan", REF, "--model", "phi-4-mini-instruct")
    assert here.exit_code == 2
    assert f"{REF} lies in Azure" in here.stderr
    put(azure, "azureml:broken:1", text='{"messages": [{"role": "user", "content": "and?"}]}\n')
    broken = finetui("azure", "data", "broken:1")
    assert broken.exit_code == 2
    assert "error    line 1: " in broken.stdout


def test_a_name_that_models_lists_is_taken_or_its_id_is_told(finetui: Finetui, rows: Path) -> None:
    listing = finetui("azure", "models", "phi-4").stdout
    identity = "azureml://registries/azureml/models/Phi-4-multimodal-instruct"
    assert f"as a model of a recipe: {identity}" in listing
    assert identity in finetui("azure", "prices", "Phi-4-multimodal-instruct").stderr
    assert finetui("azure", "prices", identity).exit_code == 0
    assert finetui("azure", "prices", "Phi-4-mini-instruct").exit_code == 0


def test_json_has_the_cost_too(finetui: Finetui, rows: Path) -> None:
    found = data(finetui, "azure", "submit", rows, *MODEL, "--epochs", "2", "--check")
    price = found["price"]
    assert price["billed_tokens"] == 2 * found["remote"]["tokens"]
    assert price["cost"] == pytest.approx(
        price["billed_tokens"] / 1000 * price["prices"]["training"]["amount"]
    )
    assert data(finetui, "plan", rows, *MODEL, "--backend", "azure", "--epochs", "2")["price"] == price
    listed = data(finetui, "azure", "prices", MODEL[1], "--tokens", "1000000")
    assert (listed["training"]["units"], listed["training"]["cost"]) == (1e6, pytest.approx(3.0))
    assert listed["hosting"]["cost"] == pytest.approx(584.0)
    assert "cost" not in data(finetui, "azure", "prices", MODEL[1])["training"]


def test_all_there_is_to_choose_is_told_in_words(azure: Emulator, finetui: Finetui) -> None:
    with azure.state.lock:
        azure.project.tags["finetui"] = "-"
    told = finetui("azure", "account", "--all").stdout
    assert "made by finetui" in told and "True" not in told


def test_a_model_is_deployed_by_its_name_alone(azure: Emulator, finetui: Finetui) -> None:
    register_model(azure)
    made = data(finetui, "azure", "deploy", "tone", "--yes")
    assert made["model"] == "tone:1"


@pytest.mark.parametrize("ref", ["azureml:nope:1", "azureml:broken:1"])
def test_a_data_asset_that_can_not_be_trained_on_makes_no_run(
    azure: Emulator, finetui: Finetui, ref: str
) -> None:
    put(azure, "azureml:broken:1", text='{"messages": [{"role": "user", "content": "and?"}]}\n')
    result = finetui("azure", "submit", ref, *MODEL, "--detach")
    assert result.exit_code == 2
    assert ref in result.stderr
    assert supervisor.list_runs() == []


def test_azure_has_no_model_of_its_own_choice(finetui: Finetui, rows: Path) -> None:
    result = finetui("azure", "submit", rows, "--check")
    assert result.exit_code == 2
    assert "`model` is required" in result.stderr
    assert "smollm2" not in result.stderr
