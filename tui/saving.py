"""`w`: write what a screen shows to a file the user names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.app import FinetuiApp


async def ask_and_write(app: FinetuiApp, title: str, name: str, text: str) -> Path | None:
    """Ask for a name and write; asks again before replacing a file. None when nothing was written."""
    from core.errors import FinetuiError
    from core.paths import write_private
    from tui.widgets.dialogs import Ask, Confirm
    from tui.widgets.field import PathSuggester

    answer = await app.push_screen_wait(Ask(title, name, suggester=PathSuggester()))
    if not answer or not answer.strip():
        return None
    path = Path(answer.strip()).expanduser().absolute()
    if path.exists():
        question = Confirm(f"{path} exists.", "Its content is replaced.", "Replace it")
        if not await app.push_screen_wait(question):
            return None
    try:
        write_private(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        app.show_error(
            FinetuiError(f"{path} can't be written.", str(error.strerror), "Choose another name or folder.")
        )
        return None
    app.notify(f"written: {path}")
    return path
