"""Each repair: a bad row in, clean after; the source untouched, the record true, the same again changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.check import Check, Options
from core.data.codes import CODES
from core.data.repair import NAMES, Context, RepairError, Step, preview, steps_for, write
from tests.core.data.check.making import ANSWER, USER, chat, clean, write_with
from tests.core.data.check.making import write as write_rows
from tests.core.data.check.test_codes import LONG, ROWS, TOOL_CALL

TWICE = json.dumps(json.dumps({"a": 1}))
CALL = {"id": "a", "type": "function", "function": {"name": "add", "arguments": TWICE}}
BAD: dict[str, object] = {
    **ROWS,
    "unknown-role": [{"role": "asistant", "content": "Hi"}, ANSWER],
    "tool-arguments-twice": [
        USER, {**TOOL_CALL, "tool_calls": [CALL]}, {"role": "tool", "content": "1", "tool_call_id": "a"}, ANSWER,
    ],
}  # fmt: skip
REPAIRED = [code for code in BAD if CODES[code].repair]


def codes_of(path: Path, **options: Any) -> list[str]:
    return [problem.code for problem in Check(path, Options(**options))]


def repaired(path: Path, codes: list[str], **context: Any) -> Path:
    target = path.with_name("repaired.jsonl")
    write(path, steps_for(codes), target, Context(**context), overwrite=True)
    return target


@pytest.mark.parametrize("code", REPAIRED)
def test_a_row_with_the_problem_is_clean_after_its_repair(tmp_path: Path, code: str) -> None:
    before = chat(f"Say {LONG} now", "No.") if code == "near-duplicate" else clean(99)
    path = write_with(tmp_path / "a.jsonl", before, BAD[code])
    source = path.read_bytes()
    assert code in codes_of(path)
    target = repaired(path, [code])
    assert code not in codes_of(target)
    assert path.read_bytes() == source
    kept = target.read_bytes().splitlines(keepends=True)
    assert kept[:13] == source.splitlines(keepends=True)[:13]
    dropping = CODES[code].repair in ("drop", "deduplicate")
    assert len(kept) == (13 if dropping else 14)
    again = target.with_name("again.jsonl")
    report = write(target, steps_for([code]), again)
    assert (report.changed, report.dropped) == (0, 0)
    assert again.read_bytes() == target.read_bytes()


def test_every_repair_is_tried_here() -> None:
    tried = {CODES[code].repair for code in REPAIRED}
    assert set(NAMES) - tried == {"re-encode", "convert", "edit"}


def row_after(tmp_path: Path, row: object, *steps: Step) -> Any:
    """The last row of a file after the steps; None if it was dropped."""
    path = write_rows(tmp_path / "one.jsonl", clean(1), row)
    target = tmp_path / "one.fixed.jsonl"
    write(path, steps, target, overwrite=True)
    lines = target.read_text().splitlines()
    return json.loads(lines[1]) if len(lines) == 2 else None


def test_what_repairs_make_of_rows(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    for repair, row, turns in (
        ("move-system", [USER, system, ANSWER], [system, USER, ANSWER]),
        ("merge-turns", [USER, USER, ANSWER], [{**USER, "content": "How are you?\n\nHow are you?"}, ANSWER]),
        ("trim-end", [USER, ANSWER, USER], [USER, ANSWER]),
        ("to-text", [USER, {**ANSWER, "content": 5}], [USER, {**ANSWER, "content": "5"}]),
        ("strip-control", chat("a\x07b\tc", "d")["messages"], chat("ab\tc", "d")["messages"]),
        ("fix-mojibake", chat("a cafÃ©", "d")["messages"], chat("a café", "d")["messages"]),
        (
            "redact",
            chat("Write to bob@acme.org or 4111 1111 1111 1111", "d")["messages"],
            chat("Write to [email] or [card number]", "d")["messages"],
        ),
        ("convert", {"instruction": "Add", "input": "", "output": "3"}, chat("Add", "3")["messages"]),
    ):
        assert row_after(tmp_path, row, Step(repair))["messages"] == turns, repair
    value = {"messages": [USER, ANSWER], "id": 7}
    assert row_after(tmp_path, "{broken", Step("edit", rows=(2,), value=value)) == value
    assert row_after(tmp_path, clean(5), Step("drop", rows=(2,))) is None


def test_bytes_that_are_not_utf_8_are_read_as_windows_1252(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = json.dumps(chat("Where is the café – here?", "Yes"), ensure_ascii=False)
    path.write_bytes(json.dumps(clean(1)).encode() + b"\n" + row.encode("cp1252") + b"\n")
    assert "not-utf-8" in codes_of(path)
    target = repaired(path, ["not-utf-8"])
    assert json.loads(target.read_text("utf-8").splitlines()[1]) == json.loads(row)


def test_steps_are_for_the_rows_they_name(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", *(chat(f"{number} b@acme.org", "x") for number in range(5)))
    changes = list(preview(path, [Step("redact", ("email",), rows=(2, 4))], 10))
    assert [(change.row, change.after) for change in changes] == [
        (2, chat("1 [email]", "x")), (4, chat("3 [email]", "x")),
    ]  # fmt: skip
    assert [change.before for change in changes] == [chat("1 b@acme.org", "x"), chat("3 b@acme.org", "x")]
    assert len(list(preview(path, [Step("redact")], 3))) == 3


def test_undoing_is_leaving_the_last_step_out(tmp_path: Path) -> None:
    path = write_with(tmp_path / "a.jsonl", BAD["email"], BAD["repeated-role"])
    first, second = Step("redact"), Step("merge-turns")
    before = list(preview(path, [first], 9))
    assert list(preview(path, [first, second], 9)) != before
    assert list(preview(path, [first], 9)) == before


def test_every_format_becomes_lines(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {number}\nb@acme.org", "completion": "yes\nno"} for number in range(3)]
    array = tmp_path / "a.json"
    array.write_text(json.dumps(rows, indent=2))
    table = tmp_path / "a.csv"
    table.write_text("prompt,completion\n" + "".join(f'"{row["prompt"]}","yes\nno"\n' for row in rows))
    wanted = [{**row, "prompt": row["prompt"].replace("b@acme.org", "[email]")} for row in rows]
    for path in (array, table):
        target = repaired(path, ["email"])
        assert [json.loads(line) for line in target.read_text().splitlines()] == wanted
    target = tmp_path / "same.jsonl"
    write(array, [Step("drop", rows=(2,))], target)
    assert [json.loads(line) for line in target.read_text().splitlines()] == [rows[0], rows[2]]


def test_leaks_are_dropped_from_the_validation_file(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", *map(clean, range(9)))
    path = write_rows(tmp_path / "validation.jsonl", clean(20), clean(4), clean(21))
    target = repaired(path, ["leak"], against=(train,))
    assert [json.loads(line) for line in target.read_text().splitlines()] == [clean(20), clean(21)]
    with pytest.raises(RepairError, match="--against"):
        repaired(path, ["leak"])


def test_problems_of_a_model_are_repaired_with_the_model(
    tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    system = {"role": "system", "content": "Be brief."}
    path = write_with(tmp_path / "a.jsonl", [system, USER, ANSWER], chat(LONG, "So."))
    model = make_model("gemma")
    with pytest.raises(RepairError, match="Name the model"):
        repaired(path, ["role-not-in-template"])
    target = repaired(
        path, ["role-not-in-template", "answer-cut-off"], model_folder=model, sequence_length=60
    )
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(rows) == 13
    assert rows[12] == chat("Be brief.\n\nHow are you?", "Fine, thanks.")
    options = Options(frozenset({"tokens"}), model, sequence_length=60)
    assert [problem.code for problem in Check(target, options) if problem.severity == "error"] == []


def test_the_record_says_what_was_made_of_what(tmp_path: Path) -> None:
    path = write_with(tmp_path / "a.jsonl", BAD["email"], BAD["broken-json"], "")
    target = tmp_path / "b.jsonl"
    steps = steps_for(["email", "broken-json"])
    report = write(path, steps, target)
    assert (report.rows, report.changed, report.dropped, report.written) == (14, 1, 1, 13)
    record = json.loads((tmp_path / "b.jsonl.lineage.json").read_text())
    assert record["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["target_sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert [Step.from_dict(step) for step in record["steps"]] == steps
    assert record["dropped"] == 1
    assert target.stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_not_replaced_unasked_and_the_source_never(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", clean(1))
    (tmp_path / "link.jsonl").symlink_to(path)
    other = write_rows(tmp_path / "b.jsonl", clean(2))
    with pytest.raises(RepairError, match="is there already"):
        write(path, [Step("redact")], other)
    for name in ("a.jsonl", "link.jsonl"):
        with pytest.raises(RepairError, match="never written"):
            write(path, [Step("redact")], tmp_path / name, overwrite=True)
    assert json.loads(other.read_text()) == clean(2)
    with pytest.raises(RepairError, match="dropping every row"):
        write(path, [Step("drop")], tmp_path / "c.jsonl")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl", "link.jsonl"]


@pytest.mark.parametrize("code", ["few-rows", "weight", "no-user-turn"])
def test_what_only_a_person_can_repair_says_so(code: str) -> None:
    with pytest.raises(RepairError, match="nothing can repair"):
        steps_for([code])


TEXTS = st.text(st.sampled_from("ab \n\x07é@.Ã©1{}"), max_size=12) | st.sampled_from(
    ["a cafÃ©", "bob@acme.org", "4111 1111 1111 1111", "sk-" + "a1" * 20]
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "asistant", "tool"]), "content": TEXTS}
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(TURNS, min_size=1, max_size=4))
def test_every_repair_done_twice_is_done_once(tmp_path: Path, rows: list[list[dict[str, str]]]) -> None:
    path = write_rows(tmp_path / "a.jsonl", *rows)
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    for repair in NAMES:
        if repair in ("edit", "drop"):
            continue
        write(path, [Step(repair)], one, overwrite=True)
        write(one, [Step(repair)], two, overwrite=True)
        assert two.read_bytes() == one.read_bytes(), repair
