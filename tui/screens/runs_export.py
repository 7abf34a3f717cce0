"""`o` on the list of runs: which form of a model to write where, and how that went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState

from tui.format import one_line, visible
from tui.screens.run_actions import RunActions
from tui.widgets.dialogs import Choices, Dialog, Scroll
from tui.widgets.field import Field, PathSuggester

if TYPE_CHECKING:
    from tui.exporting import Exportable


class ExportDialog(Dialog["tuple[str, str] | None"]):
    """What to write and where: (kind, folder); None when the user thinks better of it.

    Args:
        title: the model's.
        kinds: what can be written, with a sentence each.
        folder: what the folder's name begins with; the kind follows.
    """

    KEYS = "enter next, then export   tab next   esc cancel"
    BINDINGS = [Binding("tab", "app.focus_next", show=False)]
    DEFAULT_CSS = """
    ExportDialog Static { height: auto; }
    ExportDialog Choices, ExportDialog Choices:focus { border: none; margin: 0 0 1 0; }
    """

    def __init__(self, title: str, kinds: dict[str, str], folder: str) -> None:
        super().__init__()
        self._title = title
        self._kinds = kinds
        self._folder = folder
        self._kind = next(iter(kinds))
        self._proposed = ""

    @property
    def heading(self) -> str:
        return f"Export {one_line(self._title)}"

    def compose_content(self) -> ComposeResult:
        width = max(map(len, self._kinds)) + 2
        yield Choices(
            *(Option(f"{kind:<{width}}{words}", id=kind) for kind, words in self._kinds.items()), markup=False
        )
        yield Static("new folder", markup=False)
        yield Field(id="export-folder", suggester=PathSuggester())

    @on(OptionList.OptionHighlighted)
    def _propose(self, event: OptionList.OptionHighlighted) -> None:
        """Name the folder after the kind, unless the user has named it."""
        field = self.query_one(Field)
        self._kind = str(event.option_id)
        if field.value == self._proposed:
            field.value = self._proposed = f"{self._folder}-{self._kind}"

    @on(OptionList.OptionSelected)
    def _kind_chosen(self) -> None:
        self.query_one(Field).focus()

    @on(Input.Submitted)
    def _done(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.dismiss((self._kind, event.value))


class ExportedDialog(Dialog[None]):
    """Where the export is and what to know of it.

    Args:
        title: the model's.
        path: the folder.
        lines: sentences.
    """

    KEYS = "esc or enter close   y copy the path"
    BINDINGS = [Binding("enter,q", "cancel", show=False), Binding("y", "copy", show=False)]

    def __init__(self, title: str, path: str, lines: list[str]) -> None:
        super().__init__()
        self._title = title
        self._path = path
        self._lines = lines

    @property
    def heading(self) -> str:
        return f"Exported {one_line(self._title)}"

    def compose_content(self) -> ComposeResult:
        with Scroll():
            yield Static(visible(self._path), markup=False)
            for line in self._lines:
                yield Static(visible(line, lines=True), markup=False, classes="next")
            yield Static("")

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._path)
        self.app.notify("copied (OSC 52; in tmux needs `set -g set-clipboard on`)", markup=False)


class RunExports(RunActions):
    """A screen from which a run's model is exported, one at a time, while everything else goes on."""

    exporting: str = ""
    """What the export under way does; empty when there is none."""

    def exporting_changed(self) -> None:
        """Called when `exporting` says something else."""
        raise NotImplementedError

    @work(group="export-dialog")
    async def action_export(self) -> None:
        from tui import exporting
        from tui.widgets.dialogs import Confirm

        if self.exporting:
            question = Confirm("Stop the export?", f"{self.exporting}. Nothing of it is kept.", "Stop it")
            if await self.app.push_screen_wait(question):
                self.workers.cancel_group(self, "export")
            return
        row = self.chosen()
        if row is None:
            return
        what = await self.attempt(exporting.find, row.id)
        if what is None:
            return
        answer = await self.app.push_screen_wait(ExportDialog(what.title, exporting.KINDS, row.id))
        if answer is not None:
            self._export(what, *answer)

    @work(group="export")
    async def _export(self, what: Exportable, kind: str, folder: str) -> None:
        from core.errors import FinetuiError
        from tui import exporting

        def told(phase: str) -> None:
            self._say(f"export of {one_line(what.title)}: {phase}")

        told("starting")
        try:
            result: dict[str, Any] = await exporting.work(
                "export", what, told, to=kind, out=str(exporting.new_folder(folder))
            )
        except FinetuiError as error:
            self.finetui.show_error(error)
        else:
            self.app.push_screen(ExportedDialog(what.title, result["path"], exporting.lines(result)))

    def _say(self, text: str) -> None:
        self.exporting = text
        self.exporting_changed()

    @on(Worker.StateChanged)
    def _export_over(self, event: Worker.StateChanged) -> None:
        ended = (WorkerState.CANCELLED, WorkerState.ERROR, WorkerState.SUCCESS)
        if event.worker.group == "export" and event.state in ended:
            self._say("")
