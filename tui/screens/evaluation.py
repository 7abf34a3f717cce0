"""The evaluation of a run, a page over the monitor: figures base beside tuned, who was taken for whom, replies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from time import time as now
from typing import TYPE_CHECKING, Any

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.timer import Timer
from textual.widget import Widget

from core.errors import FinetuiError
from core.events import Status
from tui.actions import bindings
from tui.evaluating import Evaluations, read_evaluation
from tui.evaluation_text import confusion_paragraphs, figure_paragraphs, lines, reply_paragraphs
from tui.format import ago, count, one_line
from tui.screens.base import ModeScreen
from tui.widgets.footer import Footer
from tui.widgets.header import Header
from tui.widgets.problem import Problem
from tui.widgets.progress import Progress, RunProgress
from tui.widgets.textpane import Paragraph, TextPane

if TYPE_CHECKING:
    from core.runs.rows import RunRow
    from tui.app import FinetuiApp

LOOK_S = 0.5
"""How often a measuring is looked at, while there is one."""

COPIED_COLUMNS = 100
FRAME_COLUMNS = 5
"""A pane's border, padding and scroll bar."""

WIDE_COLUMNS = 120
NOT_YET = "Not evaluated yet: m measures the model and its base on up to {rows} {which}."
NO_CLASSES = (
    "Which answer was given for which; shown where the expected answers are few: at most 20, of a few words, each of "
    "them expected more than once."
)


