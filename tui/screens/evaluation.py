"""The evaluation of a run, a page over the monitor: figures base beside tuned, who was taken for whom, replies."""

from __future__ import annotations

from collections.abc import Iterable
from time import time as now
from typing import TYPE_CHECKING, Any

from textual import events, work
from textual.containers import Container, Vertical
from textual.widget import Widget

from core.events import Status
from tui.actions import bindings
from tui.evaluating import Evaluations, Settings, read_evaluation
from tui.evaluation_text import confusion_paragraphs, figure_paragraphs, lines, reply_paragraphs
from tui.format import ago, count, one_line
from tui.screens.page import COPIED_COLUMNS, FRAME_COLUMNS, WIDE_COLUMNS, MeasuringPage
from tui.widgets.progress import Progress, RunProgress
from tui.widgets.textpane import Paragraph, TextPane

if TYPE_CHECKING:
    from core.runs.rows import RunRow

NOT_YET = "Not evaluated yet: m measures the model and its base on up to {rows} {which}."
MEASURING = "Being measured: the figures come here; x gives it up."
NO_CLASSES = (
    "Which answer was given for which; shown where the expected answers are few: at most 20, of a few words, each of "
    "them expected more than once."
)


class EvaluationScreen(MeasuringPage):
    """What was measured of one run.

    Args:
        row: the run.
        evaluations: what the app measures.
    """

    MODE = "evaluation"
    OVER = "monitor"
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
        self.progress = RunProgress(id="progress")
        self.figures = TextPane("Base beside tuned", follow=False, id="figures")
        self.confusion = TextPane("Classes", NO_CLASSES, follow=False, id="classes")
        self.replies = TextPane("Replies", "None yet.", follow=False, id="replies")

    def compose_body(self) -> Iterable[Widget]:
        yield self.progress
        yield self.problem
        with Container(id="panes"):
            with Vertical(id="left"):
                yield self.figures
                yield self.confusion
            yield self.replies

    def on_mount(self) -> None:
        self.context = self.row.name
        super().on_mount()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= WIDE_COLUMNS, "-side-by-side")
        self.call_after_refresh(self._draw_classes)

    # -- what was measured, and what is being measured

    @property
    def measuring(self) -> bool:
        return self.evaluations.run_id == self.row.id

    @property
    def settings(self) -> Settings:
        return self.evaluations.settings

    def set_settings(self, settings: Settings) -> None:
        self.evaluations.settings = settings

    def read(self) -> dict[str, Any] | None:
        return read_evaluation(self.row.directory)

    def draw(self) -> None:
        found = self.found
        self.figures.set_paragraphs(figure_paragraphs(found, now()) if found else [])
        self.replies.set_paragraphs(reply_paragraphs(found) if found else [])
        self._draw_classes()

    def _draw_classes(self) -> None:
        """The matrix depends on the pane's width, which is that of the figures, hidden or not."""
        found = self.found
        shown: list[Paragraph] = []
        if found and found["confusion"]:
            shown = confusion_paragraphs(found, self.figures.outer_size.width - FRAME_COLUMNS)
        self.set_class(bool(shown), "-classes")
        self.confusion.set_paragraphs(shown)

    def say(self) -> None:
        """The two lines at the top, and what the empty pane says."""
        step, found = self.evaluations.step, self.found
        status, phase = None, ""
        if self.measuring and step.total:
            status = Status(text=step.phase, done=step.done, total=step.total, unit="rows")
        elif self.measuring:
            phase = step.phase
        else:
            phase = f"evaluated {ago(found['when'], now())}" if found else "not evaluated yet"
        settings = self.settings
        file = one_line(settings.file.name) if settings.file else ""
        rows = f"{count(settings.rows)} rows{f' of {file}' if file else ''}"
        asked = f"next: {rows}, replies up to {count(settings.max_tokens)} tokens"
        self.progress.show(Progress(self.row.state, self.row.name, asked, phase=phase, status=status))
        which = f"rows of {file}" if file else "of its validation rows"
        not_yet = NOT_YET.format(rows=count(settings.rows), which=which)
        self.figures.empty = MEASURING if self.measuring else not_yet
        self.figures.refresh()

    # -- keys

    def action_measure(self) -> None:
        if self.evaluations.run_id:
            self.finetui.notify(
                f"{self.evaluations.run_id} is being measured: one at a time, since each takes memory."
            )
            return
        self.evaluations.begin(self.row.id, self.finetui)
        self.look()

    def action_stop(self) -> None:
        self.evaluations.stop()

    @work(group="ask")
    async def action_file(self) -> None:
        note = "Rows like those of the training, which were not trained on."
        otherwise = "the run's own validation rows"
        title = "Measure on the rows of which file?"
        if (found := await self.ask_file(title, self.settings.file, otherwise, note)) is not None:
            self.change(file=found[0])

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
        if self.found is not None:
            told = lines(self.found, now(), COPIED_COLUMNS)
            self.finetui.copy("\n".join([f"{self.row.id}  {self.row.name}", *told]))

    @work(group="ask")
    async def action_write(self) -> None:
        await self.write_found("Write the evaluation to a file", f"{self.row.id}.evaluation.json")
