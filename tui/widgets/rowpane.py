"""One row, to read: as conversation, as raw JSON, or as the tokens of a model with the trained ones marked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from rich.text import Text
from textual import work

from tui.format import count
from tui.states import colour
from tui.widgets.reading import Paragraph, ReadingPane

if TYPE_CHECKING:
    from core.data.problems import Problem
    from core.pipes import PipeClient
    from tui.rowfile import RowFile
    from tui.rowtext import Styles

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_LENGTH = 2048
CUT_OFF = "answer-cut-off"
"""The one error of the tokens tier whose rows can be rendered."""

View = Literal["conversation", "raw", "tokens"]
NAMES: dict[View, str] = {"conversation": "", "raw": ", as JSON", "tokens": ", as tokens"}


class RowPane(ReadingPane):
    """The row under the cursor.

    Attributes:
        view: how it is shown.
        ids: each token's id is written behind it.
        for_task: what the rows are shown as trained for; empty: what each row's shape is for.
        model: whose tokens and template are shown.
        template: (name, text) of a chat template that takes the place of the model's own.
        sequence_length: tokens beyond it are cut off in training.
    """

    def __init__(self, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self.view: View = "conversation"
        self.ids = False
        self.for_task = ""
        self.model = DEFAULT_MODEL
        self.template: tuple[str, str] | None = None
        self.sequence_length = DEFAULT_LENGTH
        self._shown: tuple[RowFile, int] | None = None
        self._worker: PipeClient | None = None

    async def close(self) -> None:
        """End the process that renders."""
        self._shown = None
        if self._worker is not None:
            await self._worker.close()
        self.workers.cancel_node(self)

    @property
    def _styles(self) -> Styles:
        from tui.rowtext import Styles

        names = ("text-success", "text-error", "text-warning", "foreground-muted")
        return Styles(*(colour(self.app, name) for name in names))

    def show_nothing(self, file: RowFile | None, note: str = "") -> None:
        """There is no row; why, or what is wrong with the file as a whole."""
        from tui import rowtext

        self._shown = None
        self.border_title = "Row"
        if note:
            self.show([Paragraph(Text(note))])
            return
        self.show(rowtext.problem_lines(file.problems.whole_file, self._styles) if file is not None else ())

    def show_row(self, file: RowFile, row: int) -> None:
        """Show a row of a file; its tokens come when the worker has them."""
        from core.data.problems import DataError
        from tui import rowtext

        self._shown = file, row
        task = f", for {self.for_task}" if self.for_task else ""
        self.border_title = f"Row {count(row + 1)}{task}{NAMES[self.view]}"
        head = rowtext.problem_lines(file.problems_of(row), self._styles)
        parsed = file.row(row)
        if isinstance(parsed, DataError) and self.view != "raw":
            self.show([*head, Paragraph(rowtext.raw_text(file.raw(row)))])
        elif self.view == "raw":
            self.show([*head, Paragraph(rowtext.raw_text(file.pretty(row)))])
        elif self.view == "tokens":
            self.show([*head, Paragraph(Text("rendering ..."))])
            self._render_tokens(file, row)
        else:
            assert not isinstance(parsed, DataError)
            self.show([*head, *rowtext.row_lines(parsed, self.for_task, self._styles)])

    @work(exclusive=True, group="tokens")
    async def _render_tokens(self, file: RowFile, row: int) -> None:
        from core.errors import FinetuiError
        from tui import rowtext
        from tui.failures import on_page

        head = rowtext.problem_lines(file.problems_of(row), self._styles)
        try:
            answer = await self._ask(file, row)
            named = f"{self.model}, template of {self.template[0]}" if self.template else self.model
            lines = rowtext.token_lines(answer, named, self.sequence_length, self.ids, self._styles)
        except FinetuiError as error:
            told = any(_is_of_tokens(problem) for problem in file.problems_of(row))
            lines = [] if told else rowtext.error_lines(on_page(error), self._styles)
        if self._shown == (file, row) and self.view == "tokens":
            self.show([*head, *lines])

    async def _ask(self, file: RowFile, row: int) -> dict[str, Any]:
        """The row as tokens.

        Raises:
            FinetuiError: the model isn't there, or the row can't be rendered.
        """
        from core.catalog.reference import folder_here
        from core.errors import FinetuiError
        from tui.datawork import new_worker

        folder = folder_here(self.model)
        while row >= len(file.index) and not file.index.complete:
            await asyncio.sleep(0.05)  # a row of the file's beginning is shown before it is in the index
        self._worker = self._worker or new_worker()
        answers = await self._worker.call(
            "render",
            **file.request,
            lines=[[row, file.line_number(row), *file.index.span(row)]],
            model_folder=str(folder),
            chat_template=self.template[1] if self.template else None,
            sequence_length=self.sequence_length,
            apart=self.ids,
            task=self.for_task,
        )
        answer: dict[str, Any] = answers[0]
        if "error" in answer:
            raise FinetuiError(**answer["error"])
        return answer


def _is_of_tokens(problem: Problem) -> bool:
    """Whether it says why a row can't be rendered."""
    from core.data.codes import CODES

    return problem.severity == "error" and CODES[problem.code].tier == "tokens" and problem.code != CUT_OFF
