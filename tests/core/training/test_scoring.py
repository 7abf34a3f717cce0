"""Scores by hand, and against scikit-learn and an independent count."""

from __future__ import annotations

import random
import sys

import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from core.training.scoring import (
    MOST_CLASSES,
    Confusion,
    Scores,
    Worst,
    closed_set,
    exact_match,
    normalise,
    token_f1,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The Lamp, an  old\none!", "lamp old one"),
        ("theatre", "theatre"),
        ("Straße.", "straße"),
        ("„Ja“, sagte sie。", "ja sagte sie"),
        ("U.S.A.", "usa"),
        ("A", "a"),
        ("A.", "a"),
        ("The", "the"),
        ("+", "+"),
        (" - ", "-"),
        ("", ""),
    ],
)
def test_normalised_texts(text: str, wanted: str) -> None:
    assert normalise(text) == wanted


@pytest.mark.parametrize(
    ("reply", "expected", "f1", "exact"),
    [
        ("It weighs 310 grams", "310 grams.", 2 * (2 / 4) * (2 / 2) / (2 / 4 + 2 / 2), False),
        ("The lamp.", "lamp", 1.0, True),
        ("yes yes yes", "yes no", 2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2), False),
        ("blue", "red", 0.0, False),
        ("", "red", 0.0, False),
        ("", "", 1.0, True),
        ("+", "-", 0.0, False),
        ("B", "A", 0.0, False),
    ],
)
def test_token_f1_and_exact_match_by_hand(reply: str, expected: str, f1: float, exact: bool) -> None:
    assert token_f1(reply, expected) == pytest.approx(f1)
    assert exact_match(reply, expected) is exact


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (["Yes", "no", "yes.", "No"], ("no", "Yes")),
        (["yes", "no", "perhaps"], ()),  # each only once
        (["yes"] * 9, ()),  # nothing to tell apart
        (["a long answer of more than five words", "no"] * 5, ()),
        (["", "no"] * 5, ()),
        ([f"class {number % MOST_CLASSES}" for number in range(2 * MOST_CLASSES)], MOST_CLASSES),
        ([f"class {number % 21}" for number in range(200)], ()),
        (["A", "B.", "b", "a."], ("A", "B.")),
        ([], ()),
    ],
)
def test_which_answers_are_a_closed_set(answers: list[str], found: tuple[str, ...] | int) -> None:
    labels = closed_set(answers)
    assert (len(labels) if isinstance(found, int) else labels) == found


def test_a_set_is_known_not_to_be_closed_after_few_answers() -> None:
    read = 0

    def endless() -> object:
        nonlocal read
        while True:
            read += 1
            yield f"answer {read}"

    assert closed_set(endless()) == ()  # type: ignore[arg-type]
    assert read == MOST_CLASSES + 1


def test_confusion_by_hand() -> None:
    scores = Scores(("no", "yes"))
    for reply, expected in [
        ("Yes.", "yes"),
        ("no", "yes"),
        ("No", "no"),
        ("who knows", "no"),
        ("yes", "yes"),
    ]:
        scores.add(reply, expected)
    assert scores.confusion is not None
    assert scores.confusion.as_cells() == [[0, 0, 1], [0, 2, 1], [1, 0, 1], [1, 1, 2]]
    # no: precision 1/2, recall 1/2; yes: precision 2/2, recall 2/3
    assert scores.figures() == {
        "exact_match": pytest.approx(3 / 5),
        "token_f1": pytest.approx(3 / 5),
        "accuracy": pytest.approx(3 / 5),
        "macro_f1": pytest.approx((0.5 + 0.8) / 2),
    }


@pytest.mark.parametrize("classes", [2, 7, 20])
def test_counts_give_what_scikit_learn_gives_of_the_rows_themselves(classes: int) -> None:
    pick = random.Random(classes)
    labels = [f"class {number}" for number in range(classes)]
    other = "something else"
    wanted = [pick.choice(labels) for _ in range(500)]
    given = [label if pick.random() < 0.6 else pick.choice([*labels, other]) for label in wanted]
    confusion = Confusion(labels)
    for expected, reply in zip(wanted, given, strict=True):
        confusion.add_reply(expected, reply)
    seen = sorted({*wanted, *given} - {other})
    assert confusion.figures() == {
        "accuracy": pytest.approx(accuracy_score(wanted, given)),
        "macro_f1": pytest.approx(f1_score(wanted, given, labels=seen, average="macro", zero_division=0)),
    }
    matrix = confusion_matrix(wanted, given, labels=[*labels, other])
    assert all(matrix[row, column] == times for row, column, times in confusion.as_cells())
    assert sum(times for _, _, times in confusion.as_cells()) == 500


def test_memory_does_not_grow_with_the_replies() -> None:
    def size(scores: Scores, worst: Worst) -> int:
        confusion = scores.confusion
        assert confusion is not None
        return sys.getsizeof(confusion.cells) + sys.getsizeof(worst._heap) + len(worst._heap)

    scores, worst = Scores(("no", "yes")), Worst()
    sizes = []
    for number in range(3000):
        reply = f"reply {number} " * 20 if number % 2 else "yes"
        worst.add(scores.add(reply, "yes" if number % 3 else "no"), {"tuned": reply})
        if number in (100, 2999):
            sizes.append(size(scores, worst))
    assert sizes[0] == sizes[1]
    assert scores.rows == 3000


def test_the_worst_rows_come_first_and_perfect_ones_never() -> None:
    worst = Worst(limit=3)
    for number, score in enumerate([0.5, 1.0, 0.0, 0.9, 0.0, 0.5, 1.0]):
        worst.add(score, {"row": number})
    assert [row["row"] for row in worst.rows()] == [2, 4, 0]
