"""Train: the recipe as a form, what it will take beside it, and the start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual import work
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from tui.actions import bindings
from tui.format import visible
from tui.screens.train_azure import TrainAzure
from tui.widgets.form import Form, Line
from tui.widgets.reading import Paragraph, ReadingPane

if TYPE_CHECKING:
    from core.pipes import PipeClient
    from core.recipe import Recipe
    from core.settings import FieldInfo
    from tui.train_form import FormState

SETTLE_S = 0.3
"""An estimate waits until the form has been still for so long."""

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_TASK = "chat"
PATH_FIELDS = ("data", "validation", "chat_template")


class TrainScreen(TrainAzure):
    """The form of a run."""

    MODE = "train"
    HELP = (
        "Set up a run. Every field may stay as it is: unset ones show the default that will be used. Beside the form "
        "stand the checks, what the run will take, and the command that does the same."
    )
    HOME = "#form"
    CSS_PATH = "train.tcss"
    BINDINGS = bindings("train")

    def __init__(self) -> None:
        super().__init__()
        self._more = False
        self._problems: dict[str, str] = {}
        self._settle: Timer | None = None
        self._asked = 0
        self._planner: PipeClient | None = None
        self._wanted: list[tuple[str, Any]] = []
        self._form = Form(id="form")
        self._plan = ReadingPane(id="plan", classes="pane")
        self._planned: list[Paragraph] = []

    def compose_body(self) -> Iterable[Widget]:
        with Horizontal(id="body"):
            with Vertical(id="left", classes="pane") as left:
                left.border_title = "New run"
                yield self._form
            self._plan.border_title = "Before you start"
            yield self._plan
        yield Static("", id="about", markup=False)

    def on_mount(self) -> None:
        self._plan.show([Paragraph(Text("loading ..."))])
        self.app.theme_changed_signal.subscribe(self, self._recolour)
        self.call_after_refresh(self._load)

    def _recolour(self, _: object) -> None:
        if self.form is not None:
            self._changed()

    @work(thread=True, group="load")
    def _load(self) -> None:
        from core.recipe import fields
        from tui.train_form import FormState

        fields()
        form = FormState()
        form.values = {"model": DEFAULT_MODEL}
        self.app.call_from_thread(self._loaded, form)

    def _loaded(self, form: FormState) -> None:
        self.form = form
        self._fill()

    @work(exclusive=True, group="show")
    async def _fill(self) -> None:
        await self._show()
        self.go_home()
        wanted, self._wanted = self._wanted, []
        for verb, argument in wanted:
            getattr(self, verb)(argument)

    # -- what the app hands over

    def use_data(self, wanted: tuple[str | dict[str, Any], str]) -> None:
        """Set the data field to a file or a source as recipes have it, and the task unless it is empty."""
        if self.form is None:
            self._wanted.append(("use_data", wanted))
            return
        source, task = wanted
        values = {key: item for key, item in self.form.values.items() if key != "task" or not task}
        chosen = {"task": task} if task not in ("", DEFAULT_TASK) else {}
        self.form.replace({**values, "data": [source], **chosen})
        self._changed()

    def edit(self, recipe: Recipe) -> None:
        """Open a recipe in the form."""
        if self.form is None:
            self._wanted.append(("edit", recipe))
            return
        self.form.load(recipe)
        self._changed()

    @work(thread=True, group="open")
    def open_recipe_file(self, path: Path) -> None:
        """Read a recipe file into the form."""
        from core.recipe import load

        self.app.call_from_thread(self.edit, load(path))

    # -- showing

    def _fields(self) -> list[FieldInfo]:
        from core.recipe import fields
        from tui.train_form import MAIN

        set_too = self.form.values if self.form else {}
        return [field for field in fields() if self._more or field.name in MAIN or field.name in set_too]

    def _field(self) -> FieldInfo:
        from core.recipe import field

        return field(self._form.current)

    @property
    def current_field(self) -> str:
        return self._form.current

    def form_changed(self) -> None:
        self._changed()

    @work(exclusive=True, group="show")
    async def _changed(self) -> None:
        await self._show()

    async def _show(self) -> None:
        from core.recipe import fields
        from tui.train_form import default_words, expectation, source_notes, to_text

        assert self.form is not None
        values, problems = self.form.values, self.form.problems()
        self.finetui.recipe_task = str(values.get("task", ""))
        self._problems = problems
        lines = [
            Line(
                field.name, field.group, field.name.replace("_", " "), to_text(field, values.get(field.name)),
                default_words(field, self.on_azure),
                expectation(field, problems[field.name]) if field.name in problems else "",
                self._note(field) or (source_notes(values.get("data")) if field.name == "data" else ""),
            )
            for field in self._fields()
        ]  # fmt: skip
        await self._form.set_lines(lines)
        hidden = len(fields()) - len(lines)
        title = self.query_one("#left")
        title.border_subtitle = "m fewer settings" if self._more else f"m {hidden} more settings"
        self.context = f"{len(problems)} to put right" if problems else "recipe complete"
        self._show_about()
        self.refresh_bindings()
        self._ask_for_plan()

    def _note(self, field: FieldInfo) -> str:
        if not self.on_azure:
            return ""
        return self.azure_note() if field.name == "backend" else "" if field.azure else "Azure has none"

    def on_form_moved(self) -> None:
        self._show_about()
        self.refresh_bindings()

    def _show_about(self) -> None:
        """The help of the field under the cursor."""
        if self.form is None or not self._form.current:
            return
        field = self._field()
        about = self.query_one("#about", Static)
        about.border_title = field.name
        text = Text(f"{field.help}\n")
        problem = self._problems.get(field.name)
        if problem:
            text.append(f"✗ {visible(problem)}", self.styles_of_text.error)
        else:
            parts = [
                f"Usual: {field.usual}." if field.usual else "",
                field.effect,
                f"Takes {field.expected}." if field.expected != "text" else "",
            ]
            text.append(" ".join(part for part in parts if part))
        about.update(text, layout=False)  # its size is fixed, and this runs at every key

    # -- the plan

    def _ask_for_plan(self) -> None:
        """Ask for checks and estimate once the form is still; answers to older questions are dropped."""
        self._asked += 1
        self.forget_time()
        if self._settle is not None:
            self._settle.stop()
        self._settle = self.set_timer(SETTLE_S, self._make_plan)

    @work(exclusive=True, group="plan")
    async def _make_plan(self) -> None:
        from tui.planning import plan

        assert self.form is not None
        asked = self._asked
        values = dict(self.form.values)
        async for lines in plan(
            self.planner(), values, self.styles_of_text, self.desk.prices, self.desk.ready
        ):
            self._take_plan(asked, lines)

    def planner(self) -> PipeClient:
        """The planner process, started with the first question."""
        from tui.planning import make_client

        if self._planner is None:
            self._planner = make_client()
        return self._planner

    async def on_unmount(self) -> None:
        await self.stop_measuring()
        await self.close_desk()
        if self._planner is not None:
            await self._planner.close()

    def _take_plan(self, asked: int, lines: list[Paragraph]) -> None:
        if asked == self._asked:
            self._planned = lines
            self.show_plan()

    def show_plan(self) -> None:
        self._plan.show([*self.time_lines, *self._planned], keep_place=True)

    # -- editing

    def on_form_edited(self, event: Form.Edited) -> None:
        from core.recipe import field

        assert self.form is not None
        self.form.set_text(field(event.name), event.text)
        self._changed()

    def close_overlay(self) -> None:
        self.remove_class("-reading")
        self.go_home()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("back", "open_recipe") or action not in OWN:
            return super().check_action(action, parameters)
        if self.form is None:
            return False
        if action == "undo":
            return self.form.can_undo
        if action in ("time", "asset"):
            return self.on_azure == (action == "asset")
        if action == "reset":
            return self._form.current in self.form.values
        return True

    async def action_edit(self) -> None:
        from tui.train_form import to_text
        from tui.widgets.field import PathSuggester

        assert self.form is not None
        field = self._field()
        if field.name == "model":
            self._choose_model()
        elif field.name == "backend":
            self.action_switch_backend()
        elif field.kind == "bool":
            value = self.form.values.get(field.name)
            self.form.set(field.name, not (field.local if value is None else value))
            self._changed()
        elif field.kind == "choice":
            self._choose(field)
        else:
            suggester = (
                PathSuggester("," if field.name == "data" else "") if field.name in PATH_FIELDS else None
            )
            self._form.edit(to_text(field, self.form.values.get(field.name)), suggester)

    @work
    async def _choose(self, field: FieldInfo) -> None:
        from tui.widgets.dialogs import Choose

        assert self.form is not None
        default = f"the default: {field.default_text}"
        options = [("", "not set", default), *((choice, choice, "") for choice in field.choices)]
        chosen = await self.app.push_screen_wait(
            Choose(field.name.replace("_", " "), options, str(self.form.values.get(field.name, "")))
        )
        if chosen is not None:
            self.form.set(field.name, chosen or None)
            self._changed()

    @work
    async def _choose_model(self) -> None:
        from tui.choices import choose_model

        assert self.form is not None
        model = await choose_model(self.app, str(self.form.values.get("model", "")))
        if model:
            self.form.set("model", model)
            self._changed()

    def action_switch_backend(self) -> None:
        assert self.form is not None
        self.form.set("backend", None if self.form.values.get("backend") == "azure" else "azure")
        self._changed()

    def action_undo(self) -> None:
        assert self.form is not None
        self.form.undo()
        self._changed()

    def action_reset(self) -> None:
        assert self.form is not None
        self.form.set(self._form.current, None)
        self._changed()

    def action_more(self) -> None:
        self._more = not self._more
        self._changed()

    def action_checks(self) -> None:
        self.add_class("-reading")
        self.set_focus(self._plan)

    # -- the start

    def action_start(self) -> None:
        assert self.form is not None
        self._start(dict(self.form.values))

    @work(exclusive=True, group="start")
    async def _start(self, values: dict[str, Any]) -> None:
        from core.errors import FinetuiError
        from tui.planning import checked_recipe, submit

        try:
            recipe = await checked_recipe(self.planner(), values)
            if self.on_azure and not await self.may_spend(recipe):
                return
            run_id = await asyncio.to_thread(submit, recipe)
        except FinetuiError as error:
            self.finetui.show_error(error)
        else:
            self.finetui.open_run(run_id)


OWN = frozenset(
    ("start", "switch_backend", "write", "copy", "undo", "reset", "more", "edit", "checks", "time", "asset")
)
"""Actions that need the form to be there."""
