"""What is remembered of Azure: a checklist's answer silences the warning, an endpoint seen is named and priced."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from core.azure import endpoints, known, sweep, tuned
from core.azure.account import load, save
from core.azure.clients import Azure
from core.azure.readiness import checklist
from core.azure.record import begin, write
from core.backends.azure import AzureBackend
from core.errors import FinetuiError
from core.events import Finished, Starting, Submitted
from core.recipe import Recipe
from core.runs import lineage, supervisor
from core.runs.directory import RunDirectory
from core.runs.journal import Journal
from core.serving.endpoint import parse
from core.serving.in_azure import priced
from core.serving.targets import TargetError, target
from tests.azure_emulator.emulator import Emulator
from tests.core.azure.support import record, register_model
from tui import exporting
from tui.rundetails import details


def warnings(recipe: Recipe) -> list[str]:
    """What a plan warns of beside the rows."""
    return [
        item.sentence for item in AzureBackend().check(recipe).problems if item.key in ("backend", "model")
    ]


def test_a_plan_says_that_azure_was_not_asked_until_it_was(
    azure: Emulator, clients: Azure, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = recipe()
    assert "not asked" in warnings(mine)[0]
    list(checklist(clients))  # about no model
    assert "not asked" in warnings(mine)[0]
    list(checklist(clients, mine.model))
    assert warnings(mine) == []
    assert "not asked" in warnings(recipe(model="phi-4"))[0]
    save(replace(load(), project="another"))
    assert "not asked" in warnings(mine)[0]
    save(replace(load(), project=azure.workspace))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + known.KEPT_S + 1)
    assert "not asked" in warnings(mine)[0]


def test_what_azure_lacked_is_named_until_it_is_there(
    azure: Emulator, clients: Azure, recipe: Callable[..., Recipe]
) -> None:
    azure.state.set_provider(azure.subscription, "Microsoft.Network", "NotRegistered")
    list(checklist(clients, "phi-4-mini-instruct"))
    [words] = warnings(recipe())
    assert "Azure lacked what the run needs: Resource provider Microsoft.Network." in words
    azure.state.set_provider(azure.subscription, "Microsoft.Network", "Registered")
    list(checklist(clients, "phi-4-mini-instruct"))
    assert warnings(recipe()) == []


def tuned_run(new_run: Callable[..., RunDirectory]) -> RunDirectory:
    """A finished run whose model is in the project."""
    run = new_run()
    write(
        run.path,
        replace(begin(run.id, "tone", load()), status="Completed", submitted=True, registered="tone:1"),
    )
    with Journal(run.journal_path) as journal:
        journal.append(Starting(phase="x"))
        journal.append(Submitted(job="j", cost_usd=0.5, price_in_usd=2.0, price_out_usd=4.0))
        journal.append(Finished(step=2, model="azureml:tone:1"))
    return run


def test_an_endpoint_that_serves_a_run_is_named_and_its_replies_are_priced(
    azure: Emulator, clients: Azure, new_run: Callable[..., RunDirectory]
) -> None:
    register_model(azure)
    run = tuned_run(new_run)
    with pytest.raises(TargetError) as refused:
        target(run.id)
    assert f"finetui azure deploy {run.id}" in refused.value.next_step
    list(endpoints.deploy(clients, "ep1", "tone", "1", content_safety=True))
    assert endpoints.get(clients, "ep1").state == "Online"
    with pytest.raises(TargetError) as refused:
        target(run.id)
    assert refused.value.next_step == "`finetui chat azure:ep1` talks to it."
    with pytest.raises(exporting.ChoiceError) as kept:
        exporting.find(run.id)
    assert "`finetui judge azure:ep1 OTHER --data FILE`" in kept.value.next_step
    assert priced(parse("azure:ep1")).cost_usd(500_000, 250_000) == 2.0
    assert priced(parse("azure:ep1,in=1,out=1")).cost_usd(500_000, 500_000) == 1.0
    assert priced(parse("azure:other")).cost_usd(1, 1) is None
    endpoints.undeploy(clients, "ep1")
    with pytest.raises(TargetError) as refused:
        target(run.id)
    assert "ep1" not in str(refused.value.next_step)
    with pytest.raises(FinetuiError) as kept:
        exporting.find(run.id)
    assert "OTHER" in kept.value.next_step and f"finetui azure deploy {run.id}" in kept.value.next_step


@pytest.mark.parametrize("way", ["sweep", "delete"])
def test_a_run_says_that_finetui_has_deleted_its_model(
    azure: Emulator, clients: Azure, new_run: Callable[..., RunDirectory], way: str
) -> None:
    register_model(azure)
    run = tuned_run(new_run)
    other = tuned_run(new_run)
    write(other.path, replace(record(other), account=replace(load(), project="another")))
    if way == "sweep":
        assert [error for _, error in sweep.delete(clients, [sweep.Thing("model", "tone:1")])] == [None]
    else:
        tuned.delete(clients, "tone", "1", [])
    assert (record(run).registered, record(run).deleted) == ("", "tone:1")
    assert record(other).registered == "tone:1"  # another project's
    found = lineage.of(run)
    told = "\n".join(line.text for line in details(supervisor.get(run.id), 0.0, found))
    assert "tone:1, deleted in Azure since" in told
    with pytest.raises(TargetError, match="was deleted in Azure"):
        target(run.id)
