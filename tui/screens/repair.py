"""Repairing a file: steps are staged, looked at as a diff, undone, and written to a new file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.style import Style
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.format import count, visible
from tui.states import colour
from tui.widgets.dialogs import Choices, Dialog
from tui.widgets.reading import BLANK, Paragraph, ReadingPane

if TYPE_CHECKING:
    from core.data.repair import Step
    from core.pipes import PipeClient
    from tui.rowfile import RowFile

PREVIEWED = 20
EDIT = "edit"
Worker = Callable[[], AbstractAsyncContextManager["PipeClient"]]


class Repair(Dialog[Path | None]):
    """Choose repairs, see what they change, write the file. Dismissed with the new file, or None.

    Args:
        file: the open file.
        row: the row under the cursor, from 0.
        worker: lends a data worker.
        model: what the worker is told of the chosen model.
    """

    KEYS = "enter add   u undo   w write   tab other side   esc close"
    AUTO_FOCUS = "Choices"
    BINDINGS = [
        Binding("u", "undo", show=False),
        Binding("w", "write", show=False),
        Binding("tab,h,l,left,right", "app.focus_next", show=False),
    ]
    DEFAULT_CSS = """
    Repair #dialog { width: 96%; height: 90%; padding: 0 1; }
    Repair #sides { height: 1fr; }
    Repair #left { width: 44%; }
    Repair #steps { height: auto; max-height: 8; margin: 0 0 1 0; }
    Repair Choices, Repair Choices:focus { height: 1fr; max-height: 100%; border: none; }
    Repair Choices { text-wrap: nowrap; text-overflow: ellipsis; }
    Repair #diff { width: 1fr; border-left: solid $panel; padding-left: 1; }
    """

    def __init__(self, file: RowFile, row: int, worker: Worker, model: dict[str, Any]) -> None:
        super().__init__()
        self._file = file
        self._row = row
        self._worker = worker
        self._model = model
        self._steps: list[Step] = []
        self._offered: dict[str, Step] = {}
        self._diff = ReadingPane(id="diff")

    @property
    def heading(self) -> str:
        return f"Repair {self._file.name} (row {count(self._row + 1)})"

    def compose_content(self) -> ComposeResult:
        with Horizontal(id="sides"):
            with Vertical(id="left"):
                yield Static("", id="steps", markup=False)
                yield Choices(*self._options(), markup=False)
            yield self._diff

    def on_mount(self) -> None:
        self._show()

    def _options(self) -> list[Option]:
        """What can be done: for the row's problems, for all rows with a problem, for every row."""
        from core.data.codes import CODES
        from core.data.repair import NAMES, Step, steps_for

        number = self._row + 1
        own = sorted(
            {problem.code for problem in self._file.problems_of(self._row) if CODES[problem.code].repair}
        )
        every = [code for code in self._file.problems.codes if CODES[code].repair and code != "leak"]
        offers = [(f"this row: {code}", _only(step, number)) for code in own for step in steps_for([code])]
        offers += [
            (f"{code}, {count(self._file.problems.codes[code])}", step)
            for code in every
            for step in steps_for([code])
        ]
        offers.append(("this row", Step("drop", rows=(number,))))
        offers += [("every row", Step(name)) for name in NAMES if name not in ("drop", "edit", "re-encode")]
        options = [Option(_offer("this row", "Edit its JSON in $EDITOR"), id=EDIT)]
        for place, (where, step) in enumerate(offers):
            self._offered[f"offer-{place}"] = step
            options.append(Option(_offer(where, NAMES[step.repair]), id=f"offer-{place}"))
        return options

    # -- keys

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if event.option_id == EDIT:
            self._edit()
        else:
            self._stage(self._offered[str(event.option_id)])

    def _stage(self, step: Step) -> None:
        if step not in self._steps:
            self._steps.append(step)
        self._show()

    def _edit(self) -> None:
        import json

        from core.data.repair import Step
        from core.errors import FinetuiError
        from tui.external import edit

        before = self._file.pretty(self._row)
        try:
            after = edit(self.app, before)
            value = json.loads(after)
        except FinetuiError as error:
            self.app.push_screen(_error_dialog(error))
            return
        except ValueError as error:
            self.app.push_screen(
                _error_dialog(FinetuiError("That is no JSON.", str(error), "Edit the row again."))
            )
            return
        if not isinstance(value, dict):
            wrong = FinetuiError("A row is one JSON object.", "", "Edit the row again.")
            self.app.push_screen(_error_dialog(wrong))
        elif after.strip() != before.strip():
            self._stage(Step("edit", rows=(self._row + 1,), value=value))

    def action_undo(self) -> None:
        if self._steps:
            self._steps.pop()
            self._show()

    @work(exclusive=True, group="write")
    async def action_write(self) -> None:
        """Ask for a name and write the repaired rows; the file itself is never written."""
        from core.errors import FinetuiError
        from tui.saving import ask_new_file

        if not self._steps:
            self.app.notify("Add a repair first: enter", markup=False)
            return
        target = await ask_new_file(
            self.app, "Write the repaired rows to", f"{_stem(self._file.path)}.fixed.jsonl"
        )
        if target is None:
            return
        path, overwrite = target
        request = {**self._request, "target": str(path), "overwrite": overwrite}
        try:
            async with self._worker() as client:
                async for kind, value in client.stream("repair", **request):
                    if kind == "chunk":
                        share = 100 * value["bytes"] / max(1, value["total"])
                        self.query_one("#steps", Static).update(f"writing {share:.0f} % ...")
                    else:
                        self.app.notify(_told(value), markup=False)
                        self.dismiss(path)
        except FinetuiError as error:
            self._show()
            self.app.push_screen(_error_dialog(error))

    # -- showing

    @property
    def _request(self) -> dict[str, Any]:
        return {
            "path": str(self._file.path),
            "columns": self._file.columns,
            "steps": [step.as_dict() for step in self._steps],
            **self._model,
        }

    def _show(self) -> None:
        lines = [f"{number}. {_step_text(step)}" for number, step in enumerate(self._steps, 1)]
        self.query_one("#steps", Static).update(visible("\n".join(lines) or "nothing chosen yet", lines=True))
        if self._steps:
            self._diff.show([Paragraph(Text("looking for what would change ..."))])
            self._preview()
        else:
            self._diff.show([Paragraph(Text("enter adds a repair; what it changes is shown here"))])

    @work(exclusive=True, group="preview")
    async def _preview(self) -> None:
        from core.errors import FinetuiError

        steps = list(self._steps)
        try:
            async with self._worker() as client:
                changes = await client.call("preview", **self._request, limit=PREVIEWED)
        except FinetuiError as error:
            lines = [Paragraph(Text(f"✗ {visible(str(error), lines=True)}", colour(self.app, "text-error")))]
        else:
            lines = self._diff_lines(changes)
        if steps == self._steps:
            self._diff.show(lines)

    def _diff_lines(self, changes: list[dict[str, Any]]) -> list[Paragraph]:
        styles = {
            "+": colour(self.app, "text-success"),
            "-": colour(self.app, "text-error"),
            "@": Style(dim=True),
        }
        lines = [Paragraph(Text("nothing would change" if not changes else ""))]
        for change in changes:
            for line in change["diff"]:
                lines.append(Paragraph(Text(visible(line), styles.get(line[:1], Style()))))
            lines.append(BLANK)
        if len(changes) == PREVIEWED:
            lines.append(Paragraph(Text(f"the first {PREVIEWED} changes; w writes all")))
        return lines


def _only(step: Step, row: int) -> Step:
    from core.data.repair import Step

    return Step(step.repair, step.codes, (row,))


def _offer(where: str, what: str) -> Text:
    text = Text(f"{what}  ", no_wrap=True, overflow="ellipsis")
    text.append(visible(where), "dim")
    return text


def _step_text(step: Step) -> str:
    from core.data.repair import NAMES

    where = f"row {step.rows[0]}" if step.rows else ", ".join(step.codes) or "every row"
    return f"{NAMES[step.repair]} ({where})"


def _told(report: dict[str, Any]) -> str:
    return (
        f"written: {count(report['written'])} rows, {count(report['changed'])} changed, "
        f"{count(report['dropped'])} dropped"
    )


def _stem(path: Path) -> str:
    """The name without its endings."""
    return path.name.split(".")[0] or path.name


def _error_dialog(error: Any) -> Any:
    from tui.widgets.dialogs import ErrorDialog

    return ErrorDialog(error)
