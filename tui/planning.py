"""What the Train screen asks of core: the plan of a recipe, and its start.

Reading and tokenising the data is done by a planner process; nothing of it happens in the app's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from core import paths
from core.backends.base import BackendError, Checked, RecipeProblem
from core.command import command_line
from core.errors import FinetuiError
from core.pipes import PipeClient
from core.recipe import Recipe, RecipeError, build
from core.runs import supervisor
from core.work import Estimate, TimePlan
from tui import plan_text
from tui.format import visible
from tui.rowtext import Styles, error_lines
from tui.widgets.reading import BLANK, Paragraph

ORIGIN = "form"


def make_client() -> PipeClient:
    """The planner, started with the first question."""
    return PipeClient("core.backends.planner", paths.make_private(paths.logs_dir()) / "planner.log")


def command(recipe: Recipe) -> str:
    """The command that does what the form does."""
    return command_line(recipe.model_dump(exclude_none=True))


async def check(client: PipeClient, recipe: Recipe) -> Checked:
    """Problems and estimate of a recipe.

    Raises:
        PipeError: the backend can't be asked; says why.
    """
    answer = await client.call("plan", recipe=recipe.model_dump(exclude_none=True))
    sizes = answer["estimate"]
    return Checked(
        tuple(RecipeProblem(**problem) for problem in answer["problems"]),
        Estimate(**sizes) if sizes else None,
    )


async def time(client: PipeClient, recipe: Recipe) -> TimePlan:
    """How long a recipe takes, from some seconds of training.

    Raises:
        PipeError: it can't be trained, or the measuring failed; says why.
    """
    return TimePlan(**await client.call("time", recipe=recipe.model_dump(exclude_none=True)))


async def plan(client: PipeClient, values: dict[str, Any], styles: Styles) -> list[Paragraph]:
    """Checks, estimate and command of the form's values; or what is still to put right."""
    try:
        recipe = build(values, ORIGIN)
    except RecipeError as error:
        sentences = [Text.assemble(("✗ ", styles.error), visible(words)) for _, words in error.problems]
        return [Paragraph(Text("Still to put right:")), *map(Paragraph, sentences)]
    try:
        checked = await check(client, recipe.absolute(Path.cwd()))
    except FinetuiError as error:
        lines = error_lines(error, styles)
    else:
        sizes = plan_text.estimate_lines(checked.estimate, styles) if checked.estimate else []
        lines = [*sizes, *([BLANK] if sizes else []), *plan_text.check_lines(checked.problems, styles)]
    return [*lines, *plan_text.command_lines(command(recipe), styles)]


async def checked_recipe(client: PipeClient, values: dict[str, Any]) -> Recipe:
    """The form's recipe, ready to start. Warnings don't forbid it, they stand in the plan.

    Raises:
        RecipeError: a value is not what its field expects.
        BackendError: the backend can't train it.
    """
    recipe = build(values, ORIGIN)
    errors = (await check(client, recipe.absolute(Path.cwd()))).errors
    if errors:
        raise BackendError(
            "\n".join(problem.sentence for problem in errors),
            "Nothing was started.",
            "\n".join(problem.fix for problem in errors if problem.fix),
        )
    return recipe


def submit(recipe: Recipe) -> str:
    """Start the run; returns its id. For threads.

    Raises:
        RunError, PathError: the run can't be made.
    """
    return supervisor.submit(recipe, Path.cwd()).id
