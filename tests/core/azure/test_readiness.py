"""The checklist: each line finds what is missing, and its remedy works."""

from __future__ import annotations

import pytest

from core.azure import account, choices, fixes
from core.azure.account import Account
from core.azure.clients import Azure
from core.azure.faults import AzureError
from core.azure.permissions import CREATE, TRAIN, allowed, missing_of
from core.azure.readiness import Line, checklist
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.state import AI_DEVELOPER, READER

LEARNING = "Microsoft.MachineLearningServices"


def lines(clients: Azure, model: str = "phi-4-mini-instruct") -> dict[str, Line]:
    return {line.key: line for line in checklist(clients, model)}


def test_a_ready_account_has_nothing_missing(clients: Azure) -> None:
    found = lines(clients)
    assert {line.state for key, line in found.items() if key not in ("quota", "ai_services")} == {"ok"}
    assert found["quota"].state == "unknown"  # Azure doesn't tell, and that is said
    assert found["ai_services"].state == "optional"
    assert all(line.meaning and line.cost for line in found.values())
    assert list(found) == [
        "subscription", "provider Microsoft.Network", f"provider {LEARNING}", "group", "role", "project", "region",
        "storage", "quota", "ai_services",
    ]  # fmt: skip


def test_a_disabled_subscription_is_its_owners_to_enable(azure: Emulator, clients: Azure) -> None:
    azure.state.subscriptions[azure.subscription].state = "Disabled"
    line = next(checklist(clients))
    assert (line.state, line.fix) == ("missing", "")
    assert "disabled" in line.found
    assert line.ask


@pytest.mark.parametrize("namespace", ["Microsoft.Network", LEARNING])
def test_a_provider_is_registered_and_watched(azure: Emulator, clients: Azure, namespace: str) -> None:
    azure.state.set_provider(azure.subscription, namespace, "NotRegistered")
    line = lines(clients)[f"provider {namespace}"]
    assert (line.state, line.fix) == ("missing", f"register {namespace}")
    states = list(fixes.fixed(clients, line.fix, "", "", ""))
    assert states[0] == "Registering"
    assert states[-1] == "Registered"
    assert lines(clients)[f"provider {namespace}"].state == "ok"


def test_a_role_that_is_too_small_names_what_it_lacks_and_whom_to_ask(
    azure: Emulator, clients: Azure
) -> None:
    azure.state.set_role(READER)
    line = lines(clients)["role"]
    assert line.state == "missing"
    assert f"{LEARNING}/workspaces/jobs/write" in line.found
    assert clients.account.resource_group in line.ask


def test_azure_ai_developer_is_enough_to_train_but_not_to_make_a_hub(azure: Emulator, clients: Azure) -> None:
    azure.state.set_role(AI_DEVELOPER)
    found = lines(clients)
    assert found["role"].state == "ok"
    assert "not to make a hub" in found["role"].found
    clients.account = clients.account.changed(project="not-there")
    clients.forget()
    project = lines(clients)["project"]
    assert (project.state, project.fix) == ("missing", "")
    assert "Contributor" in project.ask


@pytest.mark.slow
def test_from_nothing_to_a_project(azure: Emulator, clients: Azure) -> None:
    clients.account = Account("service_principal", azure.tenant, azure.subscription)
    clients.forget()
    found = lines(clients)
    assert found["group"].fix == "create_group"
    assert found["project"].state == "waiting"
    list(fixes.fixed(clients, "create_group", "made-here", "", "westus3"))
    assert lines(clients)["project"].fix == "create_project"
    said = list(fixes.fixed(clients, "create_project", "made-project", "made-hub", "westus3"))
    assert "made-project" in said[-1]
    ready = lines(clients)
    assert {line.state for key, line in ready.items() if key not in ("quota", "ai_services")} == {"ok"}
    chosen = account.load()
    assert (chosen.resource_group, chosen.project, chosen.region) == ("made-here", "made-project", "westus3")
    assert [(item.name, item.hub, item.own) for item in choices.projects(clients)] == [
        ("made-project", "made-hub", True)
    ]
    # a second time is no harm
    list(fixes.fixed(clients, "create_project", "made-project", "made-hub", "westus3"))
    assert len(choices.projects(clients)) == 1


