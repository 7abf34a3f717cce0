"""The dialog with the chat's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input, Static

from core.serving.reply import MOST_STOPS
from tui.conversation import Settings, stops_in_words
from tui.widgets.dialogs import Dialog
from tui.widgets.field import Field

MAX_TOKENS = 4096

_Check = Callable[[float], bool]

FIELDS: tuple[tuple[str, str, type, _Check], ...] = (
    ("temperature", "temperature: 0 takes the likeliest token, more varies (0 to 2)", float, lambda x: 0 <= x <= 2),
    ("top_p", "top-p: only the likeliest tokens that add up to this (above 0, to 1)", float, lambda x: 0 < x <= 1),
    ("max_tokens", f"longest reply in tokens (1 to {MAX_TOKENS})", int, lambda x: 1 <= x <= MAX_TOKENS),
    ("seed", "seed: the same one gives the same reply (0 or more)", int, lambda x: 0 <= x < 2**63),
)  # fmt: skip


class ChatSettings(Dialog[Settings | None]):
    """Sampling settings and the system prompt; None when the user thinks better of it."""

    TITLE = "Settings of the chat"
    KEYS = "enter accept   tab next   esc cancel"
    BINDINGS = [
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]
    DEFAULT_CSS = "ChatSettings Static { height: auto; } ChatSettings Field { margin: 0; }"

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def compose_content(self) -> ComposeResult:
        for name, words, _, _ in FIELDS:
            yield Static(words, markup=False)
            value = getattr(self._settings, name)
            text = f"{value:g}" if isinstance(value, float) else str(value)
            yield Field(text, select_on_focus=True, id=f"set-{name.replace('_', '-')}")
        yield Static(f"stop strings, up to {MOST_STOPS}, apart by | (\\n is a line feed)", markup=False)
        yield Field(stops_in_words(self._settings.stop), id="set-stop")
        yield Static("system prompt, empty for none", markup=False)
        yield Field(self._settings.system.replace("\n", " "), id="set-system")
        yield Static("", id="wrong", classes="error", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        values: dict[str, Any] = {}
        for name, words, kind, fits in FIELDS:
            field = self.query_one(f"#set-{name.replace('_', '-')}", Field)
            try:
                values[name] = kind(field.value)
                if not fits(values[name]):
                    raise ValueError
            except ValueError:
                self.query_one("#wrong", Static).update(f"{field.value!r} won't do. {words}")
                field.focus()
                return
        stops = self.query_one("#set-stop", Field)
        if stops.value != stops_in_words(self._settings.stop):
            values["stop"] = stops_of(stops.value)
        if len(values.get("stop", ())) > MOST_STOPS:
            self.query_one("#wrong", Static).update(f"At most {MOST_STOPS} stop strings are taken.")
            stops.focus()
            return
        system = self.query_one("#set-system", Field).value
        if system != self._settings.system.replace("\n", " "):  # else its line feeds stay
            values["system"] = system.strip()
        self.dismiss(replace(self._settings, **values))


def stops_of(text: str) -> tuple[str, ...]:
    """The stop strings that are typed so; blanks around each don't count."""
    found, piece = [], ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            following = next(characters, "\\")
            piece += "\n" if following == "n" else following
        elif character == "|":
            found.append(piece.strip(" "))
            piece = ""
        else:
            piece += character
    return tuple(stop for stop in (*found, piece.strip(" ")) if stop)
