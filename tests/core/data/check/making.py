"""Rows and files to check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

USER = {"role": "user", "content": "How are you?"}
ANSWER = {"role": "assistant", "content": "Fine, thanks."}
ENOUGH = 12


def chat(*contents: str) -> dict[str, Any]:
    """A conversation of user and assistant in turn."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]}


def clean(number: int) -> dict[str, Any]:
    """A row that nothing is wrong with; no two are alike."""
    return chat(f"What is {number} and {number}?", f"It is {2 * number}.")


def write(path: Path, *rows: object) -> Path:
    """Rows as JSON Lines; a text is a line as it is, a list is the turns of a row."""
    lines = []
    for row in rows:
        value = {"messages": row} if isinstance(row, list) else row
        lines.append(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_with(path: Path, *rows: object) -> Path:
    """A file of clean rows, enough of them, and then the rows given: the first is on line 13."""
    return write(path, *map(clean, range(ENOUGH)), *rows)
