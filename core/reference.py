"""The README's tables, made from the code's own: the recipe's keys, the problems of data.

python -P -m core.reference README.md
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from core.data.codes import CODES
from core.recipe import fields


def recipe_keys() -> str:
    """One row for each key: what it may be, what it is when left out, and what it does."""
    rows = []
    for item in fields():
        meaning = item.help + (f" Usual: {item.usual}." if item.usual else "")
        unset = "required" if item.required else item.default_text
        rows.append((f"`{item.name}`", item.expected, unset, meaning))
    return _table(("key", "may be", "left out", "meaning"), rows)


def problem_codes() -> str:
    """One row for each kind of problem: how bad, which tier finds it, what repairs it."""
    rows = [
        (f"`{item.code}`", item.severity, item.tier, f"`{item.repair}`" if item.repair else "", item.meaning)
        for item in CODES.values()
    ]
    return _table(("code", "", "tier", "repair", "meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


TABLES: dict[str, Callable[[], str]] = {"recipe reference": recipe_keys, "problem codes": problem_codes}
"""What is put between `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""


def put_into(text: str) -> str:
    """A document with its tables made anew."""
    for name, made in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n\n{made()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(put_into(readme.read_text(encoding="utf-8")), encoding="utf-8")
