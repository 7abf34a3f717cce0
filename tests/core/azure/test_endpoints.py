"""Endpoints: checked before they are made, priced, used with a key that stays in memory, and deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from core import paths
from core.azure import endpoints, plain, sweep, tuned
from core.azure.clients import Azure
from core.azure.faults import AzureError
from core.runs import worker
from core.runs.directory import RunDirectory
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.state import AI_DEVELOPER, READER, Workspace
from tests.core.azure.support import events, record, register_model

Names = Callable[[], str]


@pytest.fixture
def model(azure: Emulator) -> tuple[str, str]:
    """Name and version of a tuned model, as a job of nobody's has registered it."""
    return register_model(azure)


@pytest.fixture
def finished(new_run: Callable[..., RunDirectory], azure: Emulator) -> RunDirectory:
    """A run with a model in Azure."""
    azure.settings.training_steps = 2
    run = new_run()
    assert worker.run(run.path) == 0
    return run


def made_by(run: RunDirectory) -> tuple[str, str]:
    """Name and version of a run's model."""
    name, _, version = record(run).registered.partition(":")
    return name, version


def deploy(clients: Azure, model: tuple[str, str], **more: Any) -> str:
    """An endpoint named after the model."""
    list(endpoints.deploy(clients, model[0], *model, **{"content_safety": True, **more}))
    return model[0]


@pytest.mark.parametrize("content_safety", [True, False])
def test_an_endpoint_answers_with_its_content_filter_as_asked(
    azure: Emulator, clients: Azure, model: tuple[str, str], content_safety: bool
) -> None:
    name = deploy(clients, model, content_safety=content_safety, run="run-1")
    found = endpoints.get(clients, name)
    assert (found.state, found.model, found.run) == ("Online", ":".join(model), "run-1")
    assert found.content_safety == ("Enabled" if content_safety else "Disabled")
    assert found.billed
    base, key = endpoints.connection(name)
    with openai.OpenAI(base_url=base, api_key=key, max_retries=0, timeout=20) as client:
        reply = client.chat.completions.create(model=name, messages=[{"role": "user", "content": "hello"}])
    assert reply.choices[0].message.content
    assert azure.state.endpoints[name].answered == 1
    assert azure.schema_errors == []


def test_a_new_key_locks_the_old_one_out(clients: Azure, model: tuple[str, str]) -> None:
    name = deploy(clients, model)
    base, old = endpoints.connection(name)
    endpoints.rotate(clients, name)
    base, new = endpoints.connection(name)
    assert old != new
    messages: Any = [{"role": "user", "content": "hello"}]
    with (
        openai.OpenAI(base_url=base, api_key=old, max_retries=0, timeout=20) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model=name, messages=messages)
    with openai.OpenAI(base_url=base, api_key=new, max_retries=0, timeout=20) as client:
        assert client.chat.completions.create(model=name, messages=messages).choices


def test_asking_again_for_the_same_endpoint_makes_no_second_one(
    clients: Azure, model: tuple[str, str]
) -> None:
    deploy(clients, model)
    deploy(clients, model)
    assert len(endpoints.endpoints(clients)) == 1
    with pytest.raises(AzureError, match="has an endpoint already") as refused:
        list(endpoints.deploy(clients, "another", *model, content_safety=True))
    assert model[0] in refused.value.next_step


def test_an_endpoint_that_is_there_is_not_taken_for_another(
    clients: Azure, model: tuple[str, str], azure: Emulator
) -> None:
    name = deploy(clients, model, content_safety=False)
    with pytest.raises(AzureError, match="already") as refused:
        deploy(clients, model, content_safety=True)
    assert "content safety is disabled, not enabled" in refused.value.cause
    assert f"finetui azure undeploy {name}" in refused.value.next_step
    with pytest.raises(AzureError, match="already") as refused:
        endpoints.existing(clients, name, "other", "1", content_safety=False)
    assert f"It serves {model[0]}:{model[1]}, not other:1." in refused.value.cause
    before = len([method for method, *_ in azure.requests if method == "PUT"])
    said = list(endpoints.deploy(clients, name, *model, content_safety=False))
    assert any("exists already" in text for text in said)
    assert len([method for method, *_ in azure.requests if method == "PUT"]) == before
    assert endpoints.existing(clients, "free", *model, content_safety=False) is None


