"""The registry: what can be tuned where, what is retired, and what follows it."""

from __future__ import annotations

import pytest

from core.azure import models
from core.azure.clients import Azure
from core.azure.faults import AzureError
from tests.azure_emulator.emulator import Emulator


def test_the_catalogues_models_are_listed_with_their_regions_and_retirements(clients: Azure) -> None:
    found = {item.name: item for item in models.search(clients)}
    live, retired = found["Phi-4-mini-instruct"], found["Phi-3.5-mini-instruct"]
    assert live.tunable
    assert live.tasks == ("chat-completion",)
    assert live.regions_from == "registry"
    assert (live.context, live.licence, live.version) == (131072, "MIT", "1")
    assert live.defaults["per_device_train_batch_size"] == 1
    assert not retired.tunable
    assert (retired.retired, retired.successor) == ("2025-08-30", "Phi-4-mini-instruct")
    assert found["Phi-4"].version == "8"  # the newest


def test_words_search_the_whole_registry(clients: Azure) -> None:
    assert [item.name for item in models.search(clients, "reasoning")] == ["Phi-4-mini-reasoning"]
    assert not models.search(clients, "reasoning")[0].tunable
    assert models.search(clients, "no such thing") == []


def test_a_region_leaves_only_what_it_tunes(clients: Azure) -> None:
    assert {item.name for item in models.search(clients, "phi", "eastus2")} >= {
        "Phi-4",
        "Phi-4-mini-instruct",
    }
    assert models.search(clients, "phi", "swedencentral") == []


def test_the_registrys_regions_go_before_the_catalogues(
    azure: Emulator, clients: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    held = azure.registries["azureml"]
    monkeypatch.setitem(held, "Phi-4", replace(held["Phi-4"], regions=("norwayeast",)))
    found = models.get(clients, "Phi-4")
    assert found.regions == ("norwayeast",)
    assert "only in norwayeast" in found.why_not("eastus2")
    assert models.known_of("phi-4").regions_from == "catalogue"
    assert "eastus2" in models.known_of("phi-4").regions


@pytest.mark.parametrize(
    "model", ["phi-4", "microsoft/phi-4", "azureml://registries/azureml/models/Phi-4/versions/8"]
)
def test_a_model_has_one_registry_id_however_it_is_named(model: str) -> None:
    assert models.registry_id(model) == "azureml://registries/azureml/models/Phi-4"


@pytest.mark.parametrize(
    "model", ["smollm2-135m-instruct", "nobody/knows", "azureml://registries/other/models/X"]
)
def test_a_model_that_azure_lacks_is_refused(model: str) -> None:
    with pytest.raises(AzureError):
        models.registry_id(model)


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ('["eastus2", "westus"]', ("eastus2", "westus")),
        ("eastus2,westus", ("eastus2", "westus")),
        (["EastUS2"], ("eastus2",)),
        ("[]", ()),
        (None, ()),
    ],
)
def test_a_tag_that_is_a_list_is_read_however_it_is_written(tag: object, words: tuple[str, ...]) -> None:
    assert models.listed(tag) == words


def test_a_name_of_the_registrys_is_taken_or_its_id_told() -> None:
    assert models.registry_id("Phi-4-mini-instruct") == models.registry_id("phi-4-mini-instruct")
    with pytest.raises(AzureError) as refused:
        models.registry_id("Phi-4-multimodal-instruct")
    identity = "azureml://registries/azureml/models/Phi-4-multimodal-instruct"
    assert refused.value.next_step.endswith(f"its id {identity}.")
    assert models.registry_id(identity) == identity
