"""What the chat shows: two panes of turns, a line of what goes on, a field for the message, the settings."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from textual import events, on
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from core.errors import FinetuiError
from core.serving.chats import Tally
from core.serving.talk import SIDES, Talk, Turn
from tui.conversation import PLACES, Settings, View, names_of
from tui.format import one_line
from tui.screens.base import ModeScreen
from tui.widgets.field import Field
from tui.widgets.problem import Problem
from tui.widgets.signin import SignIn
from tui.widgets.textpane import Paragraph, TextPane

if TYPE_CHECKING:
    from core.serving.targets import Side

DRAW_S, SSH_DRAW_S = 0.1, 0.25
"""A reply that is being written is drawn at most this often."""

CODE_KEYS = "esc, then y copies it and s gives up"
HELLO = "Type a message: i or enter."
HELLO_IN_FIELD = "Type a message below; enter sends it."
HELLO_BOTH = " Both sides get the same words; {} to the other side."


class ChatView(ModeScreen):
    """The chat without its models and keys.

    Attributes:
        sides: who is talked to, by `A` and `B`; B may be missing.
        talk: the turns.
        settings: of the next replies.
        beside: B answers too.
        blind: in a vote, who is left and who is right is hidden until it is cast.
        raw: replies are shown as they were written.
        marked: the number of the turn that keys act on, 0 for the last one.
        tally: votes between the two sides so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sides: dict[str, Side] = {}
        self.talk = Talk()
        self.settings = Settings()
        self.beside = True
        self.blind = False
        self.raw = False
        self.busy = False
        self.marked = 0
        self.tally = Tally()
        self.panes = {place: TextPane(place, HELLO, id=place) for place in PLACES}
        self.problem = Problem(id="problem")
        self.sign_in = SignIn(id="sign-in")
        self.state_line = Static("", id="state", markup=False)
        self.message = Field(placeholder="enter sends, esc leaves the field", id="message")
        self.message_box = Vertical(id="message-box")
        self.settings_line = Static("", id="settings", markup=False)
        self._starts: dict[str, list[int]] = {place: [] for place in PLACES}
        self._drawn = 0.0
        self._drawing_later = False
        self._said = ""

    @property
    def answering(self) -> tuple[str, ...]:
        """The sides that answer."""
        return tuple(side for side in SIDES if side in self.sides and (side == "A" or self.beside))

    @property
    def turn(self) -> Turn | None:
        """The turn that keys act on: the marked one, else the last."""
        path = self.talk.path()
        return next((turn for turn in path if turn.number == self.marked), path[-1] if path else None)

    @property
    def place(self) -> str:
        """The pane that has the focus, or the one that is shown where only one fits."""
        if self.focused is self.panes["right"]:
            return "right"
        return "right" if self.has_class("-right") and self.focused is not self.panes["left"] else "left"

    @property
    def titles(self) -> dict[str, str]:
        """What the sides are called."""
        return {side: one_line(found.title) for side, found in self.sides.items()}

    # -- words around the panes

    def say(self, text: str) -> None:
        """What is going on, in the line over the message; without anything, what can be done."""
        turn = self.turn
        if not text and turn is not None and turn.hidden and turn.answered and self.blind:
            text = "Which is better?  h the left one, l the right one, = neither"
        if text != self._said:
            self._said = text
            self.state_line.update(Content(text))

    def show_problem(self, error: FinetuiError) -> None:
        """An error in place; the screen lives on."""
        self.set_class(True, "-talking")
        self.problem.show_error(error)

    def show_code(self, address: str, code: str) -> None:
        """A code that has to be typed before an endpoint in Azure can be talked to; an empty one: none."""
        self.sign_in.show(address, code, CODE_KEYS)
        self.refresh_bindings()

    def show_settings(self) -> None:
        """The settings, and what is to be known of the models."""
        words = f"{self.settings.words()}   (o changes)"
        notes = {one_line(side.note): None for side in self.sides.values() if side.note}
        self.settings_line.update(Content("   ".join([*self._azure_note(), words, *notes])))

    def _azure_note(self) -> list[str]:
        """What must be said where a side is in Azure, first: the line may be cut."""
        from core.azure.account import note

        kinds = (getattr(side, "kind", "") for side in self.sides.values())
        return [f"! {one_line(note())}"] if note() and "azure" in kinds else []

    def show_context(self) -> None:
        """Who is talked to, and how the votes stand."""
        title = self.titles.get("A", "")
        tally = self.tally
        if tally != Tally():
            ties = f"{tally.ties} tie{'' if tally.ties == 1 else 's'}"
            title = f"A {tally.a}, B {tally.b}, {ties}: {title}"
        self.context = title

    # -- drawing

    def show_soon(self, turn: Turn, side: str) -> None:
        """Show a turn that grows, not more often than is worth it."""
        pause = SSH_DRAW_S if os.environ.get("SSH_CONNECTION") else DRAW_S
        wait = self._drawn + pause - time.monotonic()
        if wait <= 0:
            self.show_turn(turn, side)
        elif not self._drawing_later:
            self._drawing_later = True
            self.set_timer(wait, lambda: self.show_turn(turn, side))

    def show_turn(self, turn: Turn, side: str) -> None:
        """Show what one side has said in a turn, and what is after it."""
        path = self.talk.path()
        if turn in path:
            self._show_place(self.place_of(turn, side), path.index(turn))

    def place_of(self, turn: Turn, side: str) -> str:
        """Where a turn shows a side."""
        return next(place for place in PLACES if turn.shown(place) == side)

    def _show_place(self, place: str, start: int = 0) -> None:
        self._drawn = time.monotonic()
        self._drawing_later = False
        pane, starts = self.panes[place], self._starts[place]
        first = starts[start] if start < len(starts) else len(pane.paragraphs)
        del starts[start:]
        billed = frozenset(side for side, found in self.sides.items() if found.billed)
        view = View(names_of(self.titles), billed, self.marked, self.raw)
        shown: list[Paragraph] = []
        for turn in self.talk.path()[start:]:
            starts.append(first + len(shown))
            shown += view.turn(self.talk, turn, place)
        side = SIDES[PLACES.index(place)]
        pane.title = f"{place}, hidden" if self.blind else view.names[side]
        pane.replace_from(first, shown)
        pane.show_titles()

    def show_all(self, start: int = 0) -> None:
        """Show all from a turn of the path on."""
        for place in PLACES:
            self._show_place(place, start)
        self.set_class(self._alone, "-alone")
        self.greet()
        self.show_settings()
        self.show_context()
        self.say("")
        self.refresh_bindings()

    @property
    def _alone(self) -> bool:
        return not self.beside or "B" not in self.sides

    @on(events.DescendantFocus, "#message")
    @on(events.DescendantBlur, "#message")
    def greet(self) -> None:
        """Say in empty panes how a message is typed from where the focus is."""
        inside = self.message.has_focus
        hello = HELLO_IN_FIELD if inside else HELLO
        if not self._alone:
            hello += HELLO_BOTH.format("esc and tab go" if inside else "tab goes")
        for pane in self.panes.values():
            pane.empty = hello
            pane.refresh()

    def scroll_to_turn(self) -> None:
        """Bring the turn that keys act on into sight."""
        path, turn = self.talk.path(), self.turn
        if turn is not None:
            for place in PLACES:
                self.panes[place].show_paragraph(self._starts[place][path.index(turn)])
