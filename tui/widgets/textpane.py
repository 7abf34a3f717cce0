"""A pane of wrapped text that follows its end only when the reader is there.

Base of the log, the sample replies and the chat. Text is data: it is drawn as it is, never parsed as markup,
and control characters are made visible by whoever makes the paragraphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.content import Content
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.format import ascii_only, clip, plain, wrap
from tui.widgets.lines import MOTIONS


@dataclass(frozen=True)
class Paragraph:
    """A piece of text that is wrapped to the pane's width.

    Args:
        text: its words; line feeds break it.
        style: one of `TextPane.STYLES`.
        head: put before its first line, in muted colour; later lines are indented as far.
        tail: put at the right end of its first line, in muted colour.
        spans: (start, end, style) of pieces of the text that look otherwise, in order and apart.
        again: put before its later lines in place of blanks, as wide as the head.
    """

    text: str
    style: str = ""
    head: str = ""
    tail: str = ""
    spans: tuple[Span, ...] = ()
    again: str = ""


Span = tuple[int, int, str]
_Row = tuple[str, str, str, str, tuple[Span, ...]]
"""head, text, tail, style and spans of one line on the screen."""


class TextPane(ScrollView, can_focus=True):
    """Paragraphs, wrapped, scrolled by keys.

    Args:
        title: shown in the border.
        empty: shown while there is nothing: what this is and which key fills it.
        limit: paragraphs kept; older ones are dropped.
        follow: new text moves a reader who is at the end.
    """

    STYLES: ClassVar[tuple[str, ...]] = (
        "muted", "strong", "accent", "good", "warning", "error", "emphasis", "code", "link", "struck"
    )  # fmt: skip

    DEFAULT_CSS = """
    TextPane {
        height: 1fr; width: 1fr; min-height: 3; background: transparent;
        border: round $panel-lighten-2; border-title-color: $foreground; border-title-style: bold;
        border-subtitle-color: $foreground 70%;
        padding: 0 1; overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1;
        &:focus { border: heavy $primary; }
        &.-ascii { border: ascii $panel-lighten-2; }
        &.-ascii:focus { border: ascii $primary; }
    }
    TextPane > .pane--muted { color: $foreground 60%; }
    TextPane > .pane--strong { text-style: bold; }
    TextPane > .pane--accent { color: $text-accent; }
    TextPane > .pane--good { color: $text-success; }
    TextPane > .pane--warning { color: $text-warning; }
    TextPane > .pane--error { color: $text-error; }
    TextPane > .pane--emphasis { text-style: italic; }
    TextPane > .pane--code { color: $text-secondary; }
    TextPane > .pane--link { text-style: underline; }
    TextPane > .pane--struck { text-style: strike; }
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"pane--{name}" for name in STYLES}

    BINDINGS = MOTIONS

    def __init__(
        self,
        title: str,
        empty: str = "",
        limit: int = 10_000,
        follow: bool = True,
        id: str | None = None,  # noqa: A002 - Textual's name
    ) -> None:
        super().__init__(id=id)
        self.title = title
        self.empty = empty
        self.limit = limit
        self.paragraphs: list[Paragraph] = []
        self._rows: list[_Row] = []
        self._starts: list[int] = []
        self.follow = follow
        self._following = follow
        self._wrapped_at = 0
        self._titles = ("", "")

    def on_mount(self) -> None:
        if ascii_only():
            self.add_class("-ascii")
            self.styles.scrollbar_size_vertical = 0  # its thumb is drawn in blocks
        self.show_titles()

    # -- content

    @property
    def following(self) -> bool:
        """Whether the reader is at the end, so that new text moves the view."""
        return self._following

    def append(self, paragraphs: Iterable[Paragraph]) -> None:
        """Add at the end; the view moves only if its end was in sight."""
        new = list(paragraphs)
        if not new:
            return
        first_new = len(self._rows)
        self.paragraphs += new
        self._wrap(new)
        dropped = self._drop()
        self._changed(max(0, first_new - dropped), dropped)

    def replace_from(self, index: int, paragraphs: Sequence[Paragraph]) -> None:
        """Put other paragraphs in the place of those from `index` on; for a text that is being written."""
        first_row = self._starts[index] if index < len(self._starts) else len(self._rows)
        before = self._rows[first_row:]
        del self.paragraphs[index:], self._starts[index:], self._rows[first_row:]
        self.paragraphs += paragraphs
        self._wrap(paragraphs)
        after = self._rows[first_row:]
        pairs = enumerate(zip(before, after, strict=False))
        differs = next((at for at, (old, new) in pairs if old != new), None)
        if differs is None and len(before) == len(after):
            return
        self._changed(first_row + (min(len(before), len(after)) if differs is None else differs), 0)

    def set_paragraphs(self, paragraphs: Sequence[Paragraph]) -> None:
        """Show these instead; nothing is drawn again if they are the same."""
        if list(paragraphs) != self.paragraphs:
            self.replace_from(0, paragraphs)

    def clear(self) -> None:
        """Show nothing, and follow the end again."""
        self._following = self.follow
        self.replace_from(0, [])
        self.refresh()

    def show_titles(self) -> None:
        """Bring the border's words up to date; it costs a repaint only when they changed."""
        titles = (self.title, self.subtitle())
        if titles != self._titles:
            self._titles = titles
            self.border_title, self.border_subtitle = (
                Content(plain(text) if ascii_only() else text) for text in titles
            )

    def subtitle(self) -> str:
        """The words in the lower border."""
        return ""

    # -- layout

    def _wrap(self, paragraphs: Iterable[Paragraph]) -> None:
        width = max(4, self.scrollable_content_region.width)
        self._wrapped_at = width
        for paragraph in paragraphs:
            self._starts.append(len(self._rows))
            indent = min(cell_len(paragraph.head), width // 2)
            room = width - indent
            tail = paragraph.tail
            lines = _wrapped(paragraph.text, room, tail)
            head, again = clip(paragraph.head, indent), clip(paragraph.again, indent) or " " * indent
            spans = _parted(paragraph.text, lines, paragraph.spans) if paragraph.spans else [()] * len(lines)
            for line, inside in zip(lines, spans, strict=True):
                self._rows.append((head, line, tail, paragraph.style, inside))
                head, tail = again, ""

    def _drop(self) -> int:
        """Drop the oldest tenth when there are too many; returns how many rows went."""
        if len(self.paragraphs) <= self.limit:
            return 0
        drop = len(self.paragraphs) - self.limit + self.limit // 10
        rows = self._starts[drop]
        del self.paragraphs[:drop], self._starts[:drop], self._rows[:rows]
        self._starts = [start - rows for start in self._starts]
        return rows

    def _changed(self, first_row: int, dropped: int) -> None:
        """Have the view repainted from a row on, and moved if it follows."""
        following = self._following
        self.virtual_size = Size(self._wrapped_at, len(self._rows))
        if following:
            self._to(self.max_scroll_y)
        elif dropped:
            self._to(max(0, self.scroll_offset.y - dropped))
        self._following = following
        if dropped or self.scroll_offset.y:
            self.refresh(self.size.region)
        elif (height := self.size.height - first_row) > 0:
            self.refresh(Region(0, first_row, self.size.width, height))
        self.show_titles()

    def on_resize(self, event: events.Resize) -> None:
        self._fit()

    def watch_show_vertical_scrollbar(self) -> None:
        """The bar takes a cell of each line, and its coming is no resize."""
        self._fit()

    def _fit(self) -> None:
        """Wrap for the width there is; the reader stays where they are."""
        following, top = self._following, self.scroll_offset.y
        if self.scrollable_content_region.width != self._wrapped_at:
            first = next((i for i in range(len(self._starts) - 1, -1, -1) if self._starts[i] <= top), 0)
            self._rows, self._starts = [], []
            self._wrap(self.paragraphs)
            self.virtual_size = Size(self._wrapped_at, len(self._rows))
            top = self._starts[first] if self._starts else 0
            self.refresh()
        self._to(self.max_scroll_y if following else top)
        self._following = following

    # -- moving

    def _to(self, row: float) -> None:
        self.scroll_to(y=row, animate=False, immediate=True, force=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.vertical_scrollbar.position = new_value  # also while it is about to be shown for the first time
        self._following = self.follow and new_value >= self.max_scroll_y
        self.show_titles()

    def action_move(self, rows: int) -> None:
        self._to(self.scroll_offset.y + rows)

    def action_move_page(self, pages: int) -> None:
        self._to(self.scroll_offset.y + pages * max(1, self.scrollable_content_region.height - 1))

    def action_move_first(self) -> None:
        self._to(0)

    def action_move_last(self) -> None:
        """Go to the end and follow it."""
        self._following = self.follow
        self._to(self.max_scroll_y)
        self.show_titles()

    def show_paragraph(self, index: int) -> None:
        """Scroll so that a paragraph is at the top, as far as there is text below it."""
        self._to(self._starts[index])

    # -- drawing

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        base = self.rich_style
        index = y + self.scroll_offset.y
        if not self._rows and self.empty:
            lines = wrap(self.empty, max(4, width - 2))
            text = f" {lines[y]}" if y < len(lines) else ""
            return Strip([Segment(text, self._style("muted", base))]).adjust_cell_length(width, base)
        if index >= len(self._rows):
            return Strip.blank(width, base)
        head, text, tail, style, spans = self._rows[index]
        if tail:
            tail = " " * max(1, width - cell_len(head) - cell_len(text) - cell_len(tail)) + tail
        segments = [
            Segment(head, self._style("muted", base)),
            *self._pieces(text, self._style(style, base), spans),
            Segment(tail, self._style("muted", base)),
        ]
        return Strip([part for part in segments if part.text]).adjust_cell_length(width, base)

    def _pieces(self, text: str, base: Style, spans: tuple[Span, ...]) -> Iterator[Segment]:
        """The text in its base style, its spans in theirs."""
        place = 0
        for start, end, name in spans:
            yield Segment(text[place:start], base)
            yield Segment(
                text[start:end], base + self.get_component_rich_style(f"pane--{name}", partial=True)
            )
            place = end
        yield Segment(text[place:], base)

    def _style(self, name: str, base: Style) -> Style:
        return self.get_component_rich_style(f"pane--{name}") if name else base


def _wrapped(text: str, width: int, tail: str) -> list[str]:
    """The text in lines; the first leaves room for the tail."""
    first = width - cell_len(tail) - 1 if tail else width
    if first == width or first < 8:
        return wrap(text, width)
    start = wrap(text, first)[0]
    rest = text[len(start) :]
    return [start, *wrap(rest[1:] if rest[:1] in (" ", "\n") else rest, width)] if rest else [start]


def _parted(text: str, lines: Sequence[str], spans: Sequence[Span]) -> list[tuple[Span, ...]]:
    """The spans of each line, counted from its beginning; wrapping drops a blank between two lines, no more."""
    found = []
    place = 0
    for line in lines:
        while not text.startswith(line, place):
            place += 1
        end = place + len(line)
        inside = [
            (max(start, place) - place, min(stop, end) - place, style)
            for start, stop, style in spans
            if start < end and stop > place
        ]
        found.append(tuple(inside))
        place = end
    return found
