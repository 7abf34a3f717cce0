"""Replies laid out as the Markdown they are mostly written in: headings, lists, quotes, code. No widgets.

The text is a model's, so it is data: control characters are shown, HTML stays text, a link is words and nothing that
could be followed; where it leads is said behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from rich.cells import cell_len

from tui.format import ascii_only, visible
from tui.widgets.textpane import Paragraph, Span

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

MOST_CHARACTERS = 16_000
"""Longer replies are shown as they are: reading hostile ones takes time that grows with their square."""

WIDEST_CELL = 30
_STYLES = {"strong": "strong", "em": "emphasis", "s": "struck", "link": "link"}


def paragraphs(text: str, indent: str = "") -> list[Paragraph]:
    """The text laid out; each line feed of its own breaks a line, as in a chat.

    Args:
        text: of a model.
        indent: before every line.
    """
    if len(text) > MOST_CHARACTERS:
        return as_it_is(text, indent)
    page = _Page(indent)
    for token in _parser().parse(visible(text, lines=True)):
        page.add(token)
    return page.shown


def as_it_is(text: str, indent: str = "") -> list[Paragraph]:
    """The text as it was written."""
    return [Paragraph(visible(text, lines=True).rstrip(), head=indent)]


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False})
    return parser.enable(["strikethrough", "table"]).disable("entity")  # what is written so is shown so


@dataclass
class _Page:
    """What is shown so far, and what the next lines stand in.

    Attributes:
        indent: before every line.
        inside: what each quote or list item puts before its lines.
        bullet: of the item that has just begun.
        counts: of the lists that are open: the next number, or None for bullets.
        table: rows of the one that is open, each its cells.
    """

    indent: str
    shown: list[Paragraph] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    bullet: str = ""
    counts: list[int | None] = field(default_factory=list)
    table: list[list[tuple[str, tuple[Span, ...]]]] | None = None
    _heading: bool = False

    def add(self, token: Token) -> None:
        """One token of the block structure."""
        if token.level == 0 and token.nesting >= 0 and token.type != "inline" and self.shown:
            self.shown.append(Paragraph(""))
        match token.type:
            case "inline":
                self._text(*_inline(token))
            case "heading_open" | "heading_close":
                self._heading = token.nesting > 0
            case "blockquote_open":
                self.inside.append("| " if ascii_only() else "│ ")
            case "bullet_list_open":
                self.counts.append(None)
            case "ordered_list_open":
                self.counts.append(int(token.attrGet("start") or 1))
            case "bullet_list_close" | "ordered_list_close":
                self.counts.pop()
            case "list_item_open":
                self._item()
            case "list_item_close":
                if self.bullet:  # an empty one
                    self._text("", ())
                self.inside.pop()
            case "blockquote_close":
                self.inside.pop()
            case "fence" | "code_block":
                self._code(visible(token.content, lines=True))
            case "hr":
                self._text("-" * 8 if ascii_only() else "─" * 8, (), "muted")
            case "table_open":
                self.table = []
            case "tr_open" if self.table is not None:
                self.table.append([])
            case "table_close":
                self._table()

    def _item(self) -> None:
        count = self.counts[-1]
        if count is None:
            self.bullet = "- " if ascii_only() else "• "
        else:
            self.bullet = f"{count}. "
            self.counts[-1] = count + 1
        self.inside.append(" " * len(self.bullet))

    def _heads(self) -> tuple[str, str]:
        """What comes before the next paragraph's first line and before its others."""
        again = self.indent + "".join(self.inside)
        if not self.bullet:
            return again, again
        first = again[: len(again) - len(self.bullet)] + self.bullet
        self.bullet = ""
        return first, again

    def _text(self, text: str, spans: tuple[Span, ...], style: str = "") -> None:
        if self.table:
            self.table[-1].append((text, spans))
            return
        head, again = self._heads()
        self.shown.append(
            Paragraph(text, "strong" if self._heading else style, head, spans=spans, again=again)
        )

    def _code(self, text: str) -> None:
        for line in text.removesuffix("\n").split("\n"):
            head, again = self._heads()
            self.shown.append(Paragraph(line, "code", head + "  ", again=again + "  "))

    def _table(self) -> None:
        """Cells under each other; the first row is a heading."""
        rows, self.table = self.table or [], None
        columns = max(map(len, rows), default=0)
        widths = [
            min(WIDEST_CELL, max((cell_len(row[at][0]) for row in rows if at < len(row)), default=0))
            for at in range(columns)
        ]
        between = " | " if ascii_only() else " │ "
        for number, row in enumerate(rows):
            line, spans = "", []
            for (text, inside), width in zip(row, widths, strict=False):
                line += between if line else ""
                spans += [(len(line) + start, len(line) + end, style) for start, end, style in inside]
                line += text + " " * (width - cell_len(text))
            self._text(line.rstrip(), tuple(spans), "" if number else "strong")


def _inline(token: Token) -> tuple[str, tuple[Span, ...]]:
    """The words of a block, and which of them look otherwise."""
    text, spans = "", []
    open_styles: list[str] = []
    link: tuple[int, str] = (0, "")
    for part in token.children or ():
        style = open_styles[-1] if open_styles else ""
        piece = ""
        if part.type in ("softbreak", "hardbreak"):
            piece = "\n"
        elif part.type == "image":
            piece = f"[image: {visible(part.content)}] ({visible(str(part.attrGet('src')))})"
        elif part.type == "code_inline":
            piece, style = visible(part.content), "code"
        elif part.type.endswith("_open"):
            open_styles.append(_STYLES.get(part.type.removesuffix("_open"), ""))
            if part.type == "link_open":
                link = len(text), visible(str(part.attrGet("href")))
        elif part.type.endswith("_close"):
            open_styles.pop()
            if part.type == "link_close" and link[1] != text[link[0] :]:
                piece, style = f" ({link[1]})", "muted"
        else:
            piece = visible(part.content)
        if piece and style:
            spans.append((len(text), len(text) + len(piece), style))
        text += piece
    return text, tuple(spans)
