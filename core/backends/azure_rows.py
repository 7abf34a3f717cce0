"""A recipe's rows before they are sent to Azure: how many, how many tokens, and which the service would refuse."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

from core import catalog
from core.azure import rows
from core.azure.account import load
from core.azure.assets import kept
from core.azure.models import PREFIX
from core.data.conversation import Conversation
from core.data.rendering import Renderer
from core.data.sources import stamp
from core.recipe import Recipe
from core.source import Source
from core.work import RemoteEstimate

SAMPLED_ROWS = 5000
CHARACTERS_PER_TOKEN = 4
SERVICE_EPOCHS = 1.0
"""The service's own, by its component for chat models."""


def named(recipe: Recipe) -> list[tuple[str, Source]]:
    """(recipe key, source) of all that a recipe names."""
    from core.training.inputs import validation_source

    held_out = [("validation", validation_source(recipe))] if recipe.validation else []
    return [("data", source) for source in recipe.data] + held_out


def files(recipe: Recipe) -> list[tuple[str, str, Source]]:
    """(recipe key, name, file) of those that are on this machine."""
    found = ((key, source, here(source)) for key, source in named(recipe))
    return [(key, source.path or source.title, file) for key, source, file in found if file is not None]


def here(source: Source) -> Source | None:
    """A source as a file of this machine: a data asset that was looked at is kept; None where there is none."""
    if source.asset is None:
        return source if source.path else None
    path = kept(load(), source.asset)
    return Source(path=str(path)) if path.exists() else None


def not_looked_at(recipe: Recipe) -> list[tuple[str, str]]:
    """(recipe key, asset) of the data assets whose rows nobody has looked at on this machine."""
    return [(key, source.asset) for key, source in named(recipe) if source.asset and here(source) is None]


def faults(name: str, source: Source, recipe: Recipe) -> list[tuple[str, str]]:
    """(file and line, why) of the rows of a file that can't be sent as they are."""
    counted = _read(*_key(source), recipe.value("task"), _folder(recipe))
    return [(f"{name}:{line}", against) for line, against in counted.faults]


def sizes_of(recipe: Recipe) -> RemoteEstimate:
    """Rows and tokens of a recipe; of long files the first rows are counted and the rest is scaled up."""
    from core.data.sources import select
    from core.data.split import split

    folder, task, seed = _folder(recipe), recipe.value("task"), recipe.value("seed")
    trained, held_out, tokens, sampled = 0, 0, 0.0, 0
    for source in recipe.data:
        file = here(source)
        if file is None:
            continue
        counted = _read(*_key(file), task, folder)
        fraction = 0.0 if source.asset else recipe.validation_fraction or 0.0  # an asset is not split
        kept, apart = split(counted.rows, fraction, seed)
        used = len(select(len(kept), source.weight, source.max_rows, seed))
        trained, held_out = trained + used, held_out + len(apart)
        tokens += used * counted.tokens_per_row
        sampled += counted.counted if counted.counted < counted.rows else 0
    for key, _, file in files(recipe):
        if key == "validation":
            held_out = _read(*_key(file), task, folder).rows
    return RemoteEstimate(
        rows=trained,
        validation_rows=held_out,
        epochs=recipe.epochs or SERVICE_EPOCHS,
        epochs_from="recipe" if recipe.epochs else "service",
        tokens=round(tokens),
        counted="tokenizer" if folder else "characters",
        sampled_rows=sampled,
    )


def _folder(recipe: Recipe) -> Path | None:
    """Where the model's tokenizer lies on this machine, if it does."""
    from core.catalog.fetch import ModelError, resolve

    entry = catalog.by_registry_id(recipe.model) or catalog.by_registry_id(PREFIX + recipe.model)
    try:
        return resolve(entry.id if entry else recipe.model).folder
    except ModelError:
        return None


class _Counted(NamedTuple):
    """A file's rows: how many, of how many the tokens were counted, their mean, and which can't be sent and why."""

    rows: int
    counted: int
    tokens_per_row: float
    faults: tuple[tuple[int, str], ...]


def _key(source: Source) -> tuple[Path, object, tuple[tuple[str, str], ...]]:
    path = Path(source.path or "")
    return path, stamp(path), tuple((source.columns or {}).items())


@functools.lru_cache(maxsize=8)
def _read(
    path: Path, _: object, columns: tuple[tuple[str, str], ...], task: str, folder: Path | None
) -> _Counted:
    """A file, read again only when it has changed, since a form asks at every key."""
    from core.data.rows import read_rows
    from core.data.unpack import unpacked

    renderer = Renderer.from_folder(folder, None, conversations=task == "chat") if folder else None
    rows_there, counted, tokens, faults = 0, 0, 0.0, []
    for row in read_rows(unpacked(path), dict(columns) or None):
        if not isinstance(row, Conversation):
            continue
        rows_there += 1
        against = rows.fault(row, task)
        if against:
            faults.append((row.line, against))
        elif counted < SAMPLED_ROWS:
            counted += 1
            tokens += _tokens(row, task, renderer)
    return _Counted(rows_there, counted, tokens / max(1, counted), tuple(faults))


def _tokens(row: Conversation, task: str, renderer: Renderer | None) -> float:
    """Tokens of a row, by the model's tokenizer and template where they are here."""
    if renderer is None:
        return sum(len(turn.content) for turn in row.messages) / CHARACTERS_PER_TOKEN
    from core.data.rendering import RenderingError
    from core.training.tasks import render

    example = next(iter(render(task, [row], renderer)))
    if isinstance(example, RenderingError):
        return sum(len(turn.content) for turn in row.messages) / CHARACTERS_PER_TOKEN
    return float(len(example.rendered[0].ids))
