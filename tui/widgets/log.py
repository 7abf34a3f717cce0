"""A log that never moves its reader: it follows the end only while the end is in sight."""

from __future__ import annotations

from collections.abc import Iterable

from tui.format import count
from tui.widgets.textpane import Paragraph, TextPane


class LogView(TextPane):
    """Lines of a log; bounded memory.

    Attributes:
        total: lines ever added.
        unseen: lines added since the reader left the end.
    """

    def __init__(
        self, title: str = "Log", empty: str = "", limit: int = 10_000, id: str | None = None
    ) -> None:  # noqa: A002
        super().__init__(title, empty, limit, id=id)
        self.total = 0
        self.unseen = 0

    def append(self, paragraphs: Iterable[Paragraph]) -> None:
        new = list(paragraphs)
        self.total += len(new)
        if not self.following:
            self.unseen += len(new)
        super().append(new)

    def clear(self) -> None:
        self.total = self.unseen = 0
        super().clear()

    def subtitle(self) -> str:
        if self.following:
            self.unseen = 0
            return f"{count(self.total)} line{'' if self.total == 1 else 's'}" if self.total else ""
        if self.unseen:
            return f"▼ {count(self.unseen)} new line{'' if self.unseen == 1 else 's'}"
        return "f follow"
