"""Each shape as its tools write it, and the one conversation that comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.columns import PARTS
from core.data.conversation import Message, ToolCall
from core.data.problems import DataError, Place
from core.data.shapes import SHAPES, convert, detect, read, to_messages

PLACE = Place("rows.jsonl", 7, 7)
HI = {"role": "user", "content": "Hi"}
HO = {"role": "assistant", "content": "Ho"}
WEATHER = {"name": "weather", "description": "", "parameters": {"type": "object", "properties": {}}}

ROWS: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("messages", {"messages": [HI, HO]}, [("user", "Hi"), ("assistant", "Ho")]),
    (
        "messages",
        {"messages": [{"role": "developer", "content": [{"type": "text", "text": "Be"}, " brief"]}, HI, HO]},
        [("system", "Be brief"), ("user", "Hi"), ("assistant", "Ho")],
    ),
    (
        "sharegpt",
        {"system": "S", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
        [("system", "S"), ("user", "Hi"), ("assistant", "Ho")],
    ),
    (
        "conversation-pairs",
        {
            "system": "S",
            "conversation": [{"human": "Hi", "assistant": "Ho"}, {"human": "A", "assistant": "B"}],
        },
        [("system", "S"), ("user", "Hi"), ("assistant", "Ho"), ("user", "A"), ("assistant", "B")],
    ),
    (
        "alpaca",
        {"instruction": "Add", "input": "1 2", "output": "3", "history": [["Hi", "Ho"]], "system": "S"},
        [("system", "S"), ("user", "Hi"), ("assistant", "Ho"), ("user", "Add\n1 2"), ("assistant", "3")],
    ),
    ("alpaca", {"instruction": "Add", "input": "", "output": "3"}, [("user", "Add"), ("assistant", "3")]),
    ("prompt-completion", {"prompt": "Hi", "completion": "Ho"}, [("user", "Hi"), ("assistant", "Ho")]),
    ("prompt-completion", {"prompt": [HI], "completion": [HO]}, [("user", "Hi"), ("assistant", "Ho")]),
    ("prompt-completion", {"text": "Hi", "ground_truth": "Ho"}, [("user", "Hi"), ("assistant", "Ho")]),
    (
        "query-response",
        {"query": "Hi", "response": "Ho", "history": [["A", "B"]]},
        [("user", "A"), ("assistant", "B"), ("user", "Hi"), ("assistant", "Ho")],
    ),
    ("question-answer", {"question": "Hi", "answer": "Ho"}, [("user", "Hi"), ("assistant", "Ho")]),
    (
        "question-answer",
        {
            "question": "Who?",
            "context": "Ann is.",
            "answers": {"text": ["Ann", "she"], "answer_start": [0, 4]},
        },
        [("user", "Ann is.\n\nWho?"), ("assistant", "Ann")],
    ),
    ("text", {"text": "All of it."}, []),
    ("text-label", {"sentence": "Nice", "label": 1}, []),
    ("text-label", {"Review": "Nice", "Sentiment": "good"}, []),
    (
        "preference",
        {"prompt": "Hi", "chosen": "Ho", "rejected": "No"},
        [("user", "Hi"), ("assistant", "Ho")],
    ),
    (
        "preference",
        {"chosen": [HI, HO], "rejected": [HI, {"role": "assistant", "content": "No"}]},
        [("user", "Hi"), ("assistant", "Ho")],
    ),
    (
        "preference",
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Ho"},
            "rejected": {"from": "gpt", "value": "No"},
        },
        [("user", "Hi"), ("assistant", "Ho")],
    ),
    ("kto", {"prompt": "Hi", "completion": "Ho", "label": True}, [("user", "Hi"), ("assistant", "Ho")]),
    ("kto", {"messages": [HI, HO], "kto_tag": False}, [("user", "Hi"), ("assistant", "Ho")]),
    ("tokens", {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}, []),
]


@pytest.mark.parametrize(("shape", "value", "turns"), ROWS)
def test_every_shape_becomes_one_conversation(
    shape: str, value: dict[str, Any], turns: list[tuple[str, str]]
) -> None:
    conversation, problems = read(value, PLACE)
    assert problems == []
    assert conversation is not None
    assert conversation.shape == shape == detect(value)
    assert [(turn.role, turn.content) for turn in conversation.messages] == turns
    assert (conversation.path, conversation.line, conversation.row) == ("rows.jsonl", 7, 7)


def test_every_shape_has_a_row_above() -> None:
    assert {shape for shape, _, _ in ROWS} == set(SHAPES)


def test_what_is_not_in_the_turns_is_kept_too() -> None:
    pair = convert({"prompt": "Hi", "chosen": "Ho", "rejected": "No"}, PLACE)
    assert pair.rejected == (Message("assistant", "No"),)
    assert convert({"prompt": "Hi", "completion": "Ho", "label": False}, PLACE).wanted is False
    labelled = convert({"text": "Nice", "label": 1}, PLACE)
    assert (labelled.text, labelled.label) == ("Nice", "1")
    tokens = convert({"token_ids": [5, 6]}, PLACE)
    assert tokens.token_ids == tokens.token_labels == (5, 6)


def test_tool_calls_of_openai_and_of_sharegpt_are_the_same() -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}
    ]
    openai = {
        "messages": [
            HI,
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "name": "weather", "tool_call_id": "a", "content": "rain"},
            HO,
        ],
        "tools": [{"type": "function", "function": WEATHER}],
    }
    sharegpt = {
        "conversations": [
            {"from": "human", "value": "Hi"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Bonn"}}'},
            {"from": "observation", "value": "rain"},
            {"from": "gpt", "value": "Ho"},
        ],
        "tools": json.dumps([WEATHER]),
    }
    one, two = convert(openai, PLACE), convert(sharegpt, PLACE)
    assert one.messages[1].tool_calls == (ToolCall("weather", {"city": "Bonn"}, "a"),)
    assert two.messages[1].tool_calls == (ToolCall("weather", {"city": "Bonn"}),)
    assert [turn.role for turn in one.messages] == [turn.role for turn in two.messages]
    assert (one.messages[2].name, one.messages[2].tool_call_id) == ("weather", "a")
    assert two.tools == (WEATHER,)
    assert convert(to_messages(one), PLACE) == one


def test_arguments_that_are_encoded_twice_are_decoded_and_named() -> None:
    call = {"function": {"name": "weather", "arguments": json.dumps(json.dumps({"city": "Bonn"}))}}
    row, problems = read(
        {"messages": [HI, {"role": "assistant", "content": "", "tool_calls": [call]}, HO]}, PLACE
    )
    assert row is not None and row.messages[1].tool_calls[0].arguments == {"city": "Bonn"}
    assert [problem.code for problem in problems] == ["tool-arguments-twice", "repeated-role"]


def test_weights_and_names_survive_the_way_to_messages_and_back() -> None:
    value = {"messages": [{**HI, "name": "ann"}, {**HO, "weight": 0}, HI, {**HO, "weight": 1.0}]}
    row = convert(value, PLACE)
    assert [turn.weight for turn in row.messages] == [1, 0, 1, 1]
    assert row.messages[0].name == "ann"
    assert convert(to_messages(row), PLACE) == row


def test_a_row_to_classify_is_written_as_a_question_and_its_class() -> None:
    row = to_messages(convert({"text": "Nice", "label": 1}, PLACE))
    assert row == {"messages": [{"role": "user", "content": "Nice"}, {"role": "assistant", "content": "1"}]}
    with pytest.raises(DataError, match="no turns to write"):
        to_messages(convert({"text": "Nice"}, PLACE))


# Mapping of columns


def test_a_mapping_names_the_columns_of_a_row() -> None:
    columns = {"prompt": "frage", "completion": "antwort", "system": "rolle"}
    row = convert({"frage": "Hi", "antwort": "Ho", "rolle": "S", "id": 4}, PLACE, columns)
    assert [(turn.role, turn.content) for turn in row.messages] == [
        ("system", "S"), ("user", "Hi"), ("assistant", "Ho"),
    ]  # fmt: skip
    with pytest.raises(DataError, match="no known shape"):
        convert({"frage": "Hi", "antwort": "Ho"}, PLACE)


def test_a_mapping_goes_before_the_usual_names() -> None:
    """Both columns exist; the user said which one is meant."""
    value = {"prompt": "old", "better": "new", "completion": "Ho"}
    row = convert(value, PLACE, {"prompt": "better"})
    assert row.messages[0].content == "new"


def test_a_mapping_names_the_keys_of_turns() -> None:
    value = {"dialog": [{"who": "user", "says": "Hi"}, {"who": "assistant", "says": "Ho"}]}
    row = convert(value, PLACE, {"messages": "dialog", "role": "who", "content": "says"})
    assert [(turn.role, turn.content) for turn in row.messages] == [("user", "Hi"), ("assistant", "Ho")]


def test_every_part_of_a_mapping_reaches_some_reader() -> None:
    """A part that no reader looks at would be accepted and then ignored."""
    samples: dict[str, dict[str, Any]] = {
        "messages": {"messages": [HI, HO]}, "role": {"messages": [HI, HO]}, "content": {"messages": [HI, HO]},
        "system": {"system": "S", "prompt": "Hi", "completion": "Ho"},
        "tools": {"tools": [WEATHER], "prompt": "Hi", "completion": "Ho"},
        "prompt": {"prompt": "Hi", "completion": "Ho"}, "completion": {"prompt": "Hi", "completion": "Ho"},
        "history": {"query": "Hi", "response": "Ho", "history": [["A", "B"]]},
        "chosen": {"prompt": "Hi", "chosen": "Ho", "rejected": "No"},
        "rejected": {"prompt": "Hi", "chosen": "Ho", "rejected": "No"},
        "wanted": {"prompt": "Hi", "completion": "Ho", "wanted": True},
        "text": {"text": "Hi", "label": "a"}, "label": {"text": "Hi", "label": "a"},
        "token_ids": {"token_ids": [1]}, "token_labels": {"token_ids": [1], "token_labels": [-100]},
    }  # fmt: skip
    assert set(samples) == set(PARTS)
    for part, value in samples.items():
        plain = convert(value, PLACE)
        renamed = _renamed(value, part)
        assert convert(renamed, PLACE, {part: "x"}) == plain, part
        unmapped, _ = read(renamed, PLACE)
        assert unmapped != plain, part


def _renamed(value: dict[str, Any], part: str) -> dict[str, Any]:
    if part in ("role", "content"):
        turns = [
            {"x" if key == part else key: item for key, item in turn.items()} for turn in value["messages"]
        ]
        return {"messages": turns}
    return {"x" if key == part else key: item for key, item in value.items()}


# Whatever comes


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
KEYS = st.sampled_from(
    ["messages", "conversations", "conversation", "role", "content", "from", "value", "prompt", "completion",
     "chosen", "rejected", "label", "text", "instruction", "input", "output", "history", "system", "tools",
     "tool_calls", "function", "arguments", "query", "response", "question", "answers", "input_ids", "labels",
     "human", "assistant", "weight"]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS | st.sampled_from(["user", "assistant", "gpt", "human", "function_call", "{}", "[]"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_object_is_a_conversation_or_has_a_problem_that_says_why(value: dict[str, Any]) -> None:
    conversation, problems = read(value, PLACE)
    assert (conversation is None) == any(problem.severity == "error" for problem in problems)
    assert all(problem.sentence and problem.fix for problem in problems)
