"""The recipe's keys as a table for the README, made from the one table of settings.

python -P -m core.reference README.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from core.recipe import fields

BEGIN, END = "<!-- recipe reference: begin -->", "<!-- recipe reference: end -->"


def markdown() -> str:
    """One row for each key: what it may be, what it is when left out, and what it does."""
    lines = ["| key | may be | left out | meaning |", "|---|---|---|---|"]
    for item in fields():
        meaning = item.help + (f" Usual: {item.usual}." if item.usual else "")
        unset = "required" if item.required else item.default_text
        cells = (f"`{item.name}`", item.expected, unset, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def put_into(text: str) -> str:
    """A document with the table between its two marks made anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{markdown()}\n\n{END}{after}"


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(put_into(readme.read_text(encoding="utf-8")), encoding="utf-8")
