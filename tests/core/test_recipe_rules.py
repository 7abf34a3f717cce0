"""Settings that do nothing together are refused by name; defaults follow method and task."""

from __future__ import annotations

from typing import Any

import pytest

from core.recipe import build
from tests.core.recipe_values import BASE
from tests.core.test_recipe import sentences


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"method": "full", "rank": 4}, ["method", "rank"]),
        ({"method": "ia3", "dora": True}, ["method", "dora"]),
        ({"method": "full", "quantization": "nf4"}, ["method", "quantization"]),
        ({"quantization": "int8", "init": "pissa"}, ["quantization", "init"]),
        ({"init": "loftq"}, ["init"]),
        ({"quantization": "int8", "init": "loftq"}, ["init"]),
        ({"quantization": "nf4", "init": "loftq", "dora": True}, ["init", "dora"]),
        ({"method": "full", "modules_to_save": ["lm_head"]}, ["method", "modules_to_save"]),
        ({"dora": True, "init": "pissa"}, ["init", "dora"]),
        ({"loss": "dft", "label_smoothing": 0.1}, ["loss", "label_smoothing"]),
        ({"loss": "dft", "task": "dpo"}, ["task", "loss"]),
        ({"label_smoothing": 0.1, "task": "orpo"}, ["task", "label_smoothing"]),
        ({"beta": 0.2}, ["task", "beta"]),
        ({"neftune_alpha": 5, "task": "classification"}, ["task", "neftune_alpha"]),
        ({"sample_prompts": ["a"], "task": "classification"}, ["task", "sample_prompts"]),
        ({"chat_template": "a.jinja", "task": "completion"}, ["task", "chat_template"]),
        ({"keep_best": True}, ["keep_best", "validation_fraction"]),
        ({"early_stopping": 2}, ["early_stopping", "validation_fraction"]),
        ({"optimizer": "muon", "lora_plus_ratio": 4}, ["optimizer", "lora_plus_ratio"]),
        ({"sharding": "fsdp"}, ["devices", "sharding"]),
        ({"devices": 2, "device": "cuda:1"}, ["devices", "device"]),
        ({"devices": 2, "sharding": "fsdp", "quantization": "nf4"}, ["sharding", "quantization"]),
        ({"devices": 2, "sharding": "fsdp", "init": "pissa"}, ["sharding", "init"]),
        ({"devices": 2, "sharding": "fsdp", "task": "dpo"}, ["sharding", "task"]),
        ({"devices": 2, "sharding": "fsdp", "optimizer": "muon"}, ["sharding", "optimizer"]),
    ],
    ids=str,
)
def test_settings_that_do_nothing_together_are_refused_by_name(
    content: dict[str, Any], named: list[str]
) -> None:
    (sentence,) = sentences({**BASE, **content})
    assert all(f"`{name}`" in sentence for name in named)


def test_the_default_learning_rate_follows_method_and_task() -> None:
    def rate(**content: Any) -> float:
        return float(build({**BASE, **content}).value("learning_rate"))

    assert rate() == 2e-4
    assert rate(method="full") == rate() / 10
    assert rate(task="dpo") < rate(task="orpo") < rate(task="classification") == rate()
    assert rate(method="full", learning_rate=1e-3) == 1e-3
