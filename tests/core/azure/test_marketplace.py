"""Partners' models: tuned through the Azure Marketplace only, named as such, and sent only where the offer is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.azure import jobs, marketplace, models
from core.azure.account import load, save
from core.azure.clients import Azure
from core.azure.faults import AzureError
from core.azure.readiness import checklist
from core.events import Failed
from core.recipe import Recipe
from core.runs import worker
from core.runs.directory import RunDirectory
from tests.azure_emulator.emulator import Emulator
from tests.core.azure.support import of, record

LLAMA = "azureml://registries/azureml-meta/models/Meta-Llama-3.1-8B-Instruct"


@pytest.fixture(autouse=True)
def where_llama_is_tuned(azure: Emulator) -> None:
    azure.project.location = "westus3"
    save(replace(load(), region="westus3"))


def test_partners_models_that_can_be_tuned_are_named_with_their_partner(clients: Azure) -> None:
    [found] = models.partners(clients)
    assert (found.id, found.partner, found.regions) == (LLAMA, "Meta", ("westus3",))
    assert models.partners(clients, "mistral") == []
    assert {item.partner for item in models.search(clients)} == {""}


def test_only_known_registries_are_taken() -> None:
    assert models.registry_id(f"{LLAMA}/versions/4") == LLAMA
    assert models.partner_of("azureml://registries/azureml/models/Phi-4") == ""
    with pytest.raises(AzureError, match="in no registry that finetui knows"):
        models.registry_id("azureml://registries/other/models/X")


def test_without_the_offer_nothing_is_sent_and_with_it_the_job_is(
    azure: Emulator, clients: Azure, recipe: Callable[..., Recipe]
) -> None:
    azure.settings.training_steps = 2
    run = RunDirectory.create(recipe(model=LLAMA), "llama")
    assert worker.run(run.path) == 2
    failed = of(run, Failed)[-1]
    assert "Meta's" in failed.what
    assert f"finetui azure subscribe {LLAMA}" in failed.next_step
    assert not any(method == "PUT" for method, *_ in azure.requests)
    [line] = [line for line in checklist(clients, LLAMA) if line.key == "marketplace"]
    assert (line.state, line.fix) == ("missing", "")

    marketplace.subscribe(clients, LLAMA)
    assert marketplace.status(clients, LLAMA) == marketplace.SUBSCRIBED
    states = {line.key: line.state for line in checklist(clients, LLAMA)}
    assert (states["marketplace"], states["region"]) == ("ok", "ok")
    assert worker.run(run.path) == 0
    assert jobs.get(clients, record(run).job).model == f"{LLAMA}/versions/4"


def test_microsofts_own_need_no_offer(clients: Azure) -> None:
    phi = "azureml://registries/azureml/models/Phi-4-mini-instruct"
    marketplace.refuse_unsubscribed(clients, phi)
    assert "marketplace" not in {line.key for line in checklist(clients, "phi-4-mini-instruct")}
    with pytest.raises(AzureError, match="needs no offer"):
        marketplace.subscribe(clients, phi)


def test_no_offer_is_taken_where_the_region_can_not_tune_the_model(azure: Emulator) -> None:
    azure.project.location = "eastus2"
    save(replace(load(), region="eastus2"))
    with pytest.raises(AzureError, match="can't be tuned in eastus2, only in westus3"):
        marketplace.subscribe(Azure(load()), LLAMA)
    assert azure.project.marketplace == {}
