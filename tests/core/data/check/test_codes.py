"""Each kind of problem once: a bad row in, code, severity and line out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.data.check import Check, Options
from core.data.check.azure import MAX_FILE_BYTES, azure_file_problems
from core.data.codes import CODES
from core.data.formats import Format
from core.data.problems import Problem
from tests.core.data.check.making import ANSWER, USER, chat, clean, write, write_with

LONG = " ".join(f"word{number}" for number in range(60))
TOOL_CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
}
PAIR = {"prompt": "How?", "chosen": "So.", "rejected": "So."}


def answer(**changes: Any) -> dict[str, Any]:
    return {**ANSWER, **changes}


ROWS: dict[str, object] = {
    "broken-json": '{"messages": [',
    "not-an-object": "[1]",
    "unknown-shape": {"colour": "red"},
    "no-messages": {"messages": []},
    "not-a-message": ["Hi", ANSWER],
    "no-role": [{"content": "Hi"}, ANSWER],
    "unknown-role": [{"role": "robot", "content": "Hi"}, ANSWER],
    "system-not-first": [USER, {"role": "system", "content": "Be brief."}, ANSWER],
    "repeated-role": [USER, USER, ANSWER],
    "no-assistant-turn": [USER],
    "no-user-turn": [ANSWER],
    "no-last-answer": [USER, ANSWER, USER],
    "nothing-trained": [USER, answer(weight=0)],
    "weight": [USER, answer(weight=3)],
    "empty-answer": [USER, answer(content=" \n")],
    "empty-question": [{"role": "user", "content": ""}, ANSWER],
    "null-content": [USER, answer(content=None)],
    "not-text": [USER, answer(content=5)],
    "control-characters": [USER, answer(content="Bell \x07")],
    "tool-call": [USER, {**TOOL_CALL, "tool_calls": [{"function": {"arguments": "{}"}}]}, ANSWER],
    "tool-order": [USER, {"role": "tool", "content": "5"}, ANSWER],
    "same-answers": PAIR,
    "token-ids": {"input_ids": [1, "two"]},
    "duplicate": clean(3),
    "near-duplicate": chat(f"Say {LONG} again", "No."),
    "placeholder": chat("Dear {{ customer.name }}, hello", "Hello."),
    "mojibake": chat("Itâ€™s a cafÃ©", "Yes."),
    "secret": chat("My key is AKIAIOSFODNN7EXAMPLE", "Keep it."),
    "email": chat("Write to bob@acme.org", "Done."),
    "card-number": chat("Charge 4111 1111 1111 1111", "Done."),
}


@pytest.mark.parametrize("code", ROWS)
def test_a_bad_row(tmp_path: Path, code: str) -> None:
    before = chat(f"Say {LONG} twice", "No.") if code == "near-duplicate" else clean(99)
    check = Check(write_with(tmp_path / "a.jsonl", before, ROWS[code]))
    problems = [problem for problem in check if problem.code != "mixed-shapes"]
    assert [(problem.code, problem.severity, problem.line) for problem in problems] == [
        (code, CODES[code].severity, 14)
    ]
    assert problems[0].fix
    assert problems[0].sentence.endswith(".")


def test_arguments_encoded_twice(tmp_path: Path) -> None:
    arguments = json.dumps(json.dumps({"one": 1}))
    call = {**TOOL_CALL, "tool_calls": [{"id": "a", "function": {"name": "add", "arguments": arguments}}]}
    row = [USER, call, {"role": "tool", "content": "5", "tool_call_id": "a"}, ANSWER]
    (problem,) = Check(write_with(tmp_path / "a.jsonl", row))
    assert (problem.code, problem.line) == ("tool-arguments-twice", 13)


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    path = write_with(tmp_path / "a.jsonl")
    path.write_bytes(path.read_bytes() + '{"text": "caf\xe9"}\n'.encode("latin-1"))
    (problem,) = Check(path)
    assert (problem.code, problem.line, problem.column) == ("not-utf-8", 13, 14)


def test_cells_that_a_csv_record_lacks(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = "".join(f"How many are {number}?,{number}\n" for number in range(12))
    path.write_text(f"question,answer\n{rows}Alone\n")
    (problem,) = Check(path)
    assert (problem.code, problem.line) == ("csv-cells", 14)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    (problem,) = Check(tmp_path / "a.jsonl")
    assert (problem.code, problem.severity, problem.line) == ("empty-file", "error", 0)


def test_few_rows_but_not_of_validation(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.jsonl", clean(1)), write(tmp_path / "b.jsonl", clean(2))
    (problem,) = Check(one, validation=[two])
    assert (problem.code, problem.line, problem.path) == ("few-rows", 0, str(one))


def test_mixed_shapes_name_the_first_row_of_another(tmp_path: Path) -> None:
    rows = [{"prompt": "How?", "completion": "So."}, {"prompt": "How else?", "completion": "So so."}]
    (problem,) = Check(write_with(tmp_path / "a.jsonl", *rows))
    assert (problem.code, problem.line) == ("mixed-shapes", 13)
    assert "messages (12), prompt-completion (2)" in problem.sentence


def test_label_imbalance(tmp_path: Path) -> None:
    rows = [
        {"text": f"This is number {number}.", "label": "rare" if number < 4 else "common"}
        for number in range(60)
    ]
    (problem,) = Check(write(tmp_path / "a.jsonl", *rows))
    assert (problem.code, problem.line) == ("label-imbalance", 0)
    assert "'common' has 56 rows, 'rare' has 4" in problem.sentence
    assert list(Check(write(tmp_path / "b.jsonl", *rows[:30]))) == []  # too few rows to tell


def test_a_leak(tmp_path: Path) -> None:
    path = write_with(tmp_path / "a.jsonl")
    (problem,) = Check(path, validation=[write(tmp_path / "b.jsonl", clean(1000), clean(5))])
    assert (problem.code, problem.line, problem.path) == ("leak", 2, str(tmp_path / "b.jsonl"))
    assert f"{path}:6" in problem.sentence


AZURE: dict[str, object] = {
    "azure-schema": {"prompt": "How?", "completion": "So."},
    "azure-last-role": [USER, ANSWER, USER],
}


@pytest.mark.parametrize("code", AZURE)
def test_a_row_that_azure_refuses(tmp_path: Path, code: str) -> None:
    path = write_with(tmp_path / "a.jsonl", AZURE[code])
    found = [(item.code, item.severity, item.line) for item in Check(path, Options(azure=True))]
    assert (code, "error", 13) in found
    assert code not in [item.code for item in Check(path)]


def test_content_in_parts_is_text_here_but_not_for_azure(tmp_path: Path) -> None:
    row = [USER, answer(content=[{"type": "text", "text": "Fine."}])]
    path = write_with(tmp_path / "a.jsonl", row)
    assert list(Check(path)) == []
    assert [item.code for item in Check(path, Options(azure=True))] == ["azure-schema"]


def test_a_file_that_azure_refuses(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([clean(number) for number in range(9)]))
    codes = [item.code for item in Check(path, Options(azure=True))]
    assert codes == ["azure-format", "few-rows", "azure-few-rows"]
    format = Format("jsonl")
    assert list(azure_file_problems("a", format, MAX_FILE_BYTES - 1)) == []
    (problem,) = azure_file_problems("a", format, MAX_FILE_BYTES)
    assert problem.code == "azure-size"


# With a model


def check_with(model: Path, path: Path, sequence_length: int = 2048) -> list[Problem]:
    return list(Check(path, Options(frozenset({"tokens"}), model, sequence_length=sequence_length)))


@pytest.mark.parametrize(
    ("family", "code", "row"),
    [
        ("smollm2", "special-token", chat("How <|im_end|> so?", "So.")),
        ("gemma", "role-not-in-template", [{"role": "system", "content": "Be brief."}, USER, ANSWER]),
        ("gemma", "template-refuses", [ANSWER, USER, ANSWER]),
    ],
)
def test_a_row_that_the_template_refuses(
    tmp_path: Path, make_model: Callable[..., Path], family: str, code: str, row: object
) -> None:
    problems = check_with(make_model(family), write_with(tmp_path / "a.jsonl", row))
    found = [(item.code, item.severity, item.line) for item in problems if item.severity == "error"]
    assert found == [(code, "error", 13)]


def test_a_turn_that_the_template_drops(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    thinking = "<think>Two and two.</think>Four."
    row = chat("What is 2 + 2?", thinking, "And 3 + 3?", "Six.")
    problems = check_with(make_model("qwen3"), write_with(tmp_path / "a.jsonl", row))
    assert [(item.code, item.line) for item in problems] == [("turn-rewritten", 13)]


def test_rows_longer_than_the_sequence_length(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    rows = [chat("How?", LONG), chat(LONG, "So.")]
    path = write_with(tmp_path / "a.jsonl", *rows)
    problems = check_with(make_model("smollm2"), path, sequence_length=100)
    found = [(item.code, item.severity, item.line) for item in problems]
    assert found == [("too-long", "warning", 13), ("answer-cut-off", "error", 14)]


def test_a_token_that_straddles_prompt_and_answer(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    path = write_with(tmp_path / "a.jsonl", chat("Hi", "\nHello"), chat("Hi", "Hello"))
    problems = check_with(make_model("qwen2.5"), path)
    assert [(item.code, item.severity, item.line) for item in problems] == [("boundary-token", "warning", 13)]


@pytest.mark.parametrize(
    ("family", "codes"),
    [("smollm2", ["tools-not-in-template"]), ("phi-4-mini", ["tools-not-in-template"]), ("qwen2.5", [])],
)
def test_tools_that_the_template_leaves_out(
    tmp_path: Path, make_model: Callable[..., Path], family: str, codes: list[str]
) -> None:
    tool = {
        "type": "function",
        "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
    }
    path = write_with(tmp_path / "a.jsonl", {**chat("What is 2 + 2?", "Four."), "tools": [tool]})
    found = [(item.code, item.line) for item in check_with(make_model(family), path)]
    assert found == [(code, 13) for code in codes]


def test_a_row_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("core.data.jsontext", "core.data.check.scan", "core.data.check.block"):
        monkeypatch.setattr(f"{module}.MAX_LINE_BYTES", 2000)
    path = write_with(tmp_path / "a.jsonl", chat("Hi", "x" * 3000), chat("Hi", "short"))
    found = [(item.code, item.severity, item.line) for item in Check(path, Options(cores=1))]
    assert found == [("line-too-long", "error", 13)]


def test_the_tokens_are_counted(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    check = Check(write_with(tmp_path / "a.jsonl"), Options(model_folder=make_model("smollm2")))
    assert list(check) == []
    assert check.tiers["tokens"]["rows"] == 12
    assert check.tiers["tokens"]["tokens"] == check.tokens > 12 * 10


def test_every_code_is_tried() -> None:
    elsewhere = {
        "unreadable", "empty-file", "not-utf-8", "csv-cells", "mixed-shapes", "few-rows", "tool-arguments-twice",
        "label-imbalance", "leak", "azure-format", "azure-size", "azure-few-rows", "special-token",
        "template-refuses", "role-not-in-template", "turn-rewritten", "too-long", "answer-cut-off",
        "wrong-task",
    }  # fmt: skip
    elsewhere |= {"line-too-long", "boundary-token", "tools-not-in-template"}
    untried = CODES.keys() - ROWS.keys() - AZURE.keys() - elsewhere
    assert not untried