def test_an_endpoint_of_a_deleted_ones_name_was_never_used(clients: Azure, model: tuple[str, str]) -> None:
    name = deploy(clients, model)
    endpoints.connection(name)
    assert endpoints.get(clients, name).used
    endpoints.undeploy(clients, name)
    deploy(clients, model)
    assert endpoints.get(clients, name).used == 0.0


@pytest.mark.parametrize("name", ["", "with.dot", "with space", "-begins", "ends-", "x" * 53])
def test_a_name_that_can_not_be_is_refused_before_azure_is_asked(
    azure: Emulator, clients: Azure, model: tuple[str, str], name: str
) -> None:
    with pytest.raises(AzureError, match="can't be called"):
        list(endpoints.deploy(clients, name, *model, content_safety=True))
    assert not any(method == "PUT" and "serverlessEndpoints" in path for method, path, *_ in azure.requests)


def test_a_name_that_is_taken_is_azures_to_say(
    azure: Emulator, clients: Azure, model: tuple[str, str]
) -> None:
    azure.settings.endpoint_names_taken = {"taken"}
    with pytest.raises(AzureError) as refused:
        list(endpoints.deploy(clients, "taken", *model, content_safety=True))
    assert "not available" in refused.value.cause
    assert refused.value.request_id


def test_a_region_that_serves_no_tuned_ones_is_refused_before(
    azure: Emulator, clients: Azure, model: tuple[str, str]
) -> None:
    clients.account = clients.account.changed(region="norwayeast")
    with pytest.raises(AzureError, match="can't be deployed in norwayeast"):
        list(endpoints.deploy(clients, "elsewhere", *model, content_safety=True))
    assert not any(method == "PUT" and "serverlessEndpoints" in path for method, path, *_ in azure.requests)


def test_a_role_that_is_too_small_is_refused_before(
    azure: Emulator, clients: Azure, model: tuple[str, str]
) -> None:
    azure.state.set_role(READER)
    with pytest.raises(AzureError, match="may not make endpoints") as refused:
        list(endpoints.deploy(clients, "elsewhere", *model, content_safety=True))
    assert "serverlessEndpoints/write" in refused.value.cause
    azure.state.set_role(AI_DEVELOPER)
    deploy(clients, model)


def test_an_endpoint_that_azure_fails_to_make_says_so(
    azure: Emulator, clients: Azure, model: tuple[str, str]
) -> None:
    azure.settings.endpoint_ending = "Failed"
    with pytest.raises(AzureError) as refused:
        deploy(clients, model)
    assert "could not be started" in refused.value.cause
    found = endpoints.get(clients, model[0])
    assert found.state == "CreationFailed"
    assert not found.billed
    with pytest.raises(AzureError, match="no address"):
        raise _no_connection(clients, model[0])


def _no_connection(clients: Azure, name: str) -> AzureError:
    with pytest.raises(AzureError) as refused:
        endpoints.connection(name, clients)
    return AzureError(f"{refused.value.what} {refused.value.cause}")


def test_a_model_in_use_is_not_deleted_and_the_endpoint_is_named(
    clients: Azure, model: tuple[str, str]
) -> None:
    name = deploy(clients, model)
    with pytest.raises(AzureError, match="in use") as refused:
        tuned.delete(clients, *model, sweep.users(clients, *model))
    assert name in refused.value.cause
    assert f"finetui azure undeploy {name}" in refused.value.next_step
    endpoints.undeploy(clients, name)
    assert endpoints.find(clients, name) is None
    tuned.delete(clients, *model, sweep.users(clients, *model))
    assert tuned.versions(clients, model[0]) == []
    with pytest.raises(AzureError, match="no endpoint"):
        endpoints.undeploy(clients, name)


