"""The one line at the top: the five modes, and at the right what the screen is about."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.reactive import reactive
from textual.widget import Widget

from tui.actions import actions_of
from tui.format import clip, one_line


class Header(Widget):
    """` finetui  [1 Data]  2 Train ...` and a context at the right.

    Args:
        mode: the mode of its screen; shown in brackets, so that it needs no colour.
    """

    COMPONENT_CLASSES = {"header--name", "header--current", "header--context"}
    DEFAULT_CSS = """
    Header {
        dock: top;
        height: 1;
        background: $panel;
        color: $foreground;
    }
    Header .header--name { text-style: bold; color: $primary; }
    Header .header--current { text-style: bold reverse; }
    Header .header--context { color: $foreground-muted; }
    """

    context: reactive[str] = reactive("")

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self._spans: list[tuple[int, int, str]] = []

    def render(self) -> Text:
        line = Text(no_wrap=True, end="")
        line.append(" finetui ", self.get_component_rich_style("header--name", partial=True))
        gap = "" if self.size.width < 100 else "  "
        self._spans = []
        for action in list(actions_of("app"))[:5]:
            current = action.verb == self.mode
            style = self.get_component_rich_style("header--current", partial=True) if current else ""
            label = f"{action.key} {action.label}"
            line.append(gap)
            start = line.cell_len
            line.append(f"[{label}]" if current else f" {label} ", style)
            self._spans.append((start, line.cell_len, action.verb))
        room = self.size.width - line.cell_len - 3
        if self.context and room > 3:
            context = clip(one_line(self.context), room)
            line.append(" " * (room - cell_len(context) + 2))
            line.append(context, self.get_component_rich_style("header--context", partial=True))
        return line

    async def on_click(self, event: events.Click) -> None:
        for start, end, verb in self._spans:
            if start <= event.x < end:
                await self.app.run_action(verb, self.app)
