"""What every backend does: turn a recipe into problems, an estimate and a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from core.errors import FinetuiError
from core.recipe import Recipe
from core.work import Estimate, Outcome, Run


class BackendError(FinetuiError):
    """A backend can't do what was asked."""


@dataclass(frozen=True)
class RecipeProblem:
    """Something about a recipe, found before anything is spent.

    Args:
        severity: an `error` forbids the start, a `warning` doesn't.
        key: the recipe's key it is about, or empty.
        sentence: what is wrong.
        fix: what to do about it.
    """

    severity: Literal["error", "warning"]
    key: str
    sentence: str
    fix: str = ""


class Backend(Protocol):
    """A place to train."""

    def check(self, recipe: Recipe) -> list[RecipeProblem]:
        """What is wrong with a recipe, without spending anything."""

    def estimate(self, recipe: Recipe) -> Estimate:
        """What it will take. Only for a recipe without errors."""

    def train(self, recipe: Recipe, run: Run) -> Outcome:
        """Train until done, stopped or paused, telling the run's journal."""
