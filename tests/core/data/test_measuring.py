"""The quick measure of rows against their full rendering, and the figures made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.conversation import Conversation, Message
from core.data.measuring import Measure, measure_many, of_rendered
from core.data.rendering import Rendered, Renderer, RenderingError
from core.data.statistics import BINS, measure, shared_share, spread


def rows_of(number: int) -> list[Conversation]:
    """Rows of one to four turns of many lengths, some with an answer that starts with a line end."""
    rows = []
    for place in range(number):
        messages = []
        for turn in range(1 + place % 2):
            start = "\n" if place % 7 == 0 else ""
            messages += [
                Message("user", "How many are there? " * (1 + place % 5)),
                Message("assistant", f"{start}{place} of them, naïve 日本 😀 " * (1 + turn), place % 3 > 0),
            ]
        rows.append(Conversation(tuple(messages), "rows.jsonl", place + 1, place + 1))
    return rows


def test_the_measure_is_that_of_the_full_rendering(renderer: Renderer) -> None:
    rows = rows_of(600)
    text = Conversation((), "rows.jsonl", 1, 1, "text", text="plain text")
    bad = Conversation((Message("user", renderer.decode(renderer.turn_end_ids)), rows[0].messages[1]), "x", 1)
    mixed = [*rows[:300], text, bad, *rows[300:]]
    measures = list(measure_many(renderer, mixed))
    assert isinstance(measures.pop(301), RenderingError)
    full = list(renderer.render_many([*rows[:300], text, *rows[300:]]))
    for one, other in zip(measures, full, strict=True):
        assert isinstance(one, Measure) and isinstance(other, Rendered)
        assert one.tokens == len(other.ids)
        assert one.trained == other.trained_tokens
        for length in (1, 20, 57, 1000):
            assert one.trained_within(length) == sum(other.trained[:length])
        if other.boundary:
            assert one == of_rendered(other)


def test_rows_whose_tokens_straddle_are_told(make_model: Callable[..., Path]) -> None:
    renderer = Renderer.from_folder(make_model("qwen2.5"))
    rows = [
        Conversation((Message("user", "Hi"), Message("assistant", answer)), "rows.jsonl", 1)
        for answer in ("Hello", "\nHello")
    ]
    straddles = [item.straddles for item in measure_many(renderer, rows) if isinstance(item, Measure)]
    assert straddles == [False, True]


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=200))
def test_a_spread_says_what_the_values_are(values: list[int]) -> None:
    figures = spread(values)
    assert figures is not None
    ordered = sorted(values)
    assert (figures["min"], figures["max"], figures["sum"]) == (ordered[0], ordered[-1], sum(values))
    assert figures["median"] in values and figures["median"] <= figures["p95"] <= figures["max"]
    histogram = figures["histogram"]
    counts, start, width = histogram["counts"], histogram["start"], histogram["width"]
    assert sum(counts) == len(values) and len(counts) <= BINS
    assert counts[0] == sum(start <= value < start + width for value in values) or len(counts) == 1


def test_no_values_have_no_spread() -> None:
    assert spread([]) is None


def test_shared_beginnings_are_counted_once_for_each_further_row(make_model: Callable[..., Path]) -> None:
    renderer = Renderer.from_folder(make_model("smollm2"))
    system = "You are a helpful assistant. " * 8
    rows = [
        Conversation(
            (Message("system", system), Message("user", f"{number} please"), Message("assistant", "Fine")),
            "rows.jsonl",
            number,
        )
        for number in range(1, 5)
    ]
    ids = sorted(item.ids for item in renderer.render_many(rows) if isinstance(item, Rendered))
    common = 0
    for one, two in pairwise(ids):
        common += next(place for place, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1])
    assert shared_share(renderer, rows, 2048) == pytest.approx(common / sum(map(len, ids)))
    assert shared_share(renderer, rows, 2048) > 0.5
    assert shared_share(renderer, rows[:1], 2048) == 0


def test_the_figures_of_a_file(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": f"word {number}", "label": number % 4 == 0}) for number in range(40)]
    path.write_text("\n".join([*lines, "{broken"]) + "\n")
    figures = measure(path)
    assert (figures["rows"], figures["sampled"], figures["usable"]) == (41, 41, 40)
    assert figures["labels"] == {"False": 30, "True": 10}
    assert figures["shapes"] == {"text-label": 40}
    assert figures["turns"] is None
    chats = tmp_path / "chats.jsonl"
    rows = [{"prompt": "How many?", "completion": "word " * number} for number in range(1, 101)]
    chats.write_text("".join(json.dumps(row) + "\n" for row in rows))
    renderer = Renderer.from_folder(make_model("smollm2"))
    full = measure(chats, renderer=renderer, sequence_length=40)
    lengths = [
        len(item.ids)
        for item in renderer.render_many(
            Conversation((Message("user", row["prompt"]), Message("assistant", row["completion"])), "x", 1)
            for row in rows
        )
        if isinstance(item, Rendered)
    ]
    assert full["tokens"]["sum"] == sum(lengths)
    assert full["cut"] == sum(length > 40 for length in lengths)
    assert full["total_tokens"] == sum(min(length, 40) for length in lengths)
    half = measure(chats, renderer=renderer, sequence_length=40, sample=50)
    assert (half["rows"], half["sampled"]) == (100, 50)
    assert half["total_tokens"] == pytest.approx(full["total_tokens"], rel=0.15)
