"""A pane of styled text of any length: wrapped once per width, only the lines in view are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.widgets.lines import MOTIONS, strip_of


@dataclass(frozen=True)
class Paragraph:
    """Text with its styles; `indent` cells are left free at the left of each of its lines."""

    text: Text
    indent: int = 0


BLANK = Paragraph(Text(""))


def wrap_spans(text: str, width: int) -> list[tuple[int, int]]:
    """Where each line of the text starts and ends, at most `width` cells wide; broken at spaces if there are any.

    Every character but line feeds belongs to exactly one line, so that styles keep their places.
    """
    width = max(1, width)
    spans: list[tuple[int, int]] = []
    start = 0
    for line in text.split("\n"):
        end = start + len(line)
        while end - start > width or (not line.isascii() and cell_len(text[start:end]) > width):
            cut = _fitting(text, start, end, width)
            space = text.rfind(" ", start + 1, cut)
            cut = space + 1 if space >= 0 and text[start:space].strip() else cut
            spans.append((start, cut))
            start = cut
        spans.append((start, end))
        start = end + 1
    return spans


def _fitting(text: str, start: int, end: int, width: int) -> int:
    """The end of the longest piece from `start` that fits; at least one character."""
    if text[start : start + width].isascii():
        return min(end, start + width)
    cells = 0
    for place in range(start, end):
        cells += cell_len(text[place])
        if cells > width:
            return max(start + 1, place)
    return end


class ReadingPane(ScrollView, can_focus=True):
    """Paragraphs, scrolled by vim keys and arrows."""

    BINDINGS = MOTIONS
    DEFAULT_CSS = (
        "ReadingPane { height: 1fr; background: $background; overflow-x: hidden; overflow-y: auto; }"
    )

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._paragraphs: tuple[Paragraph, ...] = ()
        self._lines: list[tuple[int, int, int]] = []
        self._width = 0

    def show(self, paragraphs: Sequence[Paragraph], keep_place: bool = False) -> None:
        """Show these; from the top, or from where the reader is."""
        self._paragraphs = tuple(paragraphs)
        self._wrap()
        if not keep_place:
            self.scroll_to(y=0, animate=False)
        self.refresh()

    @property
    def plain(self) -> str:
        """All of the text, without styles."""
        return "\n".join(paragraph.text.plain for paragraph in self._paragraphs)

    def _wrap(self) -> None:
        self._width = self.scrollable_content_region.width
        self._lines = [
            (number, start, end)
            for number, paragraph in enumerate(self._paragraphs)
            for start, end in wrap_spans(paragraph.text.plain, self._width - paragraph.indent)
        ]
        self.virtual_size = Size(self._width, len(self._lines))

    def on_resize(self) -> None:
        if self.scrollable_content_region.width != self._width:
            self._wrap()
            self.refresh()

    def action_move(self, rows: int) -> None:
        self.scroll_relative(y=rows, animate=False)

    def action_move_page(self, pages: int) -> None:
        self.scroll_relative(y=pages * max(1, self.scrollable_content_region.height - 1), animate=False)

    def action_move_first(self) -> None:
        self.scroll_home(animate=False)

    def action_move_last(self) -> None:
        self.scroll_end(animate=False)

    def render_line(self, y: int) -> Strip:
        place = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        if place >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        number, start, end = self._lines[place]
        paragraph = self._paragraphs[number]
        line = Text(" " * paragraph.indent)
        line.append_text(paragraph.text[start:end])
        return strip_of(line, width, self.rich_style)
