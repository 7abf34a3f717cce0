"""Getting ready for Azure: sign-in, and a checklist whose lines say what they mean, what they cost and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual import on, work
from textual.widget import Widget

from core.errors import FinetuiError
from tui.actions import bindings
from tui.azure_text import SIGN_IN, check_details, check_rows, check_title, sign_in_line
from tui.screens.azure_choices import AzureChoices
from tui.widgets.table import Column, Table
from tui.widgets.textpane import TextPane


class AzureScreen(AzureChoices):
    """The checklist."""

    MODE = "azure"
    HELP = (
        "What Azure needs before it can tune a model, checked line by line. Each line says what it is for, what it "
        "costs and what enter does about it; nothing is made or registered without a question. tab goes on to the "
        "models, the endpoints and the clean-up."
    )
    HOME = "#checklist"
    CODE_KEYS = "y copies it   x gives up"
    BINDINGS = bindings("azure")

    def __init__(self, desk: Any) -> None:
        super().__init__(desk)
        self.table = Table(
            (
                Column("state", "", 10),
                Column("title", "What is needed", 33),
                Column("found", "Found", 0),
            ),
            id="checklist",
        )
        self.details = TextPane("", follow=False, id="details")
        self.checking = False

    def compose_body(self) -> Iterable[Widget]:
        yield self.table
        yield self.details

    # -- the lines

    def all_lines(self) -> list[dict[str, Any]]:
        """The sign-in, then what Azure was asked."""
        desk = self.desk
        return [sign_in_line(desk.account, desk.signed_in, desk.why), *desk.lines]

    def line(self) -> dict[str, Any]:
        """The line under the cursor."""
        lines = self.all_lines()
        return next((line for line in lines if line["key"] == self.table.chosen), lines[0])

    def show(self) -> None:
        lines = self.all_lines()
        self.table.show(check_rows(lines), check_title(lines, self.checking))
        self._show_line()

    @on(Table.Moved)
    def _show_line(self) -> None:
        line = self.line()
        self.details.title = line["title"]
        self.details.set_paragraphs(check_details(line))
        self.details.show_titles()
        self.refresh_bindings()

    async def load(self) -> None:
        if self.desk.signed_in and not (self.desk.checked and self.desk.checked_for == self.desk.model):
            await self.settle()
            self.check()
        self._point()

    @work(exclusive=True, group="check")
    async def check(self) -> None:
        """Ask Azure about every line; each is shown as it is known. A line that was not right gets the cursor."""
        desk = self.desk
        self.checking, desk.checked, desk.lines, desk.checked_for = True, False, [], desk.model
        self.show()
        try:
            async for kind, value in desk.stream("checklist", model=desk.model):
                if kind == "chunk":
                    desk.lines.append(value)
                    self.show()
        except FinetuiError as error:
            self.problem.show_error(error)
        else:
            desk.checked = True
            self.problem.clear()
        finally:
            self.checking = False
        self.show()
        self._point()

    def _point(self) -> None:
        """Put the cursor, which has not been moved yet, on the first line that is not right."""
        wrong = next((at for at, line in enumerate(self.all_lines()) if line["state"] == "missing"), 0)
        if self.table.cursor == 0 and self.desk.checked:
            self.table.go(wrong)

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "fix":
            return bool(self.fix_of(self.line()))
        if action == "choose":
            return bool(self.desk.signed_in)
        if action == "look":
            return not self.checking and self.desk.task is None
        if action == "stop":
            return self.desk.task is not None and self.desk.task.kind == SIGN_IN
        return super().check_action(action, parameters)

    @on(Table.Chosen)
    def _entered(self) -> None:
        self.action_fix()

    def action_fix(self) -> None:
        line = self.line()
        if self.fix_of(line):
            self.fix(line)

    def action_stop(self) -> None:
        self.desk.stop()

    def action_look(self) -> None:
        self.desk.signed_in, self.desk.checked = None, False  # the token too is asked for anew
        self.begin()

    def copied(self) -> str:
        line = self.line()
        parts = [f"{line['title']}: {line['state']}. {line['found']}", line["ask"], line.get("next", "")]
        return "\n".join(part for part in parts if part)
