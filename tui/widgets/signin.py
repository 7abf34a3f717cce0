"""A device code, as large as it can be: it is typed on another machine."""

from __future__ import annotations

from rich.text import Text
from textual import events
from textual.widgets import Static

from tui.bigtext import big
from tui.format import ascii_only, one_line

MARGIN = 8
"""Cells of border, padding and some air."""


class SignIn(Static):
    """Address and code of a sign-in that is waited for; takes no room while there is none."""

    DEFAULT_CSS = """
    SignIn {
        height: auto; width: 1fr; padding: 0 2; display: none;
        border: heavy $warning; border-title-color: $text-warning; border-title-style: bold;
    }
    SignIn.-shown { display: block; }
    SignIn.-ascii { border: ascii $warning; }
    """

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__("", id=id, markup=False)
        self.border_title = "Sign in"
        self.address, self.code, self.keys = "", "", ""

    def on_mount(self) -> None:
        self.set_class(ascii_only(), "-ascii")

    def show(self, address: str, code: str, keys: str) -> None:
        """Say it; an empty code hides the panel.

        Args:
            address: where to go with a browser.
            code: what to type there.
            keys: what the keys do meanwhile.
        """
        if (address, code, keys) != (self.address, self.code, self.keys):
            self.address, self.code, self.keys = address, code, keys
            self.set_class(bool(code), "-shown")
            self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        room = (self.parent.size.width if self.parent is not None else 80) - MARGIN  # type: ignore[attr-defined]
        text = Text(f"Open {one_line(self.address)} in any browser and type this code:\n\n")
        text.append("\n".join(f"  {line}" for line in big(one_line(self.code), room)), "bold")
        text.append("\n\n")
        text.append(one_line(self.code), "bold")
        text.append(f"   {self.keys}")
        self.update(text)
