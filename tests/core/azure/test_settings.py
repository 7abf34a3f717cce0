"""Recipe settings in Azure's words: sent as text, or refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.azure.settings import applies, hyperparameters, refusals, why_not
from core.recipe import Recipe, field, fields

REFUSED = [item.name for item in fields() if not applies(item)]


def test_values_go_as_plain_text(recipe: Callable[..., Recipe]) -> None:
    sent = hyperparameters(recipe(learning_rate=5e-6, epochs=10, batch_size=100))
    assert sent == {
        "learning_rate": "0.000005",
        "num_train_epochs": "10",
        "per_device_train_batch_size": "100",
    }


def test_what_is_not_set_is_not_sent(recipe: Callable[..., Recipe]) -> None:
    assert hyperparameters(recipe()) == {}
    assert list(refusals(recipe(seed=7, name="x"))) == []


@pytest.mark.parametrize("name", REFUSED)
def test_every_setting_that_azure_lacks_is_refused_by_name(recipe: Callable[..., Recipe], name: str) -> None:
    made = recipe().model_copy(update={name: 1})
    refused = list(refusals(made))
    assert [item.key for item in refused] == [name]
    assert f"`{name}`" in refused[0].sentence
    assert why_not(field(name)) in refused[0].sentence


def test_half_epochs_and_other_tasks_are_refused(recipe: Callable[..., Recipe]) -> None:
    assert [item.key for item in refusals(recipe(epochs=1.5))] == ["epochs"]
    assert [item.key for item in refusals(recipe(task="dpo"))] == ["task"]
    assert list(refusals(recipe(task="completion", epochs=2.0))) == []
