"""A filter lets through exactly the rows that its conditions describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.filter import Filter
from core.data.query import QueryError, Term, parse
from core.data.rendering import Renderer

USER = {"role": "user", "content": "Where is order 8841?"}
ANSWER = {"role": "assistant", "content": "On its way, in Köln."}
ROWS: list[Any] = [
    {"messages": [USER, ANSWER], "meta": {"source": "Web", "tags": ["a", "late"]}},
    {"messages": [{"role": "system", "content": "Be kind."}, USER, ANSWER, USER, ANSWER]},
    {"messages": [USER, {"role": "assistant", "content": " "}]},
    {"text": "Charged Twice, really", "label": "spam"},
    {"instruction": "Say K", "output": "K"},
    "{broken",
    {"messages": [USER, {"role": "assistant", "content": 'a \u212a and a "quote"\tand a tab'}]},
]


def write(path: Path, rows: list[Any], ascii_only: bool = True) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def found(path: Path, query: str, renderer: Renderer | None = None) -> list[int]:
    return [row for rows in Filter(path, parse(query), renderer=renderer).rows() for row in rows]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("ORDER", [0, 1, 2, 6]),
        ("köln", [0, 1]),
        ('"charged twice"', [3]),
        ("charged quote", []),
        ("charged or quote", [3, 6]),
        ("order -köln", [2, 6]),
        (r"/order \d{4}\?/", [0, 1, 2, 6]),
        ("/^K$/", [4]),
        ("k", [0, 1, 2, 3, 4, 5, 6]),
        ("role:system", [1]),
        ("-role:user", [3, 5]),
        ("shape:alpaca", [4]),
        ("label:spam", [3]),
        ("code:empty-answer", [2]),
        ("code:broken-json", [5]),
        ("turns>2", [1]),
        ("turns=2 line>2", [2, 4, 6]),
        ("row<=2", [0, 1]),
        ("chars<5", []),
        ("meta.source:web", [0]),
        ("meta.tags:late", [0]),
        ("broken", [5]),
        ('"\\"quote"', []),
        ("quote", [6]),
    ],
)
def test_conditions(tmp_path: Path, query: str, rows: list[int], ascii_only: bool) -> None:
    path = write(tmp_path / "a.jsonl", ROWS, ascii_only)
    if query == "k":  # every row but the text's and the broken one's has one somewhere, the Kelvin sign too
        rows = [number for number in range(7) if "k" in _text(ROWS[number]).lower()]
    assert found(path, query) == rows


def _text(row: Any) -> str:
    if isinstance(row, str):
        return row
    parts = [message["content"] for message in row.get("messages", [])]
    return "\n".join(
        [*parts, *(row[key] for key in ("text", "label", "instruction", "output") if key in row)]
    )


WORDS = st.text(st.sampled_from('abK\u212aİiß é"\\/\n\t'), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(WORDS, min_size=1, max_size=6), word=WORDS, ascii_only=st.booleans())
def test_reading_only_rows_that_may_match_misses_none(
    tmp_path: Path, texts: list[str], word: str, ascii_only: bool
) -> None:
    rows = [{"messages": [USER, {"role": "assistant", "content": text}]} for text in texts]
    path = write(tmp_path / "a.jsonl", rows, ascii_only)
    if '"' in word or not word.strip() or word != word.strip():
        return
    query = parse(f'"{word}"')
    expected = [
        number
        for number, text in enumerate(texts)
        if word.lower() in text.lower() or word.lower() in USER["content"].lower()
    ]
    assert [row for part in Filter(path, query).rows() for row in part] == expected


def test_tokens(tmp_path: Path, make_model: Any) -> None:
    path = write(tmp_path / "a.jsonl", ROWS)
    renderer = Renderer.from_folder(make_model("phi-3-mini"))
    sizes = {row: len(renderer.render(item).ids) for row, item in _conversations(path)}
    limit = sorted(sizes.values())[1]
    assert found(path, f"tokens>{limit}", renderer) == [row for row, size in sizes.items() if size > limit]
    with pytest.raises(QueryError, match="needs a model"):
        found(path, "tokens>1")


def _conversations(path: Path) -> list[tuple[int, Any]]:
    from core.data.conversation import Conversation
    from core.data.rows import read_rows

    return [(item.row - 1, item) for item in read_rows(path) if isinstance(item, Conversation)]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "missing"), ("or a", "missing"), ("a or", "missing"), ("/(/", "regular expression"),
        ("code:nonesuch", "no problem with the code"), ("tokens:many", "compared with a number"),
        ("code:duplicate", "compares rows"), ("turns>1.2.3", "no number"),
    ],
)  # fmt: skip
def test_filters_that_can_t_be_read_say_why(tmp_path: Path, query: str, words: str) -> None:
    with pytest.raises(QueryError) as error:
        found(write(tmp_path / "a.jsonl", ROWS), query)
    assert words in error.value.cause
    assert error.value.next_step


def test_a_word_with_a_colon_alone_is_a_word() -> None:
    assert parse("a: -b").terms == [Term("text", "", "a:"), Term("text", "", "b", "", True)]


def test_csv_and_arrays(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('question,answer\n"Why,\nso?",Because.\nWho?,Me.\n')
    assert found(tmp_path / "a.csv", "because") == [0]
    (tmp_path / "a.json").write_text(json.dumps([row for row in ROWS if isinstance(row, dict)], indent=1))
    assert found(tmp_path / "a.json", "köln line>20") == [1]
