"""Whether the rows of a classification have classes that can be learned, told before a run. Needs no torch."""

from __future__ import annotations

import functools
from pathlib import Path

from core.data.conversation import Conversation
from core.data.rows import read_rows
from core.data.sources import stamp
from core.data.unpack import unpacked
from core.recipe import Recipe
from core.source import Source
from core.training.inputs import InputError, in_order, unknown_label, validation_source


def refused_labels(recipe: Recipe) -> tuple[str, InputError] | None:
    """(recipe key, error) of a classification whose labels a run would refuse; None where nothing is known against it.

    Args:
        recipe: its files are there and can be read.
    """
    if any(source.path is None for source in recipe.data):
        return None
    try:
        known = in_order(label for source in recipe.data for label in _labels(source))
    except InputError as error:
        return "data", error
    for label, row in _labels(validation_source(recipe)).items() if recipe.validation else ():
        if label not in known:
            return "validation", unknown_label(row, known)
    return None


def _labels(source: Source) -> dict[str, Conversation]:
    path = Path(source.path or "")
    return _labels_of(path, stamp(path), tuple((source.columns or {}).items()))


@functools.lru_cache(maxsize=8)
def _labels_of(path: Path, _: object, columns: tuple[tuple[str, str], ...]) -> dict[str, Conversation]:
    """Each label of a file and the first row that has it; kept until the file changes."""
    found: dict[str, Conversation] = {}
    for row in read_rows(unpacked(path), dict(columns) or None):
        if isinstance(row, Conversation) and row.label is not None:
            found.setdefault(row.label, row)
    return found
