"""Which rows make up which step: known before the first step, from the seed alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.recipe import Recipe

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


def make_plan(rows: int, rows_per_step: int, epochs: float, max_steps: int | None, seed: int) -> Plan:
    """Cut the shuffled epochs, one after the other, into steps.

    Every step has exactly `rows_per_step` rows, the last one what is left, so that each row is used `epochs`
    times. A step may span two epochs.

    Args:
        rows: rows in the training set, at least 1.
        rows_per_step: batch size x accumulation.
        epochs: times each row is used; 1.5 is all rows and then half of them.
        max_steps: stop after so many steps whatever the epochs say, or go on through further epochs up to it.
        seed: of the order.
    """
    wanted = max_steps * rows_per_step if max_steps else max(1, round(rows * epochs))
    order: list[int] = []
    for epoch in range(math.ceil(wanted / rows)):
        order += epoch_order(rows, seed, epoch)
    order = order[:wanted]
    return Plan(
        steps=tuple(tuple(order[start : start + rows_per_step]) for start in range(0, wanted, rows_per_step)),
        rows=rows,
    )


def report_interval(steps: int, wanted: int | None) -> int:
    """Steps between two evaluations or checkpoints: as wanted, else a fifth of the run."""
    return wanted or max(1, math.ceil(steps / 5))
