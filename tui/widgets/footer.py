"""The one line at the bottom, made from the registry: the screen's verbs, and always help and commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len
from rich.text import Text
from textual.screen import Screen
from textual.widget import Widget

from tui.actions import Action, actions_of

NARROW_COLUMNS = 100
NARROW_VERBS = 4
RIGHT = (("?", "Help"), ("^P", "Commands"))
RIGHT_TYPING = (("f1", "Help"), ("^P", "Commands"))
TYPING = (("typing:", "esc leaves the field"),)

Pairs = Iterable[tuple[str, str]]


def fitting(actions: Iterable[Action], columns: int) -> list[tuple[str, str]]:
    """The (key, label) pairs that fit beside help and commands; at most four where columns are few."""
    room = columns - _width(RIGHT) - 2
    shown: list[tuple[str, str]] = []
    for action in actions:
        if not action.footer or (columns < NARROW_COLUMNS and len(shown) == NARROW_VERBS):
            continue
        if _width([*shown, (action.key, action.label)]) > room:
            break
        shown.append((action.key, action.label))
    return shown


def _width(pairs: Pairs) -> int:
    """Cells the pairs take: ` key Label ` each."""
    return sum(cell_len(key) + cell_len(label) + 3 for key, label in pairs)


class Footer(Widget):
    """What the keys do now. While a text field has the focus it says so, since letters then type."""

    COMPONENT_CLASSES = {"footer--key"}
    DEFAULT_CSS = """
    Footer {
        dock: bottom;
        height: 1;
        background: $panel;
        color: $foreground;
    }
    Footer .footer--key { text-style: bold; color: $accent; }
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._updated)

    def _updated(self, _: Screen[Any]) -> None:
        self.refresh()

    def render(self) -> Text:
        typing = is_typing(self.screen)
        if typing:
            left: Pairs = TYPING
        else:
            possible = (item for item in actions_of(self.mode) if self.screen.check_action(item.verb, ()))
            left = fitting(possible, self.size.width)
        line = Text(no_wrap=True, end="")
        self._append(line, left)
        right = RIGHT_TYPING if typing else RIGHT
        line.append(" " * max(0, self.size.width - line.cell_len - _width(right)))
        self._append(line, right)
        return line

    def _append(self, line: Text, pairs: Pairs) -> None:
        style = self.get_component_rich_style("footer--key", partial=True)
        for key, label in pairs:
            line.append(f" {key}", style)
            line.append(f" {label} ")


def is_typing(screen: Screen[Any]) -> bool:
    """Whether the focused widget takes letters as text."""
    focused = screen.focused
    return focused is not None and focused.check_consume_key("a", "a")
