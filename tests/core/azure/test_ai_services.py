"""Azure AI services: made and connected to the hub when wanted, never needed."""

from __future__ import annotations

import json

import pytest

from core.azure import account, ai_services, fixes, sweep
from core.azure.clients import Azure
from core.azure.faults import AzureError
from core.azure.readiness import Line, checklist
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.state import AI_DEVELOPER

NAME = "speech-and-more"


def line(clients: Azure) -> Line:
    return next(line for line in checklist(clients) if line.key == "ai_services")


def connections(azure: Emulator, hub: str) -> dict[str, dict[str, object]]:
    workspace = azure.state.workspace(hub)
    assert workspace is not None
    return {name: one["properties"] for name, one in workspace.connections.items()}


def puts(azure: Emulator, part: str) -> list[str]:
    return [path for method, path, *_ in azure.state.requests if method == "PUT" and part in path]


def test_an_account_is_made_and_connected_to_the_hub_without_a_key(azure: Emulator, clients: Azure) -> None:
    before = line(clients)
    assert (before.state, before.fix) == ("optional", "connect_ai_services")
    assert "AI Search" in before.meaning and before.cost == ai_services.COST
    said = list(fixes.fixed(clients, before.fix, "", "", "", NAME))
    assert f"{ai_services.PROVIDER} is registered first" in said
    assert said[-1] == f"{NAME} is connected to the hub {azure.hub}"
    [made] = azure.state.ai_services.values()
    assert (made["kind"], made["sku"], made["location"]) == ("AIServices", {"name": "S0"}, azure.region)
    assert made["properties"]["customSubDomainName"] == NAME
    [(name, properties)] = connections(azure, azure.hub).items()
    assert (name, properties["category"], properties["authType"]) == (NAME, "AIServices", "AAD")
    assert properties["target"] == made["properties"]["endpoint"]
    assert properties["metadata"] == {"ResourceId": made["id"]}
    assert "listKeys" not in json.dumps(azure.state.requests)
    after = line(clients)
    assert (after.state, after.fix) == ("ok", "")
    assert NAME in after.found
    if azure.schemas.checking:
        assert azure.schemas.checked["request workspaces/connections"]


def test_what_is_there_is_taken_and_a_second_time_is_no_harm(azure: Emulator, clients: Azure) -> None:
    list(fixes.connect_ai_services(clients, NAME))
    hub = azure.state.workspace(azure.hub)
    assert hub is not None
    hub.connections.clear()
    list(fixes.connect_ai_services(clients, NAME))
    assert list(fixes.connect_ai_services(clients, NAME)) == [
        f"{NAME} is connected to the hub {azure.hub} already"
    ]
    assert len(puts(azure, "/accounts/")) == 1
    assert len(puts(azure, "/connections/")) == 2


@pytest.mark.slow
def test_a_new_hub_and_project_come_with_it(azure: Emulator, clients: Azure) -> None:
    said = list(fixes.fixed(clients, "create_project", "with-it", "with-it-hub", "westus3", NAME))
    assert said[-1] == f"{NAME} is connected to the hub with-it-hub"
    assert list(connections(azure, "with-it-hub")) == [NAME]
    assert connections(azure, azure.hub) == {}
    assert [item.region for item in ai_services.accounts(clients)] == ["westus3"]


@pytest.mark.slow
def test_one_that_fails_leaves_the_project_chosen(azure: Emulator, clients: Azure) -> None:
    azure.settings.subdomains_taken = {NAME}
    with pytest.raises(AzureError) as caught:
        list(fixes.fixed(clients, "create_project", "without-it", "without-it-hub", "", NAME))
    assert caught.value.code == "CustomDomainInUse"
    assert "another name" in caught.value.next_step
    assert account.load().project == "without-it"


@pytest.mark.parametrize("name", ["", "a b", "-ab", "ab-", "a_b", "x" * 34])
def test_a_name_that_azure_would_refuse_makes_nothing(azure: Emulator, clients: Azure, name: str) -> None:
    with pytest.raises(AzureError, match="can't be called"):
        list(fixes.fixed(clients, "connect_ai_services", "", "", "", name))
    assert puts(azure, "/") == []
    assert azure.state.provider(azure.subscription, ai_services.PROVIDER) == "NotRegistered"


def test_an_account_of_another_kind_is_refused(azure: Emulator, clients: Azure) -> None:
    list(fixes.connect_ai_services(clients, NAME))
    hub = azure.state.workspace(azure.hub)
    assert hub is not None
    hub.connections.clear()
    next(iter(azure.state.ai_services.values()))["kind"] = "SpeechServices"
    assert ai_services.accounts(clients) == []
    with pytest.raises(AzureError, match="SpeechServices"):
        list(fixes.connect_ai_services(clients, NAME))


def test_a_role_that_is_too_small_asks_somebody(azure: Emulator, clients: Azure) -> None:
    azure.state.set_role(AI_DEVELOPER)
    found = line(clients)
    assert (found.state, found.fix) == ("optional", "")
    assert "Contributor" in found.ask


def test_the_clean_up_lists_what_finetui_made_and_says_why_it_stays(azure: Emulator, clients: Azure) -> None:
    list(fixes.connect_ai_services(clients, NAME))
    [thing] = [thing for thing in sweep.things(clients) if thing.kind == "ai_services"]
    assert thing.name == NAME
    assert "until it is used" in thing.cost and "portal" in thing.stays
    [(_, error)] = sweep.delete(clients, [thing])
    assert error is not None
    next(iter(azure.state.ai_services.values()))["tags"] = {}
    assert [thing for thing in sweep.things(clients) if thing.kind == "ai_services"] == []
