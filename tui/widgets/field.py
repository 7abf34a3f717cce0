"""A one-line text field with a cursor that stands still, and completion of file names."""

from __future__ import annotations

import asyncio
from typing import Any

from textual.binding import Binding
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input

from tui.completion import complete_path


class Field(Input):
    """A text field. `tab` or `right` takes the completion; a blinking cursor would send bytes while idle."""

    BINDINGS = [Binding("tab", "complete", "Complete", show=False)]
    DEFAULT_CSS = """
    Field, Field:focus {
        height: 1;
        border: none;
        padding: 0;
        background: $panel;
    }
    """

    class Passed(Message):
        """`tab` was pressed and there was nothing to complete."""

    def __init__(self, value: str = "", **options: Any) -> None:
        super().__init__(value, **{"select_on_focus": False, **options})
        self.cursor_blink = False

    def action_complete(self) -> None:
        """Take the completion shown; without one say that the user wants to go on."""
        before = self.value
        self.action_end()
        self.action_cursor_right()
        if self.value == before:
            self.post_message(self.Passed())


class PathSuggester(Suggester):
    """Completes the file name being typed; folders end in a slash.

    Args:
        separator: what parts several names in one field, or empty.
    """

    def __init__(self, separator: str = "") -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._separator = separator

    async def get_suggestion(self, value: str) -> str | None:
        before, sign, name = value.rpartition(self._separator) if self._separator else ("", "", value)
        blanks = name[: len(name) - len(name.lstrip())]
        found = await asyncio.to_thread(complete_path, name.strip())
        return f"{before}{sign}{blanks}{found}" if found else None
