"""The lines at the top of every Azure page: the pages, whose Azure it is, and what is being done."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual.widget import Widget

from tui.actions import AZURE_PAGES
from tui.format import ascii_only, clip, one_line, plain


class AzureBar(Widget):
    """Pages and account; a third line while something is being done.

    Args:
        page: the MODE of its screen.
    """

    COMPONENT_CLASSES = {"bar--name", "bar--current", "bar--note", "bar--muted", "bar--task"}
    DEFAULT_CSS = """
    AzureBar { height: 3; width: 1fr; background: transparent; }
    AzureBar.-busy { height: 4; }
    AzureBar .bar--name { text-style: bold; }
    AzureBar .bar--current { text-style: bold reverse; }
    AzureBar .bar--note { text-style: bold reverse; color: $text-warning; }
    AzureBar .bar--muted { color: $foreground 75%; }
    AzureBar .bar--task { color: $text-accent; text-style: bold; }
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self.note = ""
        self._account = ("", "")
        self._doing = ""

    def show(self, account: tuple[str, str], note: str, task: str) -> None:
        """Say it; words without a task hide its line."""
        if (account, note, task) != (self._account, self.note, self._doing):
            self._account, self.note, self._doing = account, note, task
            self.set_class(bool(task), "-busy")
            self.refresh()

    def render(self) -> Text:
        width = self.size.width
        text = self._pages(width)
        muted = self.get_component_rich_style("bar--muted", partial=True)
        for line in self._account:
            text.append(f"\n {clip(_plain(line), width - 2)}", muted)
        if self._doing:
            sign = ">" if ascii_only() else "◔"
            style = self.get_component_rich_style("bar--task", partial=True)
            text.append(f"\n {clip(f'{sign} {_plain(one_line(self._doing))}', width - 2)}", style)
        return text

    def _pages(self, width: int) -> Text:
        line = Text(no_wrap=True, end="")
        line.append(" Azure ", self.get_component_rich_style("bar--name", partial=True))
        current = self.get_component_rich_style("bar--current", partial=True)
        for mode, title in AZURE_PAGES.items():
            line.append(
                f"[{title}]" if mode == self.page else f" {title} ", current if mode == self.page else ""
            )
        if self.note:
            note = clip(f" ! {_plain(one_line(self.note))} ", max(6, width - line.cell_len - 2))
            line.append(" " * (width - line.cell_len - cell_len(note) - 1))
            line.append(note, self.get_component_rich_style("bar--note", partial=True))
        return line


def _plain(text: str) -> str:
    return plain(text) if ascii_only() else text