def test_a_region_that_does_not_tune_the_model_is_named(azure: Emulator, clients: Azure) -> None:
    workspace = azure.state.workspace(clients.account.project)
    assert workspace is not None
    workspace.location = "swedencentral"
    line = lines(clients)["region"]
    assert (line.state, line.fix) == ("missing", "create_project")
    assert "swedencentral" in line.found
    assert lines(clients, "phi-3-mini-4k-instruct")["region"].fix == ""  # no region helps


@pytest.mark.parametrize("model", ["nonsense", "azureml://registries/azureml/models/nonsense"])
def test_a_model_that_azure_lacks_is_missing(clients: Azure, model: str) -> None:
    line = lines(clients, model)["region"]
    assert (line.state, line.fix) == ("missing", "")
    assert "nonsense" in line.found


def test_a_storage_that_can_not_be_written_is_found(
    azure: Emulator, clients: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert azure.blobs is not None
    given = azure.blobs.signature
    monkeypatch.setattr(azure.blobs, "signature", lambda container, _: given(container, -1.0))
    line = lines(clients)["storage"]
    assert line.state == "missing"
    assert "AuthorizationFailure" in line.found
    assert line.ask


def test_what_can_not_be_asked_is_unknown_and_the_rest_goes_on(azure: Emulator, clients: Azure) -> None:
    azure.faults.add("GET permissions", kind="forbidden", times=1000)
    found = lines(clients)
    assert found["role"].state == "unknown"
    assert "AuthorizationFailed" in found["role"].found
    assert found["storage"].state == "ok"


def test_a_project_that_fails_to_be_made_says_so(azure: Emulator, clients: Azure) -> None:
    azure.settings.workspace_ending = "Failed"
    with pytest.raises(AzureError):
        list(fixes.create_project(clients, "hub-that-fails", "project-that-fails", "eastus2"))
    assert account.load().project == clients.account.project


@pytest.mark.parametrize("name", ["", "a b", "x" * 40, "-a"])
def test_a_name_that_azure_would_refuse_is_refused_here(clients: Azure, name: str) -> None:
    with pytest.raises(AzureError, match="can't be called"):
        list(fixes.create_project(clients, "good-hub", name, "eastus2"))


def test_roles_are_read_as_azure_reads_them() -> None:
    contributor = [(("*",), ("Microsoft.Authorization/*/Write",))]
    developer = [((f"{LEARNING}/workspaces/*/write",), (f"{LEARNING}/workspaces/write",))]
    assert missing_of([*TRAIN, *CREATE], contributor) == []
    assert not allowed("Microsoft.Authorization/roleAssignments/write", contributor)
    assert allowed(f"{LEARNING}/workspaces/JOBS/write", developer)
    assert not allowed(f"{LEARNING}/workspaces/write", developer)
    assert allowed(f"{LEARNING}/workspaces/write", [*developer, *contributor])  # another role may give it


def test_a_group_that_is_there_needs_no_region(azure: Emulator, clients: Azure) -> None:
    clients.account = Account("service_principal", azure.tenant, azure.subscription)
    clients.forget()
    assert fixes.region_of(clients, azure.resource_group) == azure.region
    assert fixes.region_of(clients, "not-there") == ""
    assert fixes.create_group(clients, azure.resource_group, "").resource_group == azure.resource_group
    list(fixes.fixed(clients, "create_project", "no-region-named", azure.hub, ""))
    assert account.load().region == azure.region
    with pytest.raises(AzureError, match="needs its region"):
        fixes.create_group(clients, "not-there", "")
