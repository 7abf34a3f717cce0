"""Splits and samples: nothing on both sides, sizes as asked, the same for the same seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.check import Check, Options
from core.data.prepare import sample_file, split_file
from core.data.repair import RepairError
from tests.core.data.check.making import chat, clean
from tests.core.data.check.making import write as write_rows
from tests.core.data.check.test_codes import LONG

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def split(path: Path, **how: Any) -> tuple[list[Any], list[Any]]:
    """(rows to train on, rows for validation)."""
    train, validation = path.with_name("train.jsonl"), path.with_name("validation.jsonl")
    split_file(path, train, validation, overwrite=True, **how)
    return lines(train), lines(validation)


@quick
@given(contents=st.lists(st.integers(0, 15), min_size=4, max_size=60), data=st.data())
def test_no_row_is_on_both_sides_and_none_is_lost(
    tmp_path: Path, contents: list[int], data: st.DataObject
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", *map(clean, contents))
    wanted = data.draw(st.integers(1, len(contents) - 1))
    train, validation = split(path, rows=wanted, seed=data.draw(st.integers(0, 9)))
    texts = [[row["messages"][0]["content"] for row in side] for side in (train, validation)]
    assert not set(texts[0]) & set(texts[1])
    assert Counter(texts[0] + texts[1]) == Counter(
        clean(number)["messages"][0]["content"] for number in contents
    )
    most = max(Counter(contents).values())
    assert wanted - most < len(validation) <= wanted
    order = [clean(number) for number in contents]
    assert train == [row for row in order if row in train]
    if most == 1:
        assert len(validation) == wanted


@quick
@given(owners=st.lists(st.integers(0, 6), min_size=6, max_size=50), seed=st.integers(0, 99))
def test_groups_stay_whole(tmp_path: Path, owners: list[int], seed: int) -> None:
    rows = [{**clean(number), "meta": {"user": owner}} for number, owner in enumerate(owners)]
    rows.append({**clean(0), "meta": {"user": 7}})  # says what the first row says: its group goes with it
    path = write_rows(tmp_path / "rows.jsonl", *rows)
    train, validation = split(path, fraction=0.4, seed=seed, group="meta.user")
    sides = [{row["meta"]["user"] for row in side} for side in (train, validation)]
    assert not sides[0] & sides[1]
    assert any({owners[0], 7} <= side for side in sides)
    assert len(train) + len(validation) == len(rows)


@quick
@given(labels=st.lists(st.sampled_from("abc"), min_size=8, max_size=80), seed=st.integers(0, 9))
def test_both_sides_have_the_same_shares_of_each_label(tmp_path: Path, labels: list[str], seed: int) -> None:
    rows = [{"text": f"text {number}", "label": label} for number, label in enumerate(labels)]
    path = write_rows(tmp_path / "rows.jsonl", *rows)
    _, validation = split(path, fraction=0.25, seed=seed, stratify="label")
    wanted = round(len(rows) * 0.25)
    assert len(validation) == wanted
    found = Counter(row["label"] for row in validation)
    for label, many in Counter(labels).items():
        assert abs(found[label] - wanted * many / len(rows)) < 1


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", *map(clean, range(50)))
    first = split(path, fraction=0.2, seed=1)
    assert split(path, fraction=0.2, seed=1) == first
    assert split(path, fraction=0.2, seed=2) != first
    assert len(first[1]) == 10


def test_near_duplicates_stay_on_one_side(tmp_path: Path) -> None:
    rows = []
    for number in range(12):
        words = LONG.replace("word", f"w{number}x")
        rows += [chat(f"Say {words} now", "No."), chat(f"Say {words} again", "No.")]
    path = write_rows(tmp_path / "rows.jsonl", *rows)
    for seed in range(4):
        train, validation = split(path, rows=8, seed=seed, near=True)
        assert len(validation) == 8
        both = write_rows(tmp_path / "both.jsonl", *train)
        check = Check(both, Options(frozenset({"near"})), validation=[tmp_path / "validation.jsonl"])
        crossing = [problem for problem in check if problem.path.endswith("validation.jsonl")]
        assert all("both.jsonl" not in problem.sentence for problem in crossing)


def test_rows_that_can_t_be_used_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", *map(clean, range(9)), "{broken", "", {"colour": "red"})
    report = split_file(path, tmp_path / "t.jsonl", tmp_path / "v.jsonl", rows=3)
    assert (report.rows, report.left_out) == (11, 2)
    assert sorted(report.written.values()) == [3, 6]
    record = json.loads((tmp_path / "v.jsonl.lineage.json").read_text())
    assert record["how"]["split"]["seed"] == 42
    assert record["left_out"] == 2


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({}, "--fraction or --rows"),
        ({"fraction": 0.0}, "Both sides need a row"),
        ({"rows": 9}, "Both sides need a row"),
    ],
)
def test_a_split_that_leaves_one_side_empty_is_refused(
    tmp_path: Path, how: dict[str, Any], told: str
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", *map(clean, range(9)))
    with pytest.raises(RepairError, match=told):
        split(path, **how)
    assert [item.name for item in tmp_path.iterdir()] == ["rows.jsonl"]


@quick
@given(labels=st.lists(st.sampled_from("abcd"), min_size=3, max_size=60), data=st.data())
def test_a_balanced_sample_has_as_equal_classes_as_there_are_rows(
    tmp_path: Path, labels: list[str], data: st.DataObject
) -> None:
    rows = [{"text": f"text {number}", "label": label} for number, label in enumerate(labels)]
    path = write_rows(tmp_path / "rows.jsonl", *rows)
    target = tmp_path / "sample.jsonl"
    wanted = data.draw(st.none() | st.integers(1, len(labels)))
    sample_file(path, target, rows=wanted, balance="label", overwrite=True)
    found, there = Counter(row["label"] for row in lines(target)), Counter(labels)
    assert lines(target) == [row for row in rows if row in lines(target)]
    if wanted is None:
        assert set(found.values()) == {min(there.values())} and set(found) == set(there)
        return
    assert sum(found.values()) == wanted
    most = max(found.values())
    assert all(found[label] >= min(most - 1, many) for label, many in there.items())


def test_a_sample_is_that_of_its_seed(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", *map(clean, range(100)))
    target = tmp_path / "s.jsonl"
    sample_file(path, target, rows=10, seed=3)
    first = lines(target)
    sample_file(path, target, rows=10, seed=3, overwrite=True)
    assert lines(target) == first and len(first) == 10
    with pytest.raises(RepairError, match="--balance"):
        sample_file(path, tmp_path / "t.jsonl")
