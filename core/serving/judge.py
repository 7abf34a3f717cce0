"""Two sides asked the same, greedily, and held against each other and against what was expected.

Scores are the engine's own (core.training.scoring). What came out is kept with the run that one of them is of, in its
report.json under `judged`; of two endpoints with the chats.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.serving.judge_rows import Asked, JudgeError, Question, from_prompts, from_rows
from core.serving.judgements import keep
from core.serving.reply import Made, Refusal
from core.serving.talk import SIDES
from core.training.report_file import read
from core.training.scoring import Scores, closed_set

VERSION = 1
ASKING = "asking A and B"
CHUNK = 16
"""Questions that one side answers before the other does."""

MOST_KEPT = 500
"""Replies kept of a judgement: those that differ."""

SHOWN_CHARACTERS = 4000
"""Of a text that is kept."""

Answer = Made | Refusal | None
"""A reply, a server's refusal of the prompt, or None where the model has no room for a reply."""

Answers = Callable[[Sequence[Question]], Generator[None, None, list[Answer]]]
"""Answers to questions, in order; yields while it works."""


@dataclass(frozen=True)
class Wanted:
    """What is to be judged.

    Args:
        specs: how the sides are written, by `A` and `B`.
        titles: what they are called.
        run: the directory of the run that one of them is of; None for two endpoints.
        data: rows to ask instead of the run's validation rows, an absolute path.
        prompts: prompts to ask instead of either.
        rows: how many at most.
        max_tokens: longest reply.
        seed: of the choice of rows.
        system: a system message before each prompt; rows have their own.
    """

    specs: dict[str, str]
    titles: dict[str, str]
    run: Path | None
    data: Path | None
    prompts: Path | None
    rows: int
    max_tokens: int
    seed: int
    system: str


@dataclass(frozen=True)
class Progress:
    """How far it is: `done` of `total` questions; a total of 0 where there is nothing to count."""

    phase: str
    done: int = 0
    total: int = 0


class Side:
    """What one side has said so far."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.scores = Scores(classes)
        self._made: list[Made] = []
        self.seconds = 0.0
        self.refused = 0

    def add(self, made: Made, question: Question) -> float | None:
        """Count a reply; returns its token F1 where there is an expected answer."""
        self._made.append(made)
        return self.scores.add(made.text, question.expected) if question.scored else None

    def figures(self) -> dict[str, Any]:
        """Scores by name, and tokens, seconds and cost of all replies; None what is not known of every one."""
        costs = [made.cost_usd for made in self._made]
        tokens = [made.tokens for made in self._made]
        return {
            **self.scores.figures(),
            "tokens": None if None in tokens else sum(filter(None, tokens)),
            "cost_usd": None if None in costs else sum(filter(None, costs)),
            "seconds": self.seconds,
            "cut": sum(made.ended == "length" for made in self._made),
            "refused": self.refused,
            "blocked": sum(made.ended == "blocked" for made in self._made),
        }


def questions(wanted: Wanted) -> Asked:
    """What both sides will be asked; what is wrong with it is better known before a model is loaded than after.

    Raises:
        FinetuiError: of rows, or of the run's report, naming what is wrong.
    """
    if wanted.run is not None:
        read(wanted.run / "report.json")
    if wanted.prompts is not None:
        return from_prompts(wanted.prompts, wanted.rows, wanted.system)
    return from_rows(wanted.run, wanted.data, wanted.rows, wanted.seed)


def judge(
    wanted: Wanted, asked: Asked, answers: dict[str, Answers]
) -> Generator[Progress, None, dict[str, Any]]:
    """Ask both sides, and keep what came out; nothing is kept when it fails or is given up.

    A prompt that a server refuses is left out on both sides, and told with its reason.

    Args:
        wanted: what is to be judged.
        asked: its `questions`.
        answers: of each side.

    Returns:
        What was kept.

    Raises:
        JudgeError: a side refuses everything, and not for what is said.
        FinetuiError: of models or endpoints, naming what is wrong.
    """
    when, started = time.time(), time.perf_counter()
    classes = closed_set(item.expected for item in asked.questions if item.scored)
    sides = {side: Side(classes) for side in SIDES}
    differ: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    counts = {"asked": 0, "same": 0, "A": 0, "B": 0, "equal": 0, "left_out": 0}
    for first in range(0, len(asked.questions), CHUNK):
        chunk = asked.questions[first : first + CHUNK]
        made: dict[str, list[Answer]] = {}
        for side in SIDES:
            began = time.perf_counter()
            work = answers[side](chunk)
            while True:
                try:
                    next(work)
                except StopIteration as end:
                    made[side] = end.value
                    break
                yield Progress(ASKING, first, len(asked.questions))
            sides[side].seconds += time.perf_counter() - began
            if first == 0:
                _refuse_silent(wanted.titles[side], made[side])
        for question, *both in zip(chunk, *(made[side] for side in SIDES), strict=True):
            if any(isinstance(answer, Refusal) for answer in both):
                refused.append(_refused(question, both, sides))
                continue
            found = _compared(question, both, sides, counts)
            if found is not None and len(differ) < MOST_KEPT:
                differ.append(found)
        yield Progress(ASKING, first + len(chunk), len(asked.questions))
    result = {
        "version": VERSION,
        "when": when,
        "seconds": time.perf_counter() - started,
        "data": {"kind": asked.kind, "available": asked.available, "files": list(asked.files)},
        "seed": wanted.seed,
        "max_tokens": wanted.max_tokens,
        "asked": counts["asked"],
        "scored": sides["A"].scores.rows,
        "same": counts["same"],
        "better": {name: counts[name] for name in (*SIDES, "equal")},
        **{
            side: {"spec": wanted.specs[side], "title": wanted.titles[side], **sides[side].figures()}
            for side in SIDES
        },
        "confusion": _confusion(sides, classes),
        "replies": differ,
        "refused": refused[:MOST_KEPT],
        "notes": [*asked.notes, *_notes(counts, len(refused), asked)],
    }
    keep(result, wanted.run)
    return result


def _refuse_silent(title: str, made: Sequence[Answer]) -> None:
    """Raise where a server refuses all of its first questions: what it dislikes is the way it is asked."""
    found = [answer for answer in made if isinstance(answer, Refusal)]
    if made and len(found) == len(made) and not any(answer.blocked for answer in found):
        raise JudgeError(
            f"{title} refuses whatever it is asked.",
            found[0].reason,
            "Read its answer; change what it names.",
        )


def _refused(question: Question, both: Sequence[Answer], sides: dict[str, Side]) -> dict[str, Any]:
    """Count a question that a side refuses; returns what is kept of it: each side's reason, empty where it has none."""
    reasons = {}
    for side, answer in zip(SIDES, both, strict=True):
        sides[side].refused += isinstance(answer, Refusal)
        reasons[side] = answer.reason if isinstance(answer, Refusal) else ""
    clipped = {"prompt": question.text[:SHOWN_CHARACTERS], "expected": question.expected[:SHOWN_CHARACTERS]}
    return {"where": question.where, **clipped, **reasons}


