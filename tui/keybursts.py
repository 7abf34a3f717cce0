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


class KeyBursts(App[None]):
    """An app that takes keys as fast as a connection sends them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._aimed_at: WeakKeyDictionary[events.Key, Widget | None] = WeakKeyDictionary()
        self._held: list[events.Key] = []

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded:
            if self._held:
                self._held.append(event)
                return
            self._aimed_at[event] = self.focused
        await super().on_event(event)
        if isinstance(event, events.Key) and event.is_forwarded:
            await asyncio.sleep(0)  # lets the action's task begin, and open its dialog, before the next key

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

    @property
    def _opening(self) -> bool:
        """A dialog is open that has not put the focus anywhere yet."""
        return self.screen.is_modal and self.focused is None

    def _release(self, tries: int = 0) -> None:
        """Give the keys that were held to what has the focus now."""
        if self._opening and tries < _SETTLE_TRIES:
            self.set_timer(0.01, lambda: self._release(tries + 1))
            return
        held, self._held = self._held, []
        for key in held:
            self._aimed_at[key] = self.focused
            (self.focused or self.screen)._forward_event(key)
