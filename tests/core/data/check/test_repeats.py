"""Rows seen before, exactly and nearly."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.check import Check, Options
from core.data.check.near import SIMILAR, NearDuplicates, signatures
from core.data.check.scan import Row, row_of
from core.data.check.seen import Seen
from core.data.conversation import Conversation, Message
from tests.core.data.check.making import chat, write

NEAR = Options(frozenset({"near"}))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=20))
def test_seen_names_the_first_of_equal_hashes(batches: list[list[int]]) -> None:
    seen, firsts, number = Seen(), {}, 0
    for batch in batches:
        numbers = np.arange(number, number + len(batch), dtype=np.uint64)
        answer = seen.add(np.array(batch, np.uint64), numbers)
        expected = []
        for value in batch:
            expected.append(firsts.get(value, -1))
            firsts.setdefault(value, number)
            number += 1
        assert answer.tolist() == expected


def test_seen_needs_no_more_than_32_bytes_a_row() -> None:
    rows = 3 << 20
    generator = np.random.default_rng(0)
    import tracemalloc

    seen = Seen()
    tracemalloc.start()
    for start in range(0, rows, 1 << 16):
        hashes = generator.integers(0, 1 << 63, 1 << 16, np.uint64)
        seen.add(hashes, np.arange(start, start + (1 << 16), dtype=np.uint64))
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 17 * rows
    assert most < 32 * rows


def words(generator: random.Random, number: int) -> list[str]:
    return [f"w{generator.randrange(5000)}" for _ in range(number)]


def as_row(text: str, number: int = 1) -> Row:
    turns = (Message("system", "You are a helpful assistant."), Message("user", text))
    return row_of(Conversation(turns, "a", number, number))


def jaccard(one: list[str], two: list[str]) -> float:
    first, second = (set(zip(item, item[1:], item[2:], strict=False)) for item in (one, two))
    return len(first & second) / len(first | second)


def test_pairs_above_the_threshold_are_found_and_far_ones_are_not() -> None:
    generator = random.Random(3)
    originals = [words(generator, 120) for _ in range(200)]
    changed = []
    for number, original in enumerate(originals):
        copy = list(original)
        for _ in range(1 if number < 100 else 20):
            copy[generator.randrange(len(copy))] = "other"
        changed.append(copy)
    near = NearDuplicates()
    rows = [as_row(" ".join(item)) for item in originals + changed]
    made = signatures(rows)
    near.add(np.stack([made.numbers] * 3, axis=1), made.bits, made.bands)
    found = {pair.place[0]: pair for pair in near.pairs()}
    near.close()
    for number, (one, two) in enumerate(zip(originals, changed, strict=True)):
        true = jaccard(one, two)
        pair = found.get(200 + number)
        if true > 0.93:
            assert pair is not None
            assert pair.first[0] == number
            assert pair.similarity == pytest.approx(true, abs=0.15)
        elif true < 0.6:
            assert pair is None
    assert not any(number < 200 for number in found)
    assert sum(jaccard(*pair) > 0.93 for pair in zip(originals, changed, strict=True)) > 80
    assert SIMILAR == 0.8


def test_case_punctuation_and_system_turns_do_not_count() -> None:
    text = "the quick brown fox jumps over the lazy dog and runs into the dark wood"
    one, two = as_row(text), as_row(text.upper().replace(" ", ", "))
    made = signatures([one, two])
    assert made.numbers.tolist() == [0, 1]
    assert (made.bits[0] == made.bits[1]).all()
    assert (made.bands[0] == made.bands[1]).all()


def test_short_rows_and_empty_ones_have_no_signature() -> None:
    made = signatures([as_row("too short"), as_row(""), as_row("\0 one two")])
    assert made.numbers.tolist() == []


def test_scripts_without_spaces_are_compared_by_letters() -> None:
    made = signatures([as_row("日本語の文を書くのはとても楽しいことです")])
    assert made.numbers.tolist() == [0]


def test_a_near_duplicate_names_the_first_and_exact_ones_are_not_told_twice(tmp_path: Path) -> None:
    text = " ".join(words(random.Random(1), 100))
    rows = [chat(f"{text} {end}", "Yes.") for end in ("one", "two", "two")]
    problems = [item for item in Check(write(tmp_path / "a.jsonl", *rows), NEAR) if item.code != "few-rows"]
    assert [(item.code, item.line) for item in problems] == [("duplicate", 3), ("near-duplicate", 2)]
    assert "line 1" in problems[1].sentence


def test_signatures_do_not_depend_on_the_rows_beside() -> None:
    rows = [as_row(" ".join(words(random.Random(seed), 30))) for seed in range(5)]
    together = signatures(rows)
    for number, row in enumerate(rows):
        assert (signatures([row]).bands[0] == together.bands[number]).all()
