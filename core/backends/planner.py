"""Checks and estimates for the screens, in a process of their own: they read and tokenise the data.

    python -P -m core.backends.planner

Requests: `plan` with a recipe as plain values; answers problems and, where nothing forbids it, an estimate.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from core import pipes
from core.backends import get
from core.backends.base import RecipeProblem
from core.errors import FinetuiError
from core.recipe import build


def plan(request: pipes.Request, recipe: dict[str, Any]) -> dict[str, Any]:
    """Problems and estimate of a recipe; the estimate is None where an error stands against it."""
    built = build(recipe)
    backend = get(built.value("backend"))
    problems = backend.check(built)
    request.check()
    sizes = None
    if not any(problem.severity == "error" for problem in problems):
        try:
            sizes = asdict(backend.estimate(built))
        except FinetuiError as error:
            problems.append(RecipeProblem("warning", "model", error.what, error.next_step))
    return {"problems": [asdict(problem) for problem in problems], "estimate": sizes}


if __name__ == "__main__":
    pipes.serve({"plan": plan})
