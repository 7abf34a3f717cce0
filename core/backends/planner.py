"""Checks, estimates and times for the screens, in a process of their own: they read and tokenise the data.

    python -P -m core.backends.planner

Requests: `plan` and `time`, each with a recipe as plain values.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from core import pipes
from core.backends import get
from core.backends.base import BackendError
from core.recipe import build


def plan(request: pipes.Request, recipe: dict[str, Any]) -> dict[str, Any]:
    """`Checked` of a recipe, as plain values."""
    request.check()
    built = build(recipe)
    return asdict(get(built.value("backend")).check(built))


def time(request: pipes.Request, recipe: dict[str, Any]) -> dict[str, Any]:
    """`TimePlan` of a recipe, as plain values.

    Raises:
        BackendError: an error stands against it, or its model is not here yet.
    """
    request.check()
    built = build(recipe)
    backend = get(built.value("backend"))
    checked = backend.check(built)
    if checked.errors or checked.estimate is None:
        first = (*checked.errors, *checked.problems)[0]
        raise BackendError("The time can't be measured yet.", first.sentence, first.fix)
    return asdict(backend.time(built, checked.estimate))


if __name__ == "__main__":
    pipes.serve({"plan": plan, "time": time})
