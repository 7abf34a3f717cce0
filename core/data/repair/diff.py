"""A change as people read it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from core.data.repair.run import Change


def diff_lines(change: Change) -> Iterator[str]:
    """A change of a row as a unified diff of its indented JSON; of a row that is none of its text."""
    before = change.raw if change.before is None else _pretty(change.before)
    after = "" if change.after is None else _pretty(change.after)
    name = f"row {change.row} (line {change.line})"
    told = f"{name}, dropped" if change.after is None else f"{name}, repaired"
    yield from difflib.unified_diff(before.splitlines(), after.splitlines(), name, told, lineterm="", n=2)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