def _compared(
    question: Question, both: Sequence[Answer], sides: dict[str, Side], counts: dict[str, int]
) -> dict[str, Any] | None:
    """Count a question's replies; returns what is kept of them where they differ."""
    a, b = both
    if not (isinstance(a, Made) and isinstance(b, Made)):
        counts["left_out"] += 1
        return None
    f1 = {"A": sides["A"].add(a, question), "B": sides["B"].add(b, question)}
    counts["asked"] += 1
    if f1["A"] is not None and f1["B"] is not None:
        counts["equal" if f1["A"] == f1["B"] else "A" if f1["A"] > f1["B"] else "B"] += 1
    if a.text.strip() == b.text.strip():
        counts["same"] += 1
        return None
    texts = {"prompt": question.text, "expected": question.expected, "A": a.text, "B": b.text}
    clipped = {name: text.strip()[:SHOWN_CHARACTERS] for name, text in texts.items()}
    return {"where": question.where, **clipped, "f1": f1}


def _confusion(sides: dict[str, Side], classes: Sequence[str]) -> dict[str, Any] | None:
    found = {side: confusion for side in SIDES if (confusion := sides[side].scores.confusion) is not None}
    if len(found) < len(SIDES) or not sides["A"].scores.rows:
        return None
    return {"labels": list(classes), **{side: confusion.as_cells() for side, confusion in found.items()}}


def _notes(counts: dict[str, int], refused: int, asked: Asked) -> Iterable[str]:
    if refused:
        yield (
            f"{refused} {'prompt was' if refused == 1 else 'prompts were'} refused, and left out on both sides; "
            "the reasons are with the replies."
        )
    if counts["left_out"]:
        yield f"{counts['left_out']} prompts leave a model no room for a reply; they were left out on both sides."
    differing = counts["asked"] - counts["same"]
    if differing > MOST_KEPT:
        yield f"The first {MOST_KEPT} of {differing} differing replies are kept."
    if not any(item.scored for item in asked.questions):
        yield "No answers are expected here: the replies are only compared with each other."
