"""Evaluating a run: base beside tuned on rows neither was trained on, written into the run's report."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.training.figures import Losses
from core.training.held_out import HeldOut, held_out, trained_on
from core.training.inputs import Files, freeze_files
from core.training.questions import questions
from core.training.replies import SAMPLES, TEMPERATURE, Replies
from core.training.report_file import put_evaluation, read
from core.training.sides import SIDES, Sides, Subject, best_device, read_subject

VERSION = 1


@dataclass(frozen=True)
class Wanted:
    """What is to be measured.

    Args:
        run: the run's directory.
        folder: its model or one of its checkpoints, in the run's directory.
        file: rows to measure on instead of the run's own validation rows, an absolute path.
        rows: how many at most; the recipe's seed decides which.
        max_tokens: longest reply.
    """

    run: Path
    folder: Path
    file: Path | None
    rows: int
    max_tokens: int


@dataclass(frozen=True)
class Progress:
    """How far it is: `done` of `total` rows of a phase; a total of 0 where there is nothing to count."""

    phase: str
    done: int = 0
    total: int = 0


Work = Generator[Progress, None, dict[str, Any]]


def evaluate_run(wanted: Wanted) -> Work:
    """Measure, and write what was measured into the run's `report.json`; nothing is written when it fails or is given
    up.

    Returns:
        What was written under `evaluation`.

    Raises:
        FinetuiError: of rows, model or report, naming what is wrong.
    """
    when, started = time.time(), time.perf_counter()
    report = wanted.run / "report.json"
    step = read(report).get("step")  # before the work: a damaged one is better known now
    yield Progress("reading the rows")
    subject = read_subject(wanted.run, wanted.folder)
    seed = subject.recipe.value("seed")
    files = freeze_files(subject.recipe, wanted.run / "data" / "sources.json")
    held = held_out(subject.recipe, files, wanted.file, wanted.rows, seed)
    yield Progress("loading base and tuned model")
    sides = Sides(subject, best_device())
    losses = Losses(subject, sides)
    yield from _counted("measuring the loss", losses.measure(held), len(held))
    replies = Replies(sides, subject.renderer, wanted.max_tokens)
    samples: list[dict[str, Any]] = []
    if subject.task != "classification":
        total = sum(1 for _ in questions(held, scored=True))
        if total:
            yield from _counted("asking base and tuned", replies.ask(held), total)
        samples = yield from _counted("sampling replies", replies.sample(held, seed), SAMPLES)
    evaluation = {
        "version": VERSION,
        "when": when,
        "seconds": time.perf_counter() - started,
        "device": sides.device.type,
        **_about(wanted, subject, held, step),
        **_results(losses, replies),
        "samples": samples,
        "worst": replies.worst.rows(),
        "notes": list(_notes(subject, files, held, losses, replies)),
    }
    put_evaluation(report, evaluation)
    return evaluation


def _counted(phase: str, work: Generator[int, None, Any], total: int) -> Generator[Progress, None, Any]:
    """The progress of a piece of work that yields how many rows are done; returns what it returns."""
    while True:
        try:
            done = next(work)
        except StopIteration as end:
            return end.value
        yield Progress(phase, done, total)


def _about(wanted: Wanted, subject: Subject, held: HeldOut, ended: int | None) -> dict[str, Any]:
    """What was measured on what, and how; `ended` is the step of the run's model."""
    step = subject.folder.name.removeprefix("step-")
    return {
        "task": subject.task,
        "model": subject.folder.relative_to(wanted.run).as_posix(),
        "checkpoint": int(step) if step.isdecimal() else None,
        "step": int(step) if step.isdecimal() else ended,
        "data": {
            "kind": held.kind,
            "available": held.available,
            "files": [{"title": part.file.title, "sha256": part.file.sha256} for part in held.parts],
        },
        "seed": subject.recipe.value("seed"),
        "max_tokens": wanted.max_tokens,
        "temperature": TEMPERATURE,
    }


def _results(losses: Losses, replies: Replies) -> dict[str, Any]:
    """Figures of both sides, and which classes were taken for which."""
    confusion = losses.confusion or {
        side: found for side in SIDES if (found := replies.scores[side].confusion) is not None
    }
    return {
        "rows": losses.rows,
        "trained_tokens": losses.trained_tokens,
        "dropped": losses.dropped,
        "cut": losses.cut,
        "asked": replies.scores["tuned"].rows,
        **{side: {**losses.figures(side), **replies.scores[side].figures()} for side in SIDES},
        "confusion": {
            "labels": list(confusion["tuned"].labels),
            **{side: found.as_cells() for side, found in confusion.items()},
        }
        if confusion
        else None,
    }


def _notes(subject: Subject, files: Files, held: HeldOut, losses: Losses, replies: Replies) -> Iterable[str]:
    """What has to be known to read the figures rightly."""
    if trained_on(files, held):
        yield "The run was trained on this very file: the figures show what it remembers, not what it has learned."
    if subject.task == "classification":
        yield "The base has no head for these classes: its figures are those of the one training began with, by chance."
    if subject.task == "dpo":
        yield "Preference and margin are measured against the base, whose own margin is 0 by definition."
    if losses.dropped or losses.cut:
        yield (
            f"{losses.cut} rows were cut to the run's sequence length, "
            f"{losses.dropped} left out since nothing to learn was within it."
        )
    if replies.too_long:
        yield f"{replies.too_long} prompts leave the model no room for a reply; they were not asked."