def test_all_endpoints_are_listed_with_their_price_and_the_idle_marked(
    azure: Emulator, clients: Azure, model: tuple[str, str]
) -> None:
    name = deploy(clients, model)
    [found] = plain.endpoints_priced(clients, "USD")
    assert found["hosting"]["amount"] == 0.8
    assert not found["idle"]
    azure.state.endpoints[name].made -= 2 * 24 * 3600
    assert plain.endpoints_priced(clients, "USD")[0]["idle"]
    endpoints.connection(name)
    [used] = plain.endpoints_priced(clients, "USD")
    assert not used["idle"]
    assert used["used"] == pytest.approx(time.time(), abs=60)


def test_a_sweep_finds_everything_and_deletes_it_in_order(
    azure: Emulator, clients: Azure, finished: RunDirectory
) -> None:
    name = deploy(clients, made_by(finished), run=finished.id)
    found = sweep.things(clients)
    assert [item.kind for item in found] == ["endpoint", "model", "data", "data", "job"]
    assert {item.run for item in found} == {finished.id}
    assert found[0].per_hour == 0.8
    assert found[1].used_by == name
    results = list(sweep.delete(clients, reversed(found)))
    assert [(item.kind, error) for item, error in results] == [(item.kind, None) for item in found]
    assert sweep.things(clients) == []
    project = azure.state.workspace(clients.account.project)
    assert project is not None
    assert (project.jobs, project.models, project.endpoints, project.data) == ({}, {}, {}, {})


def test_what_could_not_be_deleted_keeps_the_job_that_names_it(
    azure: Emulator, clients: Azure, finished: RunDirectory
) -> None:
    deploy(clients, made_by(finished), run=finished.id)
    azure.faults.add("DELETE serverlessEndpoints", kind="forbidden", times=10)
    errors = {item.kind: error for item, error in sweep.delete(clients, sweep.things(clients))}
    assert errors["endpoint"] is not None
    assert errors["model"] is not None  # it is still in use
    assert errors["data"] is None
    azure.faults.clear()
    assert {item.kind for item in sweep.things(clients)} >= {"endpoint", "model"}


def test_what_others_may_have_filled_stays_and_says_why(azure: Emulator, clients: Azure) -> None:
    where = (azure.subscription, azure.resource_group, "made-here", "Project", azure.region)
    azure.add_workspace(Workspace(*where, hub=azure.project.hub, tags={"finetui": "-"}))
    [thing] = sweep.things(clients)
    assert (thing.kind, thing.name) == ("project", "made-here")
    [(_, error)] = sweep.delete(clients, [thing])
    assert error is not None
    assert "portal" in error.cause
    assert azure.state.workspace("made-here") is not None


def test_a_running_job_is_not_swept(azure: Emulator, clients: Azure, finished: RunDirectory) -> None:
    azure.settings.hold_jobs_at = "Running"
    azure.state.jobs[record(finished).job].status = "Running"
    job = next(item for item in sweep.things(clients) if item.kind == "job")
    assert "finetui azure cancel" in job.stays
    rows = [item for item in sweep.things(clients) if item.kind == "data"]
    assert len(rows) == 2
    assert all(job.name in item.stays for item in rows)
    assert all(error is not None for _, error in sweep.delete(clients, [job, *rows]))
    azure.state.jobs[job.name].status = "Completed"
    assert not any(item.stays for item in sweep.things(clients))


def test_no_key_is_written_anywhere(clients: Azure, finished: RunDirectory) -> None:
    name = deploy(clients, made_by(finished))
    _, key = endpoints.connection(name)
    assert events(finished)
    for path in paths.data_dir().rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes()
