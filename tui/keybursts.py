"""Keys that come in bursts: those pressed behind one that opens a field or a dialog are its text."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from textual import events
from textual.app import App
from textual.widget import Widget

from tui.widgets.footer import is_typing

_SETTLE_TRIES = 50
_TAKEN_S = 0.1
"""How long a key that a field takes for itself may hold up the next ones."""


class KeyBursts(App[None]):
    """An app that takes keys as fast as a connection sends them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._aimed_at: WeakKeyDictionary[events.Key, Widget | None] = WeakKeyDictionary()
        self._held: list[events.Key] = []
        self._acting: events.Key | None = None

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded:
            if self._held or self._acting is not None:
                self._held.append(event)
                return
            self._aim(event)
        await super().on_event(event)
        if not isinstance(event, events.Key):
            return
        if event.is_forwarded:
            await asyncio.sleep(0)  # lets the action's task begin, and open its dialog, before the next key
            if event is self._acting:
                self.call_after_refresh(self._acted, event)
        elif event is self._acting:  # a key of the app's own, which no field sees
            self._acted(event)

    async def _on_key(self, event: events.Key) -> None:
        """A key that nobody took.

        Connections send keys in bursts. One that was pressed behind a key that opens a field or a dialog is text
        for it: it waits until that has the focus, and no action is run.
        """
        if self._aimed_at.pop(event, None) is not self.focused and (self._opening or is_typing(self.screen)):
            event.prevent_default()  # of Textual's own handler, which looks for a binding
            self._held.append(events.Key(event.key, event.character))
            if len(self._held) == 1:
                self._release()

    def _aim(self, key: events.Key) -> None:
        """Note whom a key is sent to.

        In a text field a letter is written at once, but what a backspace does is found only after the key has gone
        up to the app: the next keys wait for it, or they would be written before.
        """
        self._aimed_at[key] = self.focused
        if is_typing(self.screen) and not key.is_printable:
            self._acting = key
            self.set_timer(_TAKEN_S, lambda: self._acted(key))

    def _acted(self, key: events.Key) -> None:
        """What a key does in a field is done, or the field has taken it for itself."""
        if key is self._acting:
            self._acting = None
            self._release()

    @property
    def _opening(self) -> bool:
        """A dialog is open that has not put the focus anywhere yet."""
        return self.screen.is_modal and self.focused is None

    def _release(self, tries: int = 0) -> None:
        """Give the keys that were held to what has the focus now, up to one that must be waited for."""
        if self._held and self._opening and tries < _SETTLE_TRIES:
            self.set_timer(0.01, lambda: self._release(tries + 1))
            return
        while self._held and self._acting is None:
            key = self._held.pop(0)
            self._aim(key)
            (self.focused or self.screen)._forward_event(key)
