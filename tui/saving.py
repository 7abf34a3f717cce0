"""`w`: write what a screen shows to a file the user names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import App

if TYPE_CHECKING:
    from tui.app import FinetuiApp


async def ask_new_file(app: App[Any], title: str, name: str) -> tuple[Path, bool] | None:
    """(the file to write, whether it replaces one); None when the user thinks better of it."""
    from tui.widgets.dialogs import Ask, Confirm
    from tui.widgets.field import PathSuggester

    answer = await app.push_screen_wait(Ask(title, name, suggester=PathSuggester()))
    if not answer or not answer.strip():
        return None
    path = Path(answer.strip()).expanduser().absolute()
    there = path.exists()
    if there:
        question = Confirm(f"{path} exists.", "Its content is replaced.", "Replace it")
        if not await app.push_screen_wait(question):
            return None
    return path, there


async def ask_and_write(app: FinetuiApp, title: str, name: str, text: str) -> Path | None:
    """Ask for a name and write; asks again before replacing a file. None when nothing was written."""
    from core.errors import FinetuiError
    from core.paths import write_private

    target = await ask_new_file(app, title, name)
    if target is None:
        return None
    path, _ = target
    try:
        write_private(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        app.show_error(
            FinetuiError(f"{path} can't be written.", str(error.strerror), "Choose another name or folder.")
        )
        return None
    app.notify(f"written: {path}")
    return path
