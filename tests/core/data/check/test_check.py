"""The check of files as a whole: order, counts, several files, sampling, and the same in several processes."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core.data.check import Check, Options, check_file, run
from core.data.problems import DataError, Problem
from tests.core.data.check.making import ANSWER, USER, chat, clean, write, write_with

EVERYTHING = Options(cores=1)


def found(check: Check) -> list[tuple[int, str]]:
    return [(problem.line, problem.code) for problem in check]


def test_a_clean_file_has_no_problem(tmp_path: Path) -> None:
    check = Check(write_with(tmp_path / "a.jsonl"))
    assert list(check) == []
    counts = check.counts()
    tiers = counts.pop("tiers")
    assert counts == {"rows": 12, "conversations": 12, "errors": 0, "warnings": 0, "codes": {}}
    assert list(tiers) == ["structure", "text", "near"]
    assert all(tier["rows"] == 12 and tier["seconds"] > 0 for tier in tiers.values())
    assert check.bytes_read == check.total_bytes == (tmp_path / "a.jsonl").stat().st_size


def test_errors_and_warnings_come_in_order_and_are_counted(tmp_path: Path) -> None:
    rows = ["{x}", "", [USER, ANSWER], [USER], [USER, ANSWER], chat("mail bob@acme.org now", "No.")]
    check = Check(write(tmp_path / "a.jsonl", *rows))
    expected = [(1, "broken-json"), (4, "no-assistant-turn"), (5, "duplicate"), (6, "email"), (0, "few-rows")]
    assert found(check) == expected
    counts = check.counts()
    assert (counts["rows"], counts["conversations"], counts["errors"], counts["warnings"]) == (5, 3, 2, 3)
    assert counts["codes"] == {code: 1 for _, code in expected}


def test_an_error_hides_no_finding_in_the_text(tmp_path: Path) -> None:
    row = {"messages": [{"role": "robot", "content": "mail bob@acme.org"}, ANSWER]}
    check = Check(write_with(tmp_path / "a.jsonl", row))
    assert found(check) == [(13, "unknown-role"), (13, "email")]


def test_a_row_in_the_form_of_a_clean_one_is_still_checked(tmp_path: Path) -> None:
    rows = [
        [USER, {"role": "assistant", "content": " \n"}],
        [USER, {"role": "assistant", "content": None}],
        [USER, {"role": "assistant", "content": 5}],
        [USER, {"role": "assistant", "content": "Well", "weight": 7}],
        [USER, {"role": "assistant", "content": "Bell \x07"}],
    ]
    check = Check(write_with(tmp_path / "a.jsonl", *rows), EVERYTHING)
    codes = ["empty-answer", "null-content", "not-text", "weight", "control-characters"]
    assert found(check) == list(zip(range(13, 18), codes, strict=True))


def test_the_limit_ends_the_check(tmp_path: Path) -> None:
    assert len(check_file(write(tmp_path / "a.jsonl", *["{x}"] * 50), limit=3)) == 3


def test_check_file_looks_at_structure_alone(tmp_path: Path) -> None:
    path = write_with(tmp_path / "a.jsonl", chat("mail bob@acme.org now", "No."))
    assert check_file(path) == []


def test_a_missing_file_alone_raises_and_hides_no_other(tmp_path: Path) -> None:
    missing = tmp_path / "none.jsonl"
    with pytest.raises(DataError, match="does not exist"):
        check_file(missing)
    check = Check([missing, write_with(tmp_path / "a.jsonl", "{x}")])
    assert found(check) == [(0, "unreadable"), (13, "broken-json")]
    assert check.errors == 2


def test_leaks_and_duplicates_name_the_first_file_and_line(tmp_path: Path) -> None:
    one = write_with(tmp_path / "one.jsonl")
    two = write_with(tmp_path / "two.jsonl", clean(100))
    held = write(tmp_path / "held.jsonl", clean(200), clean(3), clean(200))
    check = Check([one, two], validation=[held])
    problems = list(check)
    assert [problem.code for problem in problems] == ["duplicate"] * 12 + ["leak", "duplicate"]
    assert f"{one}:1." in problems[0].sentence
    leak, again = problems[12:]
    assert (leak.path, leak.line) == (str(held), 2)
    assert f"{one}:4." in leak.sentence
    assert "line 1." in again.sentence


def test_rows_of_a_pretty_array_are_named_by_row_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([*map(clean, range(12)), clean(2)], indent=2))
    (problem,) = check_file(path)
    assert (problem.code, problem.row) == ("duplicate", 13)
    assert problem.line > 13
    assert "row 3." in problem.sentence


def test_a_compressed_file_is_checked_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path / "home"))
    plain = write_with(tmp_path / "a.jsonl", "{x}")
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    (problem,) = Check(packed)
    assert (problem.path, problem.line, problem.code) == (str(packed), 13, "broken-json")


def test_large_files_are_checked_by_a_stated_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [chat(f"mail bob{number}@acme.org now", f"No, {number}.") for number in range(30)]
    path = write(tmp_path / "a.jsonl", *rows, "{x}")
    monkeypatch.setattr(run, "IN_FULL_BYTES", path.stat().st_size // 3 + 1)
    check = Check(path, Options(tiers=frozenset({"text"})))
    emails = [problem.line for problem in check if problem.code == "email"]
    assert emails == list(range(1, 31, 3))
    assert check.codes["broken-json"] == 1  # structure is checked on all rows
    text = check.tiers["text"]
    assert (text["rows"], text["sampled"], text["every"]) == (11, True, 3)
    assert (check.tiers["structure"]["rows"], check.tiers["structure"]["sampled"]) == (31, False)
    full = Check(path, Options(tiers=frozenset({"text"}), full=True))
    list(full)
    assert full.codes["email"] == 30


def test_several_processes_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_BLOCK_BYTES", 20_000)
    monkeypatch.setattr(run, "_SMALL_BLOCK_BYTES", 20_000)
    rows: list[object] = [clean(number) for number in range(3000)]
    rows[700] = rows[2900] = clean(5)
    rows[1500] = "{x}"
    rows[2000] = chat("My key is hf_" + "aB3" * 12, "Keep it secret.")
    path = write(tmp_path / "a.jsonl", *rows)
    alone, together = Check(path, Options(cores=1)), Check(path, Options(cores=2))
    problems = list(alone)
    assert [(problem.line, problem.code) for problem in problems] == [
        (701, "duplicate"), (1501, "broken-json"), (2001, "secret"), (2901, "duplicate"),
    ]  # fmt: skip
    assert list(together) == problems
    assert together.cores == 2
    one, two = alone.counts(), together.counts()
    assert {**one, "tiers": 0} == {**two, "tiers": 0}


def test_a_cancelled_check_ends_after_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_SMALL_BLOCK_BYTES", 1000)
    asked: list[bool] = []

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) > 2

    check = Check(write(tmp_path / "a.jsonl", *map(clean, range(500))), cancelled=cancelled)
    assert list(check) == []
    assert 0 < check.bytes_read < check.total_bytes


def test_steps_tell_the_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_SMALL_BLOCK_BYTES", 1000)
    check = Check(write(tmp_path / "a.jsonl", *map(clean, range(100))), EVERYTHING)
    seen = [check.bytes_read for step in check.steps() if step is None]
    assert len(seen) > 5
    assert seen == sorted(set(seen))
    assert seen[-1] == check.total_bytes


_STALLED = """
import sys, time
from pathlib import Path
from core.data.check import Check, Options, run

if __name__ == "__main__":
    run._BLOCK_BYTES = 1000
    for step in Check(Path(sys.argv[1]), Options(cores=2)).steps():
        if step is None:
            print("working", flush=True)
            time.sleep(600)
"""


def test_the_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *map(clean, range(500)))
    script = tmp_path / "stalled.py"
    script.write_text(_STALLED)
    root = str(Path(__file__).parents[4])
    parent = subprocess.Popen(
        [sys.executable, str(script), str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"working\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


def test_problems_are_equal_as_values(tmp_path: Path) -> None:
    first, second = (check_file(write_with(tmp_path / "a.jsonl", "{x}")) for _ in range(2))
    assert first == second
    assert isinstance(first[0], Problem)
