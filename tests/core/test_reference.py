"""README's recipe reference is the table of settings, not a copy that can go stale."""

from __future__ import annotations

from pathlib import Path

from core.data.codes import CODES
from core.recipe import fields
from core.reference import problem_codes, put_into, recipe_keys

README = Path(__file__).parents[2] / "README.md"


def test_readme_is_up_to_date() -> None:
    text = README.read_text(encoding="utf-8")
    assert put_into(text) == text, "run `python -P -m core.reference README.md`"


def test_every_key_has_a_row() -> None:
    table = recipe_keys()
    assert [item.name for item in fields() if f"| `{item.name}` |" not in table] == []


def test_every_problem_has_a_row_with_its_repair() -> None:
    table = problem_codes()
    assert all(f"| `{code}` | {item.severity} | {item.tier} |" in table for code, item in CODES.items())
    assert table.count("\n") == len(CODES) + 1
