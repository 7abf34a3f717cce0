"""The rows a trained model is measured on, read from the disk as often as they are needed and never kept.

They are the run's own validation rows, exactly those its training measured, or another file's. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from core.data.conversation import Conversation
from core.data.problems import Problem
from core.data.rows import read_rows
from core.data.sources import freeze
from core.data.split import split
from core.data.tasks import WANTS, wrong_task
from core.data.unpack import unpacked
from core.errors import FinetuiError
from core.recipe import Recipe
from core.training.inputs import SHOWN_PROBLEMS, Files, FrozenFile, listing

Item = TypeVar("Item")
Kind = Literal["validation", "split", "file"]


class HeldOutError(FinetuiError):
    """There are no rows to measure on."""


@dataclass(frozen=True)
class Part:
    """Rows of one file.

    Args:
        file: its frozen copy.
        numbers: of the rows, from 0 and ascending, among those of the file that can be read.
    """

    file: FrozenFile
    numbers: Sequence[int]


@dataclass(frozen=True)
class HeldOut:
    """Rows to measure on; iterating reads them, in order.

    Args:
        kind: the run's validation file, rows that it split off, or another file.
        task: of the run.
        parts: the files, and which of their rows.
        available: rows there were to choose from.
    """

    kind: Kind
    task: str
    parts: tuple[Part, ...]
    available: int

    def __len__(self) -> int:
        return sum(len(part.numbers) for part in self.parts)

    def __iter__(self) -> Iterator[Conversation]:
        for part in self.parts:
            wanted = set(part.numbers)
            rows = (item for item in _read(part.file, self.task) if isinstance(item, Conversation))
            last = part.numbers[-1] + 1 if part.numbers else 0
            yield from (row for number, row in enumerate(islice(rows, last)) if number in wanted)


def held_out(recipe: Recipe, files: Files, other: Path | None, limit: int, seed: int) -> HeldOut:
    """The rows to measure a run on.

    Args:
        recipe: the run's.
        files: the run's frozen files.
        other: a file to measure on instead of the run's validation rows; a copy of it is frozen.
        limit: rows at most; which ones is decided by the seed, and fewer are always among more.
        seed: of the choice.

    Raises:
        HeldOutError: the run held no rows back, or the file has broken rows or none at all.
        DataError: the file can't be read.
    """
    task = recipe.value("task")
    kind: Kind = "validation" if files.validation else "split"
    if other is not None:
        kind = "file"
        parts = [_all_of(_frozen(other, recipe), task)]
    elif files.validation:
        parts = [_all_of(files.validation, task)]
    else:
        parts = [
            Part(
                file,
                tuple(split(_count(file, task), recipe.validation_fraction or 0.0, recipe.value("seed"))[1]),
            )
            for file in files.training
        ]
    available = sum(len(part.numbers) for part in parts)
    if not available:
        raise HeldOutError(
            "This run held no rows back to measure on.",
            f"`validation_fraction` {recipe.validation_fraction:g} held none back: no file has more than one row."
            if recipe.validation_fraction
            else "Its recipe has neither `validation` nor `validation_fraction`.",
            "Name a file of rows that it was not trained on: `--data FILE`.",
        )
    return HeldOut(kind, task, _chosen(parts, available, limit, seed), available)


def trained_on(files: Files, held: HeldOut) -> bool:
    """Whether another file that is measured on is, byte for byte, one that the run was trained on."""
    known = {file.sha256 for file in files.training}
    return held.kind == "file" and any(part.file.sha256 in known for part in held.parts)


def in_chunks(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one of what is left; read only when asked for."""
    while chunk := list(islice(items, size)):
        yield chunk


def _frozen(path: Path, recipe: Recipe) -> FrozenFile:
    plain = unpacked(path)
    return FrozenFile(str(path), freeze(plain).sha256, "", plain.name, recipe.data[0].columns)


def _all_of(file: FrozenFile, task: str) -> Part:
    return Part(file, range(_count(file, task)))


def _read(file: FrozenFile, task: str) -> Iterator[Conversation | Problem]:
    """The rows of a file that the task takes, and problems in the place of broken ones."""
    for item in read_rows(file.copy, file.columns, file.name or "rows.jsonl"):
        named = replace(item, path=file.title)  # the user knows the original, not our copy
        if isinstance(named, Conversation):
            yield wrong_task(task, named) or named
        elif named.severity == "error":
            yield named


def _count(file: FrozenFile, task: str) -> int:
    """The rows of a file, after all of it was seen to be readable.

    Raises:
        HeldOutError: it is not, naming the first broken rows by line; or it has none.
    """
    good = bad = strange = 0
    shown: list[str] = []
    for item in _read(file, task):
        if isinstance(item, Conversation):
            good += 1
        else:
            bad += 1
            strange += item.code == "wrong-task"
            shown += [str(item)] if bad <= SHOWN_PROBLEMS else []
    if bad:
        raise HeldOutError(
            "\n".join(shown),
            f"{bad} of {bad + good} rows of {file.title} can't be measured on.",
            f"Name a file of {WANTS[task]}, as those that the run was trained on."
            if strange
            else listing(file),
        )
    if not good:
        raise HeldOutError(
            f"{file.title} has no rows.", "", "Name a file with rows like those of the training."
        )
    return good


def _chosen(parts: Sequence[Part], available: int, limit: int, seed: int) -> tuple[Part, ...]:
    order = np.random.default_rng(seed).permutation(available)[:limit]
    places = np.sort(order)
    chosen, first = [], 0
    for part in parts:
        after = first + len(part.numbers)
        here = places[(places >= first) & (places < after)] - first
        chosen.append(Part(part.file, tuple(part.numbers[place] for place in here.tolist())))
        first = after
    return tuple(part for part in chosen if part.numbers)
