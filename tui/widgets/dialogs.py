"""Small windows over a screen: a question, a text, a choice, an error. `esc` always closes one.

Used as `answer = await app.push_screen_wait(Confirm(...))` inside a `@work` method.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from core.errors import FinetuiError
from tui.format import visible
from tui.widgets.field import Field

Answer = TypeVar("Answer")


class Scroll(VerticalScroll, can_focus=True):
    """Text that may be longer than its window, moved by vim keys and arrows alike."""

    BINDINGS = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("ctrl+d", "page_down", show=False),
        Binding("ctrl+u", "page_up", show=False),
        Binding("g", "scroll_home", show=False),
        Binding("G", "scroll_end", show=False),
    ]
    DEFAULT_CSS = "Scroll { height: auto; max-height: 1fr; }"


class Dialog(ModalScreen[Answer]):
    """A framed window in the middle of the screen."""

    TITLE: ClassVar[str] = ""
    KEYS: ClassVar[str] = "esc close"
    BINDINGS = [Binding("escape", "cancel", "Close", show=False)]
    DEFAULT_CSS = """
    Dialog { align: center middle; background: $background 60%; }
    Dialog #dialog {
        width: 72;
        max-width: 96%;
        height: auto;
        max-height: 90%;
        padding: 1 2 0 2;
        border: heavy $primary;
        border-title-color: $foreground;
        border-title-style: bold;
        border-subtitle-color: $foreground-muted;
        background: $surface;
    }
    Dialog.-large #dialog { width: 100; }
    Dialog #buttons { height: 1; margin: 1 0 1 0; }
    Dialog Button { height: 1; min-width: 12; margin-right: 2; border: none; background: $panel; color: $foreground; }
    Dialog Button:focus { background: $primary; color: $background; text-style: bold reverse; }
    Dialog OptionList, Dialog OptionList:focus {
        height: auto; max-height: 16; border: none; background: $surface; padding: 0;
        text-wrap: nowrap; text-overflow: ellipsis;
    }
    Dialog Field { margin: 0 0 1 0; }
    Dialog .next { margin: 1 0 0 0; }
    Dialog .error { color: $text-error; }
    """

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as window:
            window.border_title = Content(visible(self.heading))
            window.border_subtitle = Content(self.KEYS)
            yield from self.compose_content()

    @property
    def heading(self) -> str:
        return self.TITLE or ""

    def compose_content(self) -> ComposeResult:
        """What is inside the frame."""
        raise NotImplementedError

    def on_field_passed(self) -> None:
        self.focus_next()

    def action_cancel(self) -> None:
        self.dismiss(None)


class Confirm(Dialog[bool]):
    """A question whose safe answer has the focus.

    Args:
        question: what is asked.
        loses: what is lost or what it costs, in a sentence.
        yes_label: the dangerous answer by name, e.g. "Delete".
    """

    TITLE = "Sure?"
    KEYS = "y yes   n no   esc no"
    AUTO_FOCUS = "#no"
    BINDINGS = [
        Binding("y", "answer(True)", show=False),
        Binding("n", "answer(False)", show=False),
        Binding("left,right,h,l,j,k,up,down", "app.focus_next", show=False),
    ]

    def __init__(self, question: str, loses: str = "", yes_label: str = "Yes") -> None:
        super().__init__()
        self._question = question
        self._loses = loses
        self._yes = yes_label

    def compose_content(self) -> ComposeResult:
        yield Static(visible(self._question, lines=True), markup=False)
        if self._loses:
            yield Static(visible(self._loses, lines=True), markup=False, classes="next")
        with Horizontal(id="buttons"):
            yield Button("No", id="no", compact=True)
            yield Button(Content(self._yes), id="yes", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def action_cancel(self) -> None:
        self.dismiss(False)


class Ask(Dialog[str | None]):
    """A text is asked for; None when the user thinks better of it.

    Args:
        title: what is asked.
        value: what the field starts with, selected.
        placeholder: an example, shown while the field is empty.
        note: a sentence under the field.
        suggester: completes what is typed.
    """

    KEYS = "enter accept   tab complete   esc cancel"

    def __init__(
        self,
        title: str,
        value: str = "",
        placeholder: str = "",
        note: str = "",
        suggester: Suggester | None = None,
    ) -> None:
        super().__init__()
        self._heading = title
        # what is typed takes the place of the value given; a cursor key first keeps it
        self._field = Field(value, placeholder=placeholder, suggester=suggester, select_on_focus=True)
        self._note = note

    @property
    def heading(self) -> str:
        return self._heading

    def compose_content(self) -> ComposeResult:
        yield self._field
        if self._note:
            yield Static(visible(self._note, lines=True), markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


class Choices(OptionList):
    """An option list moved by vim keys too."""

    BINDINGS = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("ctrl+d", "page_down", show=False),
        Binding("ctrl+u", "page_up", show=False),
        Binding("g", "first", show=False),
        Binding("G", "last", show=False),
    ]


class Choose(Dialog[str | None]):
    """One of several; None when the user thinks better of it.

    Args:
        title: what is chosen.
        options: (id, label, detail) of each.
        current: the id the cursor starts on.
    """

    KEYS = "enter choose   esc cancel"

    def __init__(self, title: str, options: Sequence[tuple[str, str, str]], current: str = "") -> None:
        super().__init__()
        self._heading = title
        self._choices = list(options)
        self._current = current

    @property
    def heading(self) -> str:
        return self._heading

    def compose_content(self) -> ComposeResult:
        width = max((len(label) for _, label, _ in self._choices), default=0) + 2
        yield Choices(
            *(Option(_option_text(label, detail, width), id=name) for name, label, detail in self._choices),
            markup=False,
        )

    def on_mount(self) -> None:
        names = [name for name, _, _ in self._choices]
        if names:
            start = names.index(self._current) if self._current in names else 0
            self.query_one(Choices).highlighted = start

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)


def _option_text(label: str, detail: str, width: int) -> Text:
    text = Text(visible(label), no_wrap=True, overflow="ellipsis")
    if detail:
        text.append(" " * max(1, width - text.cell_len) + visible(detail), "dim")
    return text


class ErrorDialog(Dialog[None]):
    """What went wrong, why, and what to do next.

    Args:
        error: the error in its three parts.
    """

    TITLE = "✗ That did not work"
    KEYS = "esc or enter close   y copy"
    BINDINGS = [
        Binding("enter,q", "cancel", show=False),
        Binding("y", "copy", show=False),
    ]

    def __init__(self, error: FinetuiError) -> None:
        super().__init__()
        self.error = error

    def compose_content(self) -> ComposeResult:
        with Scroll():
            yield Static(visible(self.error.what, lines=True), markup=False, classes="error")
            if self.error.cause:
                yield Static(_part("Cause", self.error.cause), classes="next")
            if self.error.next_step:
                yield Static(_part("Next", self.error.next_step), classes="next")
            yield Static("")

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(str(self.error))
        self.app.notify("copied (OSC 52; in tmux needs `set -g set-clipboard on`)", markup=False)


def _part(name: str, sentence: str) -> Text:
    return Text.assemble((f"{name}: ", "bold"), visible(sentence, lines=True))
