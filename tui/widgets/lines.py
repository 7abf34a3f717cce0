"""What line-drawn widgets share: vim keys and arrows for a cursor or for scrolling, and strips of text."""

from __future__ import annotations

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.strip import Strip

_CONSOLE = Console(color_system="truecolor", force_terminal=True, width=1000)
"""Rich wants one to resolve styles; nothing is printed on it."""

MOTIONS: list[BindingType] = [
    Binding("j,down", "move(1)", show=False),
    Binding("k,up", "move(-1)", show=False),
    Binding("ctrl+d,pagedown", "move_page(1)", show=False),
    Binding("ctrl+u,pageup", "move_page(-1)", show=False),
    Binding("g,home", "move_first", show=False),
    Binding("G,end", "move_last", show=False),
]
"""`action_move(rows)`, `action_move_page(pages)`, `action_move_first()` and `action_move_last()`."""


def strip_of(text: Text, width: int, style: Style) -> Strip:
    """A line of text as a strip of exactly `width` cells on a base style."""
    pieces = [
        Segment(piece.text, style + (piece.style if isinstance(piece.style, Style) else Style.null()))
        for piece in text.render(_CONSOLE)
        if piece.text
    ]
    return Strip(pieces).adjust_cell_length(width, style)
