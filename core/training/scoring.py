"""Scoring replies against the answers that were expected. Needs no torch, and keeps counts, never the replies.

Free answers are compared as SQuAD does it (Rajpurkar et al., arXiv 1606.05250, its evaluate-v1.1): exact match and
token F1 after case, punctuation, articles and white space are evened out. Where the expected answers come from a
small set, a reply is also read as one of that set, or as something other.
"""

from __future__ import annotations

import heapq
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

MOST_CLASSES = 20
MOST_WORDS = 5
ROWS_A_CLASS = 2
"""What makes a set of answers closed: at most so many, of at most so many words, each expected so often on average."""

WORST_ROWS = 20
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Lower case, without punctuation and English articles, words one space apart.

    Where that leaves nothing it goes less far, so that the answers `A`, `+` and `-` stay three. Punctuation is what
    Unicode calls so, beside the ASCII signs of the original.
    """
    lower = " ".join(text.lower().split())
    letters = "".join(character for character in lower if not _is_punctuation(character))
    bare = " ".join(letters.split())
    return " ".join(_ARTICLES.sub(" ", bare).split()) or bare or lower


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def exact_match(reply: str, expected: str) -> bool:
    """Whether two texts are the same once normalised."""
    return normalise(reply) == normalise(expected)


def token_f1(reply: str, expected: str) -> float:
    """Harmonic mean of precision and recall of the reply's words, from 0 to 1, each as often as it occurs."""
    given, wanted = normalise(reply).split(), normalise(expected).split()
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))


def closed_set(answers: Iterable[str]) -> tuple[str, ...]:
    """The answers that occur, in the order of the alphabet, where they are a closed set; else none.

    Reads no further than is needed to know.
    """
    found: dict[str, str] = {}
    rows = 0
    for answer in answers:
        key = normalise(answer)
        if not key or len(key.split()) > MOST_WORDS:
            return ()
        found.setdefault(key, answer.strip())
        rows += 1
        if len(found) > MOST_CLASSES:
            return ()
    if len(found) < 2 or rows < ROWS_A_CLASS * len(found):
        return ()
    return tuple(found[key] for key in sorted(found))


class Confusion:
    """How often which class was given where which was wanted.

    Args:
        labels: of the classes, a class is its number here; the number after the last one stands for any other answer.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.cells: Counter[tuple[int, int]] = Counter()
        self._numbers = {normalise(label): number for number, label in enumerate(self.labels)}

    def add(self, wanted: int, given: int, times: int = 1) -> None:
        """Count a row by its classes' numbers."""
        self.cells[wanted, given] += times

    def add_reply(self, expected: str, reply: str) -> None:
        """Count a row by its texts."""
        other = len(self.labels)
        self.add(self._numbers[normalise(expected)], self._numbers.get(normalise(reply), other))

    def figures(self) -> dict[str, float]:
        """`accuracy`, and `macro_f1`, the mean of the F1 of the classes that were wanted or given (scikit-learn)."""
        from sklearn.metrics import accuracy_score, f1_score

        wanted, given = zip(*self.cells, strict=True)
        times = list(self.cells.values())
        classes = sorted({*wanted, *given} - {len(self.labels)})
        return {
            "accuracy": float(accuracy_score(wanted, given, sample_weight=times)),
            "macro_f1": float(
                f1_score(wanted, given, labels=classes, average="macro", sample_weight=times, zero_division=0)
            ),
        }

    def as_cells(self) -> list[list[int]]:
        """[wanted, given, times] of every pair of classes that occurred, in order."""
        return [[*pair, times] for pair, times in sorted(self.cells.items())]


class Scores:
    """Exact match and token F1 over many replies, and the classes where the answers are a closed set.

    Args:
        classes: of the closed set, or none.
    """

    def __init__(self, classes: Sequence[str] = ()) -> None:
        self.rows = 0
        self.confusion = Confusion(classes) if classes else None
        self._exact = 0
        self._f1 = 0.0

    def add(self, reply: str, expected: str) -> float:
        """Count a reply; returns its token F1."""
        f1 = token_f1(reply, expected)
        self.rows += 1
        self._exact += exact_match(reply, expected)
        self._f1 += f1
        if self.confusion is not None:
            self.confusion.add_reply(expected, reply)
        return f1

    def figures(self) -> dict[str, float]:
        """Means over the replies by name; none of no replies."""
        if not self.rows:
            return {}
        means = {"exact_match": self._exact / self.rows, "token_f1": self._f1 / self.rows}
        return means if self.confusion is None else {**means, **self.confusion.figures()}


class Worst:
    """The rows with the lowest scores, a bounded number of them; perfect ones are never among them."""

    def __init__(self, limit: int = WORST_ROWS) -> None:
        self._limit = limit
        self._added = 0
        self._heap: list[tuple[float, int, dict[str, Any]]] = []

    def add(self, score: float, row: dict[str, Any]) -> None:
        """Keep a row if it is among the worst so far; of equals the first ones stay."""
        self._added += 1
        if score < 1:
            heapq.heappush(self._heap, (-score, -self._added, row))
        if len(self._heap) > self._limit:
            heapq.heappop(self._heap)

    def rows(self) -> list[dict[str, Any]]:
        """The worst first."""
        return [row for _, _, row in sorted(self._heap, key=lambda item: item[:2], reverse=True)]
