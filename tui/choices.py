"""Choices that more than one screen offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.app import App

from core.columns import PARTS, parse_columns
from tui.format import short

OTHER = "other"
OWN = "own"


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


async def choose_task(app: App[Any], current: str) -> str | None:
    """A task, empty for what each row's shape is for; None when the user thinks better of it."""
    from core.data.tasks import TASKS, WANTS
    from tui.widgets.dialogs import Choose

    options = [("", "by its shape", "each row as its own kind is trained on")]
    options += [(task, task, WANTS[task]) for task in TASKS]
    return await app.push_screen_wait(Choose("Task", options, current))


async def choose_template(app: App[Any], current: str) -> tuple[str, str] | None:
    """(name, text) of a chat template: of a model on this machine or in a file; empty text for the model's own."""
    import asyncio

    from core.errors import FinetuiError
    from tui.widgets.dialogs import Ask, Choose
    from tui.widgets.field import PathSuggester

    templates = await asyncio.to_thread(_templates)
    options = [(OWN, "the model's own", "")]
    options += [(name, name, "on this machine") for name in templates]
    options.append((OTHER, "a file ...", "a Jinja template"))
    chosen = await app.push_screen_wait(Choose("Chat template", options, current or OWN))
    if chosen is None or chosen == OWN:
        return None if chosen is None else ("", "")
    if chosen != OTHER:
        return chosen, templates[chosen]
    typed = await app.push_screen_wait(Ask("Template file", "", "template.jinja", "", PathSuggester()))
    if not typed or not typed.strip():
        return None
    path = Path(typed.strip()).expanduser()
    try:
        return path.name, path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise FinetuiError(f"{path} can't be read.", str(error), "Choose a text file.") from error


def _templates() -> dict[str, str]:
    """The templates of the models on this machine, by model."""
    from core.catalog import entries
    from core.catalog.reference import cached, resolve

    found: dict[str, str] = {}
    for entry in entries():
        folder = cached(resolve(entry.id, base_dir=Path.cwd()))
        path = folder / "chat_template.jinja" if folder else None
        if path and path.is_file():
            found[entry.id] = path.read_text("utf-8")
    return found


async def ask_columns(app: App[Any], current: dict[str, str], keys: list[str]) -> dict[str, str] | None:
    """Which key of a row holds which part; empty for the usual names, None when the user thinks better of it.

    Raises:
        FinetuiError: it can't be read, or names what there is not.
    """
    from tui.widgets.dialogs import Ask

    value = ", ".join(f"{part}: {name}" for part, name in current.items())
    note = f"This file has: {', '.join(keys)}. Parts are: {', '.join(PARTS)}. Empty: the usual names."
    typed = await app.push_screen_wait(
        Ask("Which column is what?", value, "prompt: question, completion: answer", note)
    )
    return None if typed is None else parse_columns(typed)
