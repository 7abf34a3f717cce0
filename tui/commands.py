"""The command palette: every action of the screen and of the app, with its key, from the registry."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.widgets import Input

from tui.actions import Action, actions_of


class ActionProvider(Provider):
    """Finds actions by their words; empty, it lists them all."""

    def _actions(self) -> Iterator[Action]:
        mode = getattr(self.screen, "MODE", "")
        for action in (*actions_of(mode), *actions_of("app")):
            owner = self.app if action.screen == "app" else self.screen
            if action.palette and owner.check_action(action.verb, ()):
                yield action

    def _run(self, action: Action) -> Any:
        owner = self.app if action.screen == "app" else self.screen
        return partial(self.app.run_action, action.verb, owner)

    async def discover(self) -> Hits:
        for action in self._actions():
            yield DiscoveryHit(title(action), self._run(action), title(action), action.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for action in self._actions():
            score = max(matcher.match(title(action)), matcher.match(action.help) * 0.8)
            if score > 0:
                yield Hit(
                    score, matcher.highlight(title(action)), self._run(action), title(action), action.help
                )


def title(action: Action) -> str:
    """How the palette names an action: its label and its key."""
    return f"{action.label}  ({action.key})"


class Palette(CommandPalette):
    """Textual's palette over the registry, with a cursor that stands still (it would send bytes while idle)."""

    DEFAULT_CSS = "Palette SearchIcon { display: none; }"

    def __init__(self) -> None:
        super().__init__([ActionProvider], placeholder="Type a command; esc closes")

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False
