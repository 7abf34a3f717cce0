"""Which rows make up which step: known before the first step, from the seed alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.recipe import Recipe
from core.training.rows import AnyRow

BUDGETS = {"cpu": 1024, "cuda": 4096}
"""Tokens computed at once: on a CPU more takes memory and is hardly faster (`make bench`)."""


def choose_budget(recipe: Recipe, device: str) -> int:
    """Tokens computed at once: as the recipe says, else what suits the device, `cpu` or `cuda...`."""
    return recipe.token_budget or BUDGETS[device.partition(":")[0]]


@dataclass(frozen=True)
class Plan:
    """The rows of every step.

    Args:
        steps: row numbers, one tuple a step.
        rows: rows in the training set.
    """

    steps: tuple[tuple[int, ...], ...]
    rows: int

    def epoch(self, step: int) -> float:
        """Epochs done after `step` steps."""
        return sum(len(rows) for rows in self.steps[:step]) / self.rows


def epoch_order(rows: int, seed: int, epoch: int) -> list[int]:
    """The order of the rows in one epoch: a permutation that depends on nothing but its arguments."""
    return [int(row) for row in np.random.default_rng([seed, epoch]).permutation(rows)]


def make_plan(
    rows: int,
    rows_per_step: int,
    epochs: float,
    max_steps: int | None,
    seed: int,
    similar: Sequence[int] | None = None,
) -> Plan:
    """Cut the shuffled epochs, one after the other, into steps.

    Every step has exactly `rows_per_step` rows, the last one what is left, so that each row is used `epochs`
    times. A step may span two epochs.

    Args:
        rows: rows in the training set, at least 1.
        rows_per_step: see `rows_per_step`.
        epochs: times each row is used; 1.5 is all rows and then half of them.
        max_steps: stop after so many steps whatever the epochs say, or go on through further epochs up to it.
        seed: of the order.
        similar: the rows in an order in which similar ones are neighbours; steps are then made of neighbours.
    """
    wanted = max_steps * rows_per_step if max_steps else max(1, round(rows * epochs))
    order: list[int] = []
    for epoch in range(math.ceil(wanted / rows)):
        if similar is None:
            order += epoch_order(rows, seed, epoch)
        else:
            order += _neighbours(similar, rows_per_step, -len(order) % rows_per_step, seed, epoch)
    order = order[:wanted]
    return Plan(
        steps=tuple(tuple(order[start : start + rows_per_step]) for start in range(0, wanted, rows_per_step)),
        rows=rows,
    )


def _neighbours(similar: Sequence[int], size: int, first: int, seed: int, epoch: int) -> list[int]:
    """One epoch in shuffled groups of neighbours, from another place each epoch.

    Args:
        similar: the rows in an order in which similar ones are neighbours.
        size: of a group; the last one is what is left.
        first: rows that the epoch before left room for in its last step.
        seed: with the epoch, decides the order.
        epoch: number of the epoch.
    """
    draw = np.random.default_rng([seed, epoch])
    start = int(draw.integers(len(similar)))
    turned = [*similar[start:], *similar[:start]]
    begun, rest = turned[:first], turned[first:]
    groups = [rest[place : place + size] for place in range(0, len(rest), size)]
    last = [groups.pop()] if groups and len(groups[-1]) < size else []
    shuffled = [groups[number] for number in draw.permutation(len(groups))]
    return [row for group in ([begun], shuffled, last) for part in group for row in part]


def rows_per_step(recipe: Recipe) -> int:
    """Rows that one step learns from: batch size x accumulation x devices of all machines."""
    return int(recipe.value("batch_size") * recipe.value("accumulation") * processes(recipe))


def processes(recipe: Recipe) -> int:
    """Processes that train together, one a device, on all machines."""
    return int(recipe.value("devices") * recipe.value("nodes"))


def steps_of(recipe: Recipe, rows: Sequence[AnyRow]) -> Plan:
    """The steps of a recipe over its rows."""
    similar = None
    if recipe.value("row_order") == "similar":
        similar = sorted(range(len(rows)), key=lambda row: rows[row].key)
    return make_plan(
        len(rows),
        rows_per_step(recipe),
        recipe.value("epochs"),
        recipe.max_steps,
        recipe.value("seed"),
        similar,
    )


def report_interval(steps: int, wanted: int | None) -> int:
    """Steps between two evaluations or checkpoints: as wanted, else a fifth of the run."""
    return wanted or max(1, math.ceil(steps / 5))
