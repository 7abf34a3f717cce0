"""What the Train screen asks of core: the plan of a recipe, and its start. For threads: data and model are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from core import backends
from core.backends.base import BackendError
from core.command import command_line
from core.errors import FinetuiError
from core.recipe import Recipe, RecipeError, build
from core.runs import supervisor
from tui import plan_text
from tui.format import visible
from tui.rowtext import Styles, error_lines
from tui.widgets.reading import BLANK, Paragraph

ORIGIN = "form"


def command(recipe: Recipe) -> str:
    """The command that does what the form does."""
    return command_line(recipe.model_dump(exclude_none=True))


def plan(values: dict[str, Any], styles: Styles) -> list[Paragraph]:
    """Checks, estimate and command of the form's values; or what is still to put right."""
    try:
        recipe = build(values, ORIGIN)
    except RecipeError as error:
        sentences = [Text.assemble(("✗ ", styles.error), visible(words)) for _, words in error.problems]
        return [Paragraph(Text("Still to put right:")), *map(Paragraph, sentences)]
    return [*_checks(recipe, styles), *plan_text.command_lines(command(recipe), styles)]


def _checks(recipe: Recipe, styles: Styles) -> list[Paragraph]:
    try:
        backend = backends.get(recipe.backend or "local")
        problems = backend.check(recipe)
    except FinetuiError as error:
        return error_lines(error, styles)
    lines = plan_text.check_lines(problems, styles)
    if any(problem.severity == "error" for problem in problems):
        return lines
    try:
        estimate = plan_text.estimate_lines(backend.estimate(recipe), styles)
    except FinetuiError as error:
        estimate = error_lines(error, styles)
    return [*estimate, BLANK, *lines]


def start(values: dict[str, Any]) -> str:
    """Check the recipe and start the run; returns its id. Warnings don't forbid it, they stand in the plan.

    Raises:
        RecipeError: a value is not what its field expects.
        BackendError: the backend can't train it; nothing was started.
        RunError, PathError: the run can't be made.
    """
    recipe = build(values, ORIGIN)
    problems = backends.get(recipe.backend or "local").check(recipe)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise BackendError(
            "\n".join(problem.sentence for problem in errors),
            "Nothing was started.",
            "\n".join(problem.fix for problem in errors if problem.fix),
        )
    return supervisor.submit(recipe, Path.cwd()).id
