"""The screens' Azure process: every request by its name, over real pipes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core.azure.account import load, save
from core.azure.record import Record
from core.pipes import PipeClient, PipeError
from core.runs import worker
from core.runs.directory import RunDirectory
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.entra import PERSON_NAME
from tests.azure_emulator.state import CLIENT, TENANT
from tests.core.azure.support import record
from tests.core.azure.test_assets import REF, put

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def kept_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("desk") / "home"


@pytest.fixture
def home(kept_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One home for all of these tests, since the process they share has it."""
    monkeypatch.setenv("FINETUI_HOME", str(kept_home))
    return kept_home


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(kept_home: Path) -> AsyncIterator[PipeClient]:
    """One process for all of these tests, as it serves the app for days; it starts at the first request."""
    client = PipeClient("core.azure.worker", kept_home.parent / "azure-worker.log")
    yield client
    await client.close()


async def streamed(desk: PipeClient, op: str, **arguments: Any) -> tuple[list[Any], Any]:
    """(chunks, result) of a request."""
    chunks, result = [], None
    async for kind, value in desk.stream(op, **arguments):
        if kind == "chunk":
            chunks.append(value)
        else:
            result = value
    return chunks, result


async def test_account_choices_and_checklist(desk: PipeClient, azure: Emulator) -> None:
    account = await desk.call("account")
    assert account["note"] == "emulator"
    assert account["missing"] == []
    assert account["unattended"]
    who = await desk.call("signed_in")
    assert (who["signed_in"], who["user"], who["user_tenant"]) == (True, CLIENT, TENANT)
    assert [item["id"] for item in await desk.call("subscriptions")] == [azure.subscription]
    assert azure.resource_group in {item["name"] for item in await desk.call("groups")}
    assert account["project"] in {item["name"] for item in await desk.call("projects")}
    assert azure.hub in {item["name"] for item in await desk.call("projects", hubs=True)}
    lines, result = await streamed(desk, "checklist", model="phi-4-mini-instruct")
    assert result == {"ready": True}
    assert [line["key"] for line in lines][0] == "subscription"


async def test_choosing_elsewhere_is_seen_at_once(desk: PipeClient, azure: Emulator) -> None:
    assert (await desk.call("choose", project="not-there"))["project"] == "not-there"
    lines, result = await streamed(desk, "checklist")
    assert result == {"ready": False}
    assert {line["key"]: line["state"] for line in lines}["project"] == "missing"


async def test_a_device_code_comes_as_a_chunk(desk: PipeClient, azure: Emulator) -> None:
    shown, result = [], None
    async for kind, value in desk.stream("sign_in", identity="device_code"):
        if kind == "chunk":
            shown.append(value)
            azure.entra.approve(value["code"])
        else:
            result = value
    assert len(shown) == 1
    assert shown[0]["url"]
    assert result["identity"] == "device_code"
    assert (result["user"], result["user_tenant"]) == (PERSON_NAME, TENANT)
    assert (await desk.call("signed_in"))["signed_in"]
    assert await desk.call("subscriptions")


async def test_before_the_sign_in_that_is_what_is_said(desk: PipeClient) -> None:
    assert (await desk.call("signed_in"))["signed_in"]  # by the service principal, whatever was before
    save(replace(load(), identity="device_code"))
    found = await desk.call("signed_in")
    assert (found["signed_in"], found["code"]) == (False, "sign_in_needed")


async def test_a_sign_in_can_be_given_up(desk: PipeClient, azure: Emulator) -> None:
    async for kind, _ in desk.stream("sign_in", identity="device_code"):
        assert kind == "chunk"
        break
    found = await desk.call("account")  # the process serves on
    assert found["identity"] == "service_principal"  # and the sign-in that works stays


