"""README's recipe reference is the table of settings, not a copy that can go stale."""

from __future__ import annotations

from pathlib import Path

from core.recipe import fields
from core.reference import markdown, put_into

README = Path(__file__).parents[2] / "README.md"


def test_readme_is_up_to_date() -> None:
    text = README.read_text(encoding="utf-8")
    assert put_into(text) == text, "run `python -P -m core.reference README.md`"


def test_every_key_has_a_row() -> None:
    table = markdown()
    assert [item.name for item in fields() if f"| `{item.name}` |" not in table] == []