class EvaluationScreen(ModeScreen):
    """What was measured of one run.

    Args:
        row: the run.
        evaluations: what the app measures.
    """

    MODE = "evaluation"
    HELP = (
        "A run's model beside its base, both measured on the same rows, which neither was trained on. Measuring goes "
        "on when you leave the page; what it found replaces an earlier evaluation in the run's report.json."
    )
    HOME = "#figures"
    CSS_PATH = "evaluation.tcss"
    BINDINGS = bindings("evaluation")

    def __init__(self, row: RunRow, evaluations: Evaluations) -> None:
        super().__init__()
        self.row = row
        self.evaluations = evaluations
        self.evaluation: dict[str, Any] | None = None
        self.progress = RunProgress(id="progress")
        self.problem = Problem(id="problem")
        self.figures = TextPane("Base beside tuned", follow=False, id="figures")
        self.confusion = TextPane("Classes", NO_CLASSES, follow=False, id="classes")
        self.replies = TextPane("Replies", "None yet.", follow=False, id="replies")
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Header("monitor")
        yield from self.compose_body()
        yield Footer(self.MODE)

    def compose_body(self) -> Iterable[Widget]:
        yield self.progress
        yield self.problem
        with Container(id="panes"):
            with Vertical(id="left"):
                yield self.figures
                yield self.confusion
            yield self.replies

    @property
    def finetui(self) -> FinetuiApp:
        """The app, by its own type."""
        return self.app  # type: ignore[return-value]

    @property
    def measuring(self) -> bool:
        """Whether this very run is being measured."""
        return self.evaluations.run_id == self.row.id

    def on_mount(self) -> None:
        self.context = self.row.name
        super().on_mount()

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        self._load()

    def on_screen_suspend(self, event: events.ScreenSuspend) -> None:
        self._rest()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= WIDE_COLUMNS, "-side-by-side")
        self.call_after_refresh(self._draw_classes)

    def close_overlay(self) -> None:
        self.dismiss()

    # -- what was measured, and what is being measured

    @work(thread=True, exclusive=True, group="load")
    def _load(self) -> None:
        try:
            found, error = read_evaluation(self.row.directory), None
        except FinetuiError as wrong:
            found, error = None, wrong
        self.app.call_from_thread(self._show, found, error)

    def _show(self, found: dict[str, Any] | None, error: FinetuiError | None) -> None:
        self.evaluation = found
        if error is None:
            self.problem.clear()
        else:
            self.problem.show_error(error)
        self.figures.set_paragraphs(figure_paragraphs(found, now()) if found else [])
        self.replies.set_paragraphs(reply_paragraphs(found) if found else [])
        self._draw_classes()
        self._look()
        self.refresh_bindings()

    def _draw_classes(self) -> None:
        """The matrix depends on the pane's width, which is that of the figures, hidden or not."""
        found = self.evaluation
        shown: list[Paragraph] = []
        if found and found["confusion"]:
            shown = confusion_paragraphs(found, self.figures.outer_size.width - FRAME_COLUMNS)
        self.set_class(bool(shown), "-classes")
        self.confusion.set_paragraphs(shown)

    def _look(self) -> None:
        """Say how far the measuring is, and look again later while there is one."""
        self._say()
        if self.measuring and self._timer is None:
            self._timer = self.set_interval(LOOK_S, self._tick)
        self.refresh_bindings()

    def _tick(self) -> None:
        if self.measuring:
            self._say()
        else:
            self._rest()
            self._load()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _say(self) -> None:
        """The two lines at the top, and what the empty pane says."""
        step, found = self.evaluations.step, self.evaluation
        status, phase = None, ""
        if self.measuring and step.total:
            status = Status(text=step.phase, done=step.done, total=step.total, unit="rows")
        elif self.measuring:
            phase = step.phase
        else:
            phase = f"evaluated {ago(found['when'], now())}" if found else "not evaluated yet"
        settings = self._settings_in_words()
        self.progress.show(Progress(self.row.state, self.row.name, settings, phase=phase, status=status))
        file = self.evaluations.settings.file
        which = "of its validation rows" if file is None else f"rows of {one_line(file.name)}"
        self.figures.empty = NOT_YET.format(rows=count(self.evaluations.settings.rows), which=which)
        self.figures.refresh()

    def _settings_in_words(self) -> str:
        settings = self.evaluations.settings
        file = f" of {one_line(settings.file.name)}" if settings.file else ""
        return f"next: {count(settings.rows)} rows{file}, replies up to {count(settings.max_tokens)} tokens"

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stop":
            return self.measuring
        if action in ("measure", "rows", "file", "length"):
            return not self.measuring
        if action in ("copy", "write"):
            return self.evaluation is not None
        return super().check_action(action, parameters)

    def action_measure(self) -> None:
        if self.evaluations.run_id:
            self.finetui.notify(
                f"{self.evaluations.run_id} is being measured: one at a time, since each takes memory."
            )
            return
        self.evaluations.begin(self.row.id, self.finetui)
        self._look()

    def action_stop(self) -> None:
        self.evaluations.stop()

    @work(group="ask")
    async def action_rows(self) -> None:
        number = await self._number("How many rows at most?", self.evaluations.settings.rows)
        if number:
            self.evaluations.settings = replace(self.evaluations.settings, rows=number)
            self._say()

    @work(group="ask")
    async def action_length(self) -> None:
        number = await self._number(
            "How many tokens at most in a reply?", self.evaluations.settings.max_tokens
        )
        if number:
            self.evaluations.settings = replace(self.evaluations.settings, max_tokens=number)
            self._say()

    async def _number(self, title: str, usual: int) -> int | None:
        from tui.widgets.dialogs import Ask

        answer = await self.app.push_screen_wait(Ask(title, str(usual)))
        if answer is None:
            return None
        if not answer.strip().isdecimal() or not int(answer):
            self.finetui.notify(f"{one_line(answer)} is no number above 0")
            return None
        return int(answer)

    @work(group="ask")
    async def action_file(self) -> None:
        from tui.widgets.dialogs import Ask
        from tui.widgets.field import PathSuggester

        file = self.evaluations.settings.file
        answer = await self.app.push_screen_wait(
            Ask(
                "Measure on the rows of which file?",
                str(file or ""),
                "empty: the run's own validation rows",
                "Rows like those of the training, which were not trained on.",
                PathSuggester(),
            )
        )
        if answer is not None:
            path = Path(answer.strip()).expanduser().absolute() if answer.strip() else None
            self.evaluations.settings = replace(self.evaluations.settings, file=path)
            self._say()

    def action_panes(self) -> None:
        """The next pane; where one fits beside the figures, it is shown there."""
        panes: list[Widget] = [self.figures, self.confusion, self.replies]
        if not self.has_class("-classes") and not self.has_class("-side-by-side"):
            panes.remove(self.confusion)
        here = panes.index(self.focused) if self.focused and self.focused in panes else -1
        target = panes[(here + 1) % len(panes)]
        if target is not self.figures:
            self.set_class(target is self.confusion, "-show-classes")
        self.set_focus(target)

    def action_copy(self) -> None:
        if self.evaluation is not None:
            told = lines(self.evaluation, now(), COPIED_COLUMNS)
            self.finetui.copy("\n".join([f"{self.row.id}  {self.row.name}", *told]))

    @work(group="ask")
    async def action_write(self) -> None:
        import orjson

        from tui.saving import ask_and_write

        if self.evaluation is not None:
            text = orjson.dumps(self.evaluation, option=orjson.OPT_INDENT_2).decode() + "\n"
            name = f"{self.row.id}.evaluation.json"
            await ask_and_write(self.finetui, "Write the evaluation to a file", name, text)
