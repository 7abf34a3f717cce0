"""What every backend does: turn a recipe into problems, an estimate and a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from core.errors import FinetuiError
from core.recipe import Recipe
from core.work import Estimate, Outcome, RemoteEstimate, Run, TimePlan


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


@dataclass(frozen=True)
class Checked:
    """What is known of a recipe before it starts.

    Args:
        problems: what stands against it, errors and warnings.
        estimate: what it will take of this machine; None where an error stands against it, the model is not here yet,
            or it trains elsewhere.
        remote: what it will take of a service; None where an error stands against it, or it trains here.
    """

    problems: tuple[RecipeProblem, ...]
    estimate: Estimate | None
    remote: RemoteEstimate | None = None

    @property
    def errors(self) -> list[RecipeProblem]:
        return [problem for problem in self.problems if problem.severity == "error"]


class Backend(Protocol):
    """A place to train."""

    def check(self, recipe: Recipe) -> Checked:
        """What is wrong with a recipe and what it will take, without spending anything."""

    def time(self, recipe: Recipe, sizes: Estimate) -> TimePlan:
        """How long a recipe will take."""

    def train(self, recipe: Recipe, run: Run) -> Outcome:
        """Train until done, stopped or paused, telling the run's journal."""
