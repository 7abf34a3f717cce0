"""The two sides of a job's rows, to train and to measure on: rows that are sent, or a data asset that is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.azure.assets import Looked
from core.azure.faults import AzureError
from core.backends.base import RecipeProblem
from core.data.conversation import Conversation
from core.recipe import Recipe
from core.source import is_asset

Side = str | list[Conversation]
"""`azureml:NAME:VERSION`, or rows."""
SHOWN = 5


def sides(recipe: Recipe, record: Path) -> tuple[Side, Side]:
    """What to train and what to measure on; an empty list for nothing.

    Args:
        recipe: with absolute paths, and nothing that `asset_problems` refuses.
        record: JSON file in the run directory that keeps which files they were.

    Raises:
        AzureError: the recipe can't be trained in Azure.
        InputError: rows are broken; the first few are named.
    """
    from core.training.inputs import freeze_files, parted, validation_source

    for problem in asset_problems(recipe):
        raise AzureError(problem.sentence, "", problem.fix, code="recipe")
    training, held_out = recipe.data[0].asset, recipe.validation or ""
    if training is None:
        if not is_asset(held_out):
            return parted(recipe, freeze_files(recipe, record))
        alone = recipe.model_copy(update={"validation": None})
        return parted(alone, freeze_files(alone, record))[0], held_out
    if not held_out or is_asset(held_out):
        return training, held_out
    beside = recipe.model_copy(update={"data": [validation_source(recipe)], "validation": None})
    return training, parted(beside, freeze_files(beside, record))[0]


def asset_problems(recipe: Recipe) -> Iterator[RecipeProblem]:
    """What can't be done with rows that lie in Azure and are not sent from here."""
    named = [source for source in recipe.data if source.asset]
    if not named:
        return
    [first, *_] = named
    if len(recipe.data) > 1:
        sentence = f"{first.title} is one of {len(recipe.data)} sources; Azure trains on a data asset alone."
        yield RecipeProblem("error", "data", sentence, "Name it alone, or files only.")
    changed = [name for name in ("max_rows", "columns") if getattr(first, name) is not None]
    changed += ["weight"] if first.weight != 1.0 else []
    if changed:
        sentence = f"{first.title} has {' and '.join(changed)}; Azure takes all of a data asset as it is."
        yield RecipeProblem("error", "data", sentence, "Leave that out.")
    if recipe.validation_fraction:
        yield RecipeProblem(
            "error",
            "validation_fraction",
            f"`validation_fraction` is set, and {first.title} is not split: it is not sent from here.",
            "Name a `validation` file or data asset, or leave it out.",
        )


def refuse_faults(looked: Looked) -> None:
    """Refuse a data asset with rows that the service can't take.

    Raises:
        AzureError: naming the first of them by line.
    """
    if not looked.faults:
        return
    ref = looked.asset.ref
    first = "; ".join(f"line {line}: {against}" for line, against in looked.faults[:SHOWN])
    raise AzureError(
        f"{len(looked.faults)} of {looked.rows} rows of {ref} can't be used.",
        first,
        f"`finetui azure data {ref}` lists every one; make a new version of the asset without them.",
        code="rows",
    )
