"""What the Train screen does with files, and how it measures the time a run will take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual import work

from tui.screens.base import ModeScreen
from tui.states import colour
from tui.widgets.reading import BLANK, Paragraph

if TYPE_CHECKING:
    from core.pipes import PipeClient
    from core.recipe import Recipe
    from tui.rowtext import Styles
    from tui.train_form import FormState


class TrainActions(ModeScreen):
    """The part of the Train screen beside the form itself."""

    def __init__(self) -> None:
        super().__init__()
        self.form: FormState | None = None  # pydantic is loaded after the first paint
        self.time_lines: list[Paragraph] = []
        self._clock: PipeClient | None = None

    @property
    def styles_of_text(self) -> Styles:
        from tui.rowtext import Styles

        names = ("text-success", "text-error", "text-warning", "foreground-muted")
        return Styles(*(colour(self.app, name) for name in names))

    def edit(self, recipe: Recipe) -> None:
        """Open a recipe in the form."""
        raise NotImplementedError

    def open_recipe_file(self, path: Path) -> object:
        """Read a recipe file into the form."""
        raise NotImplementedError

    def show_plan(self) -> None:
        """Draw the plan anew, the time above it."""
        raise NotImplementedError

    # -- time

    def forget_time(self) -> None:
        """What was measured is of other settings now; a measuring that goes on is given up."""
        self.time_lines = []
        self._give_up()

    @work(exclusive=True, group="clock")
    async def _give_up(self) -> None:
        await self.stop_measuring()

    async def stop_measuring(self) -> None:
        """End the process that measures, if there is one."""
        clock, self._clock = self._clock, None
        if clock is not None:
            await clock.close()

    def action_time(self) -> None:
        from core.recipe import RecipeError

        assert self.form is not None
        try:
            recipe = self.form.recipe()
        except RecipeError as error:
            self.finetui.show_error(error)
            return
        self._measure(recipe)

    @work(exclusive=True, group="clock")
    async def _measure(self, recipe: Recipe) -> None:
        """Train for some seconds in a process of its own and show how long all of it takes."""
        from core.errors import FinetuiError
        from tui import plan_text, planning

        await self.stop_measuring()
        self._say("Time: a short training that is thrown away measures it ...")
        self._clock = planning.make_client()
        try:
            times = await planning.time(self._clock, recipe.absolute(Path.cwd()))
        except FinetuiError as error:
            self.time_lines = []
            self.finetui.show_error(error)
        else:
            self.time_lines = [*plan_text.time_lines(times, self.styles_of_text), BLANK]
        finally:
            await self.stop_measuring()
        self.show_plan()

    def _say(self, words: str) -> None:
        self.time_lines = [Paragraph(Text(words, self.styles_of_text.muted)), BLANK]
        self.show_plan()

    # -- files

    @work
    async def action_open_recipe(self) -> None:
        from tui.widgets.dialogs import Ask
        from tui.widgets.field import PathSuggester

        answer = await self.app.push_screen_wait(
            Ask("Open a recipe", "", "recipe.yaml", suggester=PathSuggester())
        )
        if answer and answer.strip():
            self.open_recipe_file(Path(answer.strip()).expanduser().absolute())

    @work
    async def action_write(self) -> None:
        from core.recipe import dump
        from tui.saving import ask_and_write

        assert self.form is not None
        recipe = self.form.recipe()
        await ask_and_write(self.finetui, "Write the recipe to", "recipe.yaml", dump(recipe))

    def action_copy(self) -> None:
        from core.recipe import RecipeError
        from tui.planning import command

        assert self.form is not None
        try:
            recipe = self.form.recipe()
        except RecipeError as error:
            self.finetui.show_error(error)
            return
        self.finetui.copy(command(recipe))
