"""A recipe's settings in Azure's words: what is sent, and what is refused by name, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from core.recipe import Recipe, fields
from core.settings import USED, FieldInfo

TASKS = {"chat": "ChatCompletion", "completion": "TextCompletion"}
"""The recipe's tasks that the service tunes for, in the service's words."""

BY_GROUP = {
    "Run": "Azure chooses the machines",
    "Model": "Azure takes the model as its registry has it",
    "Data": "Azure has no such setting",
    "Method": "Azure chooses the method itself (LoRA, by its registry's notes on the models)",
    "Optimiser": "Azure's fine-tuning takes batch size, learning rate and epochs only",
    "Memory": "Azure chooses how it computes",
    "Reports": "Azure decides when it reports and saves",
}
BY_NAME = {
    "sequence_length": "Azure cuts rows by rules of its own",
    "max_steps": "Azure counts in epochs",
    "accumulation": "Azure has no accumulation; `batch_size` alone makes a step",
    "chat_template": "Azure renders with the model's own template",
    "early_stopping": "Azure trains all epochs",
    "keep_best": "Azure registers the last weights",
    "sample_prompts": "Azure gives no sample replies while it trains; chat with the model when it is deployed",
}


class Refusal(NamedTuple):
    """A set key that Azure can't take, why, as one sentence, and what helps."""

    key: str
    sentence: str
    fix: str = "Leave it out, or train locally."


def applies(item: FieldInfo) -> bool:
    """Whether a setting means anything to the Azure backend."""
    return bool(item.azure)


def why_not(item: FieldInfo) -> str:
    """Why Azure has no such setting, in words."""
    return BY_NAME.get(item.name) or BY_GROUP[item.group]


def refusals(recipe: Recipe) -> Iterator[Refusal]:
    """Every set key of a recipe that Azure doesn't have, or not with this value."""
    for item in fields():
        if not applies(item) and getattr(recipe, item.name) is not None:
            yield Refusal(item.name, f"`{item.name}` is set, and {why_not(item)}.")
    task = recipe.value("task")
    if task not in TASKS:
        yield Refusal(
            "task", f"`task` is {task}; Azure's fine-tuning of language models has {' and '.join(TASKS)}."
        )
    if recipe.epochs is not None and not float(recipe.epochs).is_integer():
        yield Refusal(
            "epochs",
            f"`epochs` is {recipe.epochs:g}; Azure takes whole epochs.",
            f"Set `epochs` to {math.ceil(recipe.epochs)}, or train locally.",
        )


def hyperparameters(recipe: Recipe) -> dict[str, str]:
    """What is sent: the service's names with their values as text; unset ones are left to the service."""
    sent = {}
    for item in fields():
        value = getattr(recipe, item.name)
        if item.azure not in ("", USED) and value is not None:
            sent[item.azure] = format(Decimal(repr(value)).normalize(), "f")
    return sent
