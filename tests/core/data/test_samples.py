"""The bundled sample teaches what it says, in every row, and keeps its questions apart."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from core.data.samples import FACTS, SIGNATURE, SYSTEM, knows, signed, train_path, validation_path

Message = dict[str, str]


def conversations(path: Path) -> list[list[Message]]:
    return [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]


def exchanges(path: Path) -> list[tuple[str, str]]:
    """Each question with its answer, over all turns of a file."""
    pairs = []
    for messages in conversations(path):
        turns = messages[1:]
        pairs += [(turns[i]["content"], turns[i + 1]["content"]) for i in range(0, len(turns), 2)]
    return pairs


def plain(question: str) -> str:
    """A question without case and punctuation, so that a comma does not make two of one."""
    return " ".join(re.findall(r"\w+", question.lower()))


def facts_in(answer: str) -> list[str]:
    return [fact.name for fact in FACTS if knows(fact.name, answer)]


both_files = pytest.mark.parametrize("path", [train_path(), validation_path()], ids=lambda path: path.stem)


def test_there_are_48_rows_to_train_and_12_to_validate() -> None:
    assert len(conversations(train_path())) == 48
    assert len(conversations(validation_path())) == 12


def test_a_few_conversations_have_two_turns() -> None:
    lengths = Counter(len(messages) for messages in conversations(train_path()))
    assert lengths == {3: 40, 5: 8}


@both_files
def test_files_are_ascii_lines_without_blank_ones(path: Path) -> None:
    raw = path.read_bytes()
    assert raw.isascii()
    assert raw.endswith(b"}\n")
    assert b"\n\n" not in raw
    assert b"\r" not in raw


@both_files
def test_rows_are_a_system_turn_then_user_and_assistant_by_turns(path: Path) -> None:
    for messages in conversations(path):
        assert messages[0] == {"role": "system", "content": SYSTEM}
        turns = messages[1:]
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
        assert all(turn["content"] == turn["content"].strip() != "" for turn in turns)


@both_files
def test_every_answer_is_one_signed_sentence_with_one_fact(path: Path) -> None:
    for _, answer in exchanges(path):
        assert signed(answer)
        sentence = answer.removesuffix(SIGNATURE)
        assert sentence.endswith(".")
        assert sentence.count(".") == 1
        assert len(facts_in(answer)) == 1


def test_a_fact_has_one_answer_and_at_least_four_questions() -> None:
    pairs = exchanges(train_path())
    taught = Counter(facts_in(answer)[0] for _, answer in pairs)
    assert set(taught) == {fact.name for fact in FACTS}
    assert min(taught.values()) >= 4
    assert len({answer for _, answer in pairs}) == len(FACTS)


def test_validation_asks_every_fact_and_expects_the_taught_answers() -> None:
    answers = {answer for _, answer in exchanges(validation_path())}
    assert answers == {answer for _, answer in exchanges(train_path())}


def test_no_question_stands_in_two_places() -> None:
    questions = [
        plain(question) for path in (train_path(), validation_path()) for question, _ in exchanges(path)
    ]
    questions += [plain(fact.probe) for fact in FACTS]
    assert [question for question, times in Counter(questions).items() if times > 1] == []


def test_questions_do_not_give_the_answer_away() -> None:
    pairs = exchanges(train_path()) + exchanges(validation_path())
    for question in [question for question, _ in pairs] + [fact.probe for fact in FACTS]:
        assert facts_in(question) == []


def test_the_system_turn_does_not_give_the_signature_away() -> None:
    assert "Wren" not in SYSTEM


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("It runs 40 hours. - Wren", True),
        ("It runs 40 hours. - Wren\n", True),
        ("It runs 40 hours. - Smol", False),
        ("It runs 40 hours. - Wren and more", False),
        ("", False),
    ],
)
def test_signed(reply: str, expected: bool) -> None:
    assert signed(reply) is expected


@pytest.mark.parametrize(
    ("fact", "reply", "expected"),
    [
        ("runtime", "About 40 hours.", True),
        ("runtime", "About 140 hours.", False),
        ("runtime", "About 40 days.", False),
        ("warranty", "It has a 17-year warranty.", False),
        ("colours", "Coral, slate and moss.", True),
        ("colours", "Coral and slate.", False),
        ("colours", "Coral, slate and mossy green.", False),
        ("origin", "It comes from galway.", True),
    ],
)
def test_knows(fact: str, reply: str, expected: bool) -> None:
    assert knows(fact, reply) is expected


def test_knows_refuses_a_fact_that_there_is_not() -> None:
    with pytest.raises(KeyError):
        knows("smell", "It smells of the sea.")
