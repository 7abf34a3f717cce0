"""Files of other tools as they are, where a folder of them is at hand: each gets the verdict it deserves."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from core.data.check import Check, Options
from core.data.conversation import Conversation
from core.data.rows import read_rows

FOLDER = Path(os.environ.get("FINETUI_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
VALID = {
    "alpaca_en_demo.json": ("alpaca", 999),
    "glaive_toolcall_en_demo.json": ("sharegpt", 300),
    "dpo_en_demo.json": ("preference", 299),
    "azure_chat_train.jsonl": ("messages", 79),
    "azure_chat_validation.jsonl": ("messages", 21),
    "azure_text_generation_train.jsonl": ("prompt-completion", 333),
    "yelp_sentiment.csv": ("text-label", 499),
    "swift_chatml.jsonl": ("messages", 3),
    "swift_sharegpt.jsonl": ("conversation-pairs", 3),
    "edge_bom_crlf.jsonl": ("messages", 12),
    "edge_duplicates.jsonl": ("messages", 18),
}


def shared(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


@pytest.mark.parametrize("name", VALID)
def test_valid_files_have_no_error_and_one_shape(name: str) -> None:
    path, (shape, rows) = shared(name), VALID[name]
    found = list(read_rows(path))
    check = Check(path, Options(cores=1))
    assert [str(problem) for problem in check if problem.severity == "error"] == []
    assert all(isinstance(row, Conversation) and row.shape == shape for row in found)
    assert (len(found), check.rows, check.conversations) == (rows, rows, rows)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("broken_truncated_line_7.jsonl", [("broken-json", "error", 7)]),
        ("broken_bad_role_line_3.jsonl", [("unknown-role", "error", 3)]),
        ("broken_empty.jsonl", [("empty-file", "error", 0)]),
        ("broken_mixed_schemas.jsonl", [("mixed-shapes", "warning", 5), ("few-rows", "warning", 0)]),
        ("openai_toy_chat.jsonl", [("no-user-turn", "warning", 4), ("few-rows", "warning", 0)]),
        ("edge_duplicates.jsonl", [("duplicate", "warning", line) for line in range(13, 19)]),
        ("edge_bom_crlf.jsonl", []),
        ("azure_chat_train.jsonl", []),
    ],
)
def test_what_is_wrong_is_found_at_its_line_and_nothing_else(
    name: str, expected: list[tuple[str, str, int]]
) -> None:
    problems = Check(shared(name), Options(cores=1))
    found = [(problem.code, problem.severity, problem.line) for problem in problems]
    assert Counter(found) == Counter(expected)


def test_the_overlong_row_is_found_by_its_tokens(make_model: Callable[..., Path]) -> None:
    path = shared("openai_toy_chat.jsonl")
    options = Options(cores=1, model_folder=make_model("smollm2"), sequence_length=2048)
    lines = {
        problem.line for problem in Check(path, options) if problem.code in ("too-long", "answer-cut-off")
    }
    assert lines == {5}


def test_the_service_s_own_sample_passes_its_rules() -> None:
    paths = [shared(name) for name in ("azure_chat_train.jsonl", "azure_chat_validation.jsonl")]
    assert not [problem for problem in Check(paths, Options(cores=1, azure=True)) if problem.code != "leak"]
