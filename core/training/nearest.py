"""The nearest recipe that fits into memory: what is learned stays the same as long as that is possible. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from core.recipe import Recipe
from core.training.estimate import compute, measure, peak_of
from core.training.memory import Shape
from core.training.plan import choose_budget

SMALLEST_BUDGET = 128
SMALLEST_LENGTH = 256


def nearest_that_fits(
    recipe: Recipe, device: str, precision: str, shape: Shape, renderer: Any, available: int
) -> dict[str, Any]:
    """The fewest changes of a recipe after which its peak is at most `available` bytes; empty when none helps.

    First fewer tokens at once, then activations computed anew: neither changes what is learned. Last, shorter rows.
    """
    rows = measure(recipe, renderer)

    def fits(changes: dict[str, Any]) -> bool:
        changed = recipe.model_copy(update=changes)
        used = measure(changed, renderer) if "sequence_length" in changes else rows
        computed = compute(changed, used, choose_budget(changed, device), shape.long_from)
        return bool(used.kept) and peak_of(changed, shape, computed, precision, device).total <= available

    return next((changes for changes in _candidates(recipe, device) if fits(changes)), {})


def _candidates(recipe: Recipe, device: str) -> Iterator[dict[str, Any]]:
    budgets = list(_halves(choose_budget(recipe, device), SMALLEST_BUDGET))
    for budget in budgets:
        yield {"token_budget": budget}
    least = {"token_budget": budgets[-1]} if budgets else {}
    recompute = {} if recipe.value("gradient_checkpointing") else {"gradient_checkpointing": True}
    if recompute:
        yield from (
            {**({"token_budget": budget} if budget else {}), **recompute} for budget in (None, *budgets)
        )
    for length in _halves(recipe.value("sequence_length"), SMALLEST_LENGTH):
        yield {**least, **recompute, "sequence_length": length}


def _halves(value: int, least: int) -> Iterator[int]:
    """Half of a value, half of that, down to the least."""
    while (value := value // 2) >= least:
        yield value


def in_words(changes: dict[str, Any], describe: Callable[[Any], str] = str) -> str:
    """`token_budget: 512` and `gradient_checkpointing: true`."""
    return " and ".join(f"`{key}: {describe(value).lower()}`" for key, value in changes.items())
