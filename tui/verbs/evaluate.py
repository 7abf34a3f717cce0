"""`finetui evaluate`: a run's model beside its base, on rows neither was trained on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from core.errors import FinetuiError
from tui.evaluating import MAX_TOKENS, ROWS, Settings, Step, measure
from tui.verbs.output import errors_told, out, out_json, say

TOLD_S = 2.0
"""Rows done are told at most this often."""

WIDTH = 100


class MissingFileError(FinetuiError):
    """A file that was named is not there."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("evaluate")(evaluate)


def evaluate(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id, the beginning of an id, or name.", show_default=False)
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="FILE", help="Other rows than the run's validation rows.", show_default=False
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows at most, chosen by the run's seed.")] = ROWS,
    checkpoint: Annotated[
        int | None,
        typer.Option(
            "--checkpoint", metavar="STEP", help="A checkpoint instead of the model.", show_default=False
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Longest reply.")] = MAX_TOKENS,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a run's model beside its base: losses, accuracies, scored replies.

    What is measured also goes into the run's report.json, under `evaluation`.
    """
    from tui.evaluation_text import lines
    from tui.exporting import find

    with errors_told():
        must_exist(data)
        what = find(run, checkpoint)
        say(what.title)
        found = asyncio.run(measure(what, Settings(rows, max_tokens, data), teller()))
        if json:
            out_json(found)
            return
        for line in lines(found, time.time(), WIDTH):
            out(line)


def must_exist(*files: Path | None) -> None:
    """Refuse files that aren't there; a worker would only tell after its libraries are loaded.

    Raises:
        MissingFileError: one of them.
    """
    for file in files:
        if file is not None and not file.is_file():
            raise MissingFileError(f"There is no file {file}.", "", "Name a file of rows or of prompts.")


def teller() -> Callable[[Step], None]:
    """Says each new phase at once, and how many rows are done now and then."""
    told, last = Step(""), 0.0

    def tell(step: Step) -> None:
        nonlocal told, last
        if step != told and (step.phase != told.phase or time.monotonic() - last > TOLD_S):
            told, last = step, time.monotonic()
            say(f"{step} ...")

    return tell
