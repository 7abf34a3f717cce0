"""What the five mode screens share: header, footer, and `esc`.

A screen is a `ModeScreen` named after its mode (`RunsScreen` in `tui/screens/runs.py`) with `MODE`, `HELP`,
`HOME`, `BINDINGS = bindings("runs")` and `compose_body`. It implements `action_<verb>` for each action of the
registry and overrides `check_action` for those that can't apply now; call `refresh_bindings()` when that
changes. The app calls `show_run(run_id)` on the monitor, `talk_to(run_id)` on the chat, `use_data(source)`,
`edit(recipe)` and `open_recipe_file(path)` on Train, `open_path(path)` on Data, each once it is mounted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget

from tui.widgets.footer import Footer, is_typing
from tui.widgets.header import Header

if TYPE_CHECKING:
    from tui.app import FinetuiApp


class ModeScreen(Screen[None]):
    """One of the five modes."""

    MODE: ClassVar[str] = ""
    HELP: ClassVar[str] = ""
    """What the screen is for, in a sentence or two; `?` shows it."""
    HOME: ClassVar[str] = ""
    """Selector of the widget that has the focus when no text field has."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back", show=False)]

    context: reactive[str] = reactive("")
    """What the header says at its right."""

    def __init__(self) -> None:
        super().__init__()
        self.AUTO_FOCUS = self.HOME or None  # type: ignore[misc]

    @property
    def finetui(self) -> FinetuiApp:
        """The app, by its own type."""
        return self.app  # type: ignore[return-value]

    def compose(self) -> ComposeResult:
        yield Header(self.MODE)
        yield from self.compose_body()
        yield Footer(self.MODE)

    def compose_body(self) -> Iterable[Widget]:
        """The widgets between header and footer."""
        raise NotImplementedError

    def watch_context(self, context: str) -> None:
        if self.is_mounted:
            self.query_one(Header).context = context

    def on_mount(self) -> None:
        self.query_one(Header).context = self.context

    @property
    def typing(self) -> bool:
        """Whether letters go into a text field."""
        return is_typing(self)

    def go_home(self) -> None:
        """Give the focus to the screen's main widget, where plain keys act."""
        home = self.query(self.HOME).first() if self.HOME and self.query(self.HOME) else None
        self.set_focus(home)

    def action_back(self) -> None:
        """`esc`: leave a text field, else close what is open over the screen."""
        if self.typing:
            self.go_home()
        else:
            self.close_overlay()

    def close_overlay(self) -> None:
        """Close what `esc` closes; screens with overlays override it."""
        self.go_home()
