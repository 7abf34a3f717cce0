"""Trashes that empty themselves: what has been in one for 30 days goes for good, and the user is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.screen import Screen

from core.errors import FinetuiError
from tui.format import size


def sweep(screen: Screen[Any], trash: Callable[[], dict[str, int]], kind: str) -> None:
    """Empty a trash of what is old; for a thread beside the app's own.

    Args:
        screen: where it is told.
        trash: empties it, and gives the bytes freed by the id of what went.
        kind: of what lies there, e.g. `run`.
    """
    tell = screen.app.call_from_thread
    try:
        freed = trash()
    except FinetuiError as error:  # no reason to stop anybody: the next look tries again
        tell(screen.notify, f"{error.what} {error.cause}", severity="warning")
        return
    if freed:
        things = f"{len(freed)} {kind}{'' if len(freed) == 1 else 's'}"
        tell(
            screen.notify, f"Gone from the trash after 30 days: {things}, {size(sum(freed.values()))} freed."
        )
