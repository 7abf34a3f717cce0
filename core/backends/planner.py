"""Checks and estimates for the screens, in a process of their own: they read and tokenise the data.

    python -P -m core.backends.planner

Requests: `plan` with a recipe as plain values.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from core import pipes
from core.backends import get
from core.recipe import build


def plan(request: pipes.Request, recipe: dict[str, Any]) -> dict[str, Any]:
    """`Checked` of a recipe, as plain values."""
    request.check()
    built = build(recipe)
    return asdict(get(built.value("backend")).check(built))


if __name__ == "__main__":
    pipes.serve({"plan": plan})