async def test_models_prices_deployment_and_clean_up(
    desk: PipeClient, azure: Emulator, new_run: Callable[..., RunDirectory]
) -> None:
    azure.settings.training_steps = 2
    run = new_run()
    assert worker.run(run.path) == 0
    known = record(run)
    assert "Phi-4-mini-instruct" in {item["name"] for item in await desk.call("models", words="mini")}
    assert (await desk.call("prices", model="phi-4-mini-instruct"))["training"]["amount"] == 0.003
    assert [item["name"] for item in await desk.call("jobs")] == [known.job]
    assert any(item["text"] for item in await desk.call("logs", name=known.job))
    [model] = await desk.call("registered_models")
    assert (f"{model['name']}:{model['version']}", model["run"]) == (known.registered, run.id)
    said, made = await streamed(desk, "deploy", name="tone", model=known.registered, run=run.id)
    assert said[-1]["text"] == "ready"
    assert made["state"] == "Online"
    assert (await desk.call("endpoints"))[0]["hosting"]["amount"] == 0.8
    assert await desk.call("rotate", name="tone") == {"rotated": "tone", "which": "Primary"}
    with pytest.raises(PipeError, match="in use"):
        await desk.call("delete_model", model=known.registered)
    found = await desk.call("sweep")
    assert found["not_listed"] == []
    things = found["things"]
    done, result = await streamed(desk, "sweep_delete", keys=[item["key"] for item in things])
    assert [item for item in done if item["error"] is not None] == []
    assert result == {"deleted": len(things), "failed": 0}
    assert await desk.call("sweep") == {"things": [], "not_listed": []}


async def test_one_refused_list_hides_no_other(
    desk: PipeClient, azure: Emulator, new_run: Callable[..., RunDirectory]
) -> None:
    azure.settings.training_steps = 2
    worker.run(new_run().path)
    azure.faults.add("GET models", kind="forbidden", times=100)
    found = await desk.call("sweep")
    [error] = found["not_listed"]
    assert "AuthorizationFailed" in error["cause"]
    assert {item["kind"] for item in found["things"]} == {"job", "data"}
    jobs = [item for item in found["things"] if item["kind"] == "job"]
    assert jobs and all(item["stays"] for item in jobs)  # nobody knows whether its model is still there


async def test_no_answer_holds_a_key(
    desk: PipeClient, azure: Emulator, new_run: Callable[..., RunDirectory]
) -> None:
    azure.settings.training_steps = 2
    run = new_run()
    worker.run(run.path)
    answers: list[Any] = [await streamed(desk, "deploy", name="tone", model=record(run).registered)]
    answers += [await desk.call(op) for op in ("endpoints", "sweep", "registered_models", "jobs")]
    answers.append(await desk.call("rotate", name="tone"))
    for key in azure.state.endpoints["tone"].keys.values():
        assert key not in json.dumps(answers)


async def test_a_job_is_attached_elsewhere(
    desk: PipeClient, azure: Emulator, new_run: Callable[..., RunDirectory]
) -> None:
    azure.settings.training_steps = 2
    run = new_run(learning_rate=2e-5, epochs=3, batch_size=4)
    worker.run(run.path)
    first = record(run)
    found = await desk.call("attach", name=first.job)
    again = Record(**{**found["record"], "account": load()})
    assert (again.job, again.base, again.output) == (first.job, first.base, first.output)
    assert (again.training, again.validation) == (first.training, first.validation)
    assert (again.rows, again.validation_rows, again.submitted) == (9, 3, True)
    recipe = found["recipe"]
    assert (recipe["learning_rate"], recipe["epochs"], recipe["batch_size"]) == (2e-5, 3.0, 4)
    assert recipe["model"] == "phi-4-mini-instruct"
    assert len(Path(recipe["data"][0]["path"]).read_text(encoding="utf-8").splitlines()) == 9


async def test_what_azure_refuses_comes_with_its_three_parts(desk: PipeClient, azure: Emulator) -> None:
    azure.faults.add("GET jobs", kind="forbidden", times=10)
    with pytest.raises(PipeError) as refused:
        await desk.call("jobs")
    assert "AuthorizationFailed" in refused.value.cause
    assert refused.value.next_step


async def test_data_assets_are_listed_and_looked_into(desk: PipeClient, azure: Emulator) -> None:
    put(azure)
    assert [item["ref"] for item in await desk.call("assets")] == [REF]
    looked = await desk.call("asset", ref=REF)
    assert (looked["rows"], looked["faults"], looked["why"]) == (12, [], "")
    with pytest.raises(PipeError, match="no data asset azureml:nothing:1"):
        await desk.call("asset", ref="azureml:nothing:1")
