"""`?`: what the screen is for and every key that works on it, from the registry."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from tui.actions import MOVES, Action, actions_of, keys_of, show_key
from tui.widgets.dialogs import Dialog, Scroll


def shown_keys(action: Action, mode: str) -> str:
    """All keys of an action on a screen as people write them."""
    return " ".join(map(show_key, keys_of(action, mode)))


def key_table(mode: str) -> Table:
    """The whole help of a screen: keys at the left, what they do at the right."""
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    groups = [
        (
            mode.replace("_", " ").capitalize(),
            [(shown_keys(action, mode), action.help) for action in actions_of(mode)],
        ),
        ("Moving", list(MOVES)),
        ("Everywhere", [(shown_keys(action, mode), action.help) for action in actions_of("app")]),
    ]
    for title, rows in groups:
        if rows:
            table.add_row(Text(title, "bold underline"), "")
            for keys, sentence in rows:
                table.add_row(Text(f"  {keys}", "bold"), Text(sentence))
            table.add_row("", "")
    return table


class HelpScreen(Dialog[None]):
    """The help of a screen, over it."""

    TITLE = "Help"
    KEYS = "j k scroll   esc close"

    def __init__(self, about: Screen[Any]) -> None:
        super().__init__(classes="-large")
        self._mode = getattr(about, "MODE", "")
        self._purpose = getattr(about, "HELP", "")

    def compose_content(self) -> ComposeResult:
        with Scroll():
            if self._purpose:
                yield Static(Text(self._purpose + "\n"))
            yield Static(key_table(self._mode))
