"""What a job costs by the price list is told with its submission, and unknown where the list can't be had."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from core.events import Submitted
from core.runs import compare, prices, worker
from core.runs.directory import RunDirectory
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.prices import METERS
from tests.core.azure.support import of

NewRun = Callable[..., RunDirectory]


def test_a_job_s_cost_is_its_tokens_by_its_epochs_at_the_listed_price(
    new_run: NewRun, azure: Emulator
) -> None:
    azure.settings.training_steps = 2
    run = new_run(epochs=3)
    assert worker.run(run.path) == 0
    rows = [json.loads(line) for line in (run.path / "data" / "train.jsonl").read_text().splitlines()]
    tokens = sum(len(turn["content"]) for row in rows for turn in row["messages"]) / 4
    (told,) = of(run, Submitted)
    each = {name: amount / 1000 for name, _, amount in METERS}
    assert told.cost_usd == pytest.approx(3 * tokens * each["Training Tokens"], rel=0.01)
    assert told.price_in_usd == pytest.approx(1e6 * each["Input Tokens"])
    assert told.price_out_usd == pytest.approx(1e6 * each["Output Tokens"])


def test_without_the_list_it_is_unknown_and_the_job_is_sent_all_the_same(
    new_run: NewRun, azure: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUI_AZURE_PRICES_URL", "https://127.0.0.1:1")
    monkeypatch.setattr("core.azure.prices._kept", {})  # what was asked in the last minutes
    azure.settings.training_steps = 2
    run, other = new_run(), new_run("other")
    assert worker.run(run.path) == 0
    (told,) = of(run, Submitted)
    assert (told.cost_usd, told.price_in_usd, told.price_out_usd) == (None, None, None)
    prices.set_hour_usd(100.0)
    found = {item.name: item.values for item in compare.compare([run.id, other.id]).figures}
    assert found["training_usd"] == (None, None)
