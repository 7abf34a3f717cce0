"""The question for the file that saved rows are appended to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.app import App

from tui.widgets.dialogs import Ask
from tui.widgets.field import PathSuggester


async def ask_rows_file(app: App[Any], usual: Path) -> Path | None:
    """The file that the user names, absolute and with a suffix; None when the question is left.

    Args:
        app: the running one.
        usual: offered first.
    """
    answer = await app.push_screen_wait(
        Ask(
            "Append training rows to which file?",
            str(usual),
            "rows.jsonl",
            'One JSON object a line: {"messages": [...]}. It is made if it is not there.',
            PathSuggester(),
        )
    )
    if not answer or not answer.strip():
        return None
    path = Path(answer.strip()).expanduser().absolute()
    return path if path.suffix else path.with_suffix(".jsonl")
