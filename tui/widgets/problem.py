"""An error where it happened: what, why, and what to do next."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from core.errors import FinetuiError
from tui.format import visible


class Problem(Static):
    """The three parts of an error, in place; takes no room while there is none."""

    DEFAULT_CSS = """
    Problem {
        height: auto; max-height: 12; width: 1fr; padding: 0 1; display: none;
        border-left: thick $error; background: $error 10%;
    }
    Problem.-shown { display: block; }
    """

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__("", id=id, markup=False)
        self._parts = ("", "", "")

    def show(self, what: str, cause: str = "", next_step: str = "") -> None:
        """Say it; empty words hide the block."""
        parts = (what, cause, next_step)
        if parts == self._parts:
            return
        self._parts = parts
        self.set_class(bool(what), "-shown")
        self.update(
            Content("\n").join(
                Content.assemble((f"{head}", "bold"), Content(visible(text, lines=True).rstrip()))
                for head, text in (("", what), ("Cause  ", cause), ("Next   ", next_step))
                if text
            )
        )

    def show_error(self, error: FinetuiError) -> None:
        """Say an error's three parts."""
        self.show(error.what, error.cause, error.next_step)

    def clear(self) -> None:
        """Take the block away."""
        self.show("")
