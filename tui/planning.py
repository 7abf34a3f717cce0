"""What the Train screen asks of core: the plan of a recipe, and its start.

Reading and tokenising the data is done by a planner process; nothing of it happens in the app's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
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
from core.runs.references import settled
from core.work import Estimate, RemoteEstimate, TimePlan
from tui import plan_text
from tui.format import visible
from tui.rowtext import Styles, error_lines
from tui.widgets.reading import BLANK, Paragraph

ORIGIN = "form"
Prices = Callable[[str], Awaitable[dict[str, Any]]]
"""Asks what a model of Azure's registry costs."""
Ready = Callable[[str], bool | None]
"""Whether Azure's checklist found all that a model needs; None where it was not asked."""


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
    here, remote = answer["estimate"], answer["remote"]
    return Checked(
        tuple(RecipeProblem(**problem) for problem in answer["problems"]),
        Estimate(**here) if here else None,
        RemoteEstimate(**remote) if remote else None,
    )


async def time(client: PipeClient, recipe: Recipe) -> TimePlan:
    """How long a recipe takes, from some seconds of training.

    Raises:
        PipeError: it can't be trained, or the measuring failed; says why.
    """
    wanted = settled(recipe).model_dump(exclude_none=True)
    return TimePlan(**await client.call("time", recipe=wanted))


async def plan(
    client: PipeClient, values: dict[str, Any], styles: Styles, prices: Prices, ready: Ready
) -> AsyncIterator[list[Paragraph]]:
    """Checks, estimate and command of the form's values; or what is still to put right. Of a run in Azure it comes
    twice: the price list takes its time.
    """
    try:
        recipe = build(values, ORIGIN)
    except RecipeError as error:
        sentences = [Text.assemble(("✗ ", styles.error), visible(words)) for _, words in error.problems]
        yield [Paragraph(Text("Still to put right:")), *map(Paragraph, sentences)]
        return
    commands = plan_text.command_lines(command(recipe), styles)
    try:
        checked = await check(client, settled(recipe).absolute(Path.cwd()))
        problems = plan_text.check_lines(plan_text.asked(checked.problems, ready(recipe.model)), styles)
        remote = checked.remote
        if remote is None:
            sizes = plan_text.estimate_lines(checked.estimate, styles) if checked.estimate else []
            yield [*sizes, *([BLANK] if sizes else []), *problems, *commands]
            return
        yield [*plan_text.remote_lines(remote, None, styles), BLANK, *problems, *commands]
        quotes = await prices(recipe.model)
    except FinetuiError as error:
        yield [*error_lines(error, styles), *commands]
    else:
        yield [*plan_text.remote_lines(remote, quotes, styles), BLANK, *problems, *commands]


async def checked_recipe(client: PipeClient, values: dict[str, Any]) -> Recipe:
    """The form's recipe, ready to start. Warnings don't forbid it, they stand in the plan.

    Raises:
        RecipeError: a value is not what its field expects.
        BackendError: the backend can't train it.
    """
    recipe = settled(build(values, ORIGIN))
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
