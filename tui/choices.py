"""Choices that more than one screen offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.app import App

from tui.format import short

OTHER = "other"


async def choose_model(app: App[Any], current: str) -> str | None:
    """A model of the catalogue, or any hub id or folder; None when the user thinks better of it."""
    import asyncio

    from tui.widgets.dialogs import Ask, Choose
    from tui.widgets.field import PathSuggester

    options = await asyncio.to_thread(_options)
    options.append((OTHER, "another ...", "a hub id (owner/name) or a folder"))
    chosen = await app.push_screen_wait(Choose("Model", options, current))
    if chosen != OTHER:
        return chosen
    note = "A hub id such as owner/name, or a folder on this machine."
    typed = await app.push_screen_wait(Ask("Model", current, "owner/name", note, PathSuggester()))
    return typed.strip() or None if typed else None


def _options() -> list[tuple[str, str, str]]:
    from core.catalog import entries
    from core.catalog.reference import cached, resolve

    return [
        (
            entry.id,
            entry.id,
            f"{short(entry.parameters)} parameters, {entry.licence}"
            + (", on this machine" if cached(resolve(entry.id, base_dir=Path.cwd())) else ""),
        )
        for entry in entries()
    ]
