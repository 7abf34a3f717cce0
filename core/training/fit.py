"""Whether a recipe's method fits a model: the layers and modules that it names must be there. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import FinetuiError
from core.recipe import Recipe
from core.training.memory import read_shape
from core.training.trainable import IA3_INPUTS, IA3_OUTPUTS, is_late, is_module, trained_tensors

TIED = ("lm_head", "embed_tokens")
"""The two ends of a model, which may be the same weights."""


class FitError(FinetuiError):
    """A recipe names layers or modules that its model lacks."""


@dataclass(frozen=True)
class Parts:
    """What a recipe can name of a model.

    Args:
        layers: decoder layers.
        modules: those that hold weights of their own, by full name.
        matrices: those of them whose weights are one matrix, which can have an adapter.
        tied: head and embeddings are the same weights.
    """

    layers: int
    modules: tuple[str, ...]
    matrices: tuple[str, ...]
    tied: bool


def parts_of_files(folder: Path, recipe: Recipe) -> Parts:
    """Of a model folder, as the recipe's task loads it."""
    shape = read_shape(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    dimensions = {name: 1 for name, _ in trained_tensors(recipe, shape)}
    dimensions |= {f"{name}.weight": 2 for name, _, _ in shape.matrices if f"{name}.weight" in dimensions}
    if recipe.value("task") == "classification":
        dimensions["score.weight"] = 2
    has_head = any(name.startswith("lm_head.") for name, _ in shape.tensors)
    return _parts(shape.layers, dimensions.items(), config.get("tie_word_embeddings", not has_head))


def parts_of_model(model: Any) -> Parts:
    """Of a loaded transformers model, before anything was put onto it."""
    config = model.config.get_text_config()
    weights = model.named_parameters(remove_duplicate=False)
    dimensions = [(name, weight.dim()) for name, weight in weights]
    return _parts(config.num_hidden_layers, dimensions, getattr(config, "tie_word_embeddings", False))


def _parts(layers: int, dimensions: Iterable[tuple[str, int]], tied: bool) -> Parts:
    """Of (name, dimensions) of each weight."""
    found: dict[str, bool] = {}
    for name, count in dimensions:
        module, _, kind = name.rpartition(".")
        found[module] = found.get(module, False) or (kind == "weight" and count == 2)
    return Parts(layers, tuple(found), tuple(name for name, matrix in found.items() if matrix), tied)


def misfits(recipe: Recipe, parts: Parts) -> list[tuple[str, FitError]]:
    """(recipe key, error) of all that the recipe names and the model lacks."""
    found = [*_layers(recipe, parts), *_modules(recipe, parts)]
    return found or list(_nothing(recipe, parts))


def refuse_misfit(recipe: Recipe, parts: Parts) -> None:
    """Refuse a recipe that doesn't fit.

    Raises:
        FitError: the first of `misfits`.
    """
    for _, error in misfits(recipe, parts):
        raise error


def _layers(recipe: Recipe, parts: Parts) -> Iterator[tuple[str, FitError]]:
    if recipe.last_layers is not None and recipe.last_layers > parts.layers:
        yield (
            "last_layers",
            FitError(
                f"`last_layers` is {recipe.last_layers}; the model has {parts.layers} layers.",
                "",
                f"Use {parts.layers} at most, or leave it out.",
            ),
        )


def _modules(recipe: Recipe, parts: Parts) -> Iterator[tuple[str, FitError]]:
    targets = recipe.value("target_modules")
    named = {
        "target_modules": [] if targets == "all-linear" else list(targets),
        "modules_to_save": recipe.modules_to_save or [],
    }
    for key, names in named.items():
        known = parts.modules if key == "modules_to_save" else _choosable(recipe, parts)
        tied = [name for name in names if parts.tied and name.rpartition(".")[2] in TIED]
        if tied and recipe.value("method") != "full":
            yield key, _tied(tied[0])
        lacking = [name for name in names if name not in tied and not _is_there(key, name, known)]
        if lacking:
            yield key, _lacking(key, names, lacking, known)


def _choosable(recipe: Recipe, parts: Parts) -> tuple[str, ...]:
    """What `target_modules` chooses from."""
    return parts.modules if recipe.value("method") == "full" else parts.matrices


def _is_there(key: str, name: str, known: Collection[str]) -> bool:
    """Whether a module has this name; a whole part of the model is one too where it is trained as it is."""
    if key == "modules_to_save":
        return any(f".{name}." in f".{module}." for module in known)
    return any(is_module(module, [name]) for module in known)


def _nothing(recipe: Recipe, parts: Parts) -> Iterator[tuple[str, FitError]]:
    """Each name is there, but not within the layers that are chosen; or none is that the method chooses itself."""
    wanted = recipe.value("target_modules")
    if wanted == "all-linear":
        if recipe.value("method") != "ia3":
            return
        wanted = [*IA3_INPUTS, *IA3_OUTPUTS]
    known = _choosable(recipe, parts)
    if not any(is_module(name, wanted) and is_late(recipe, parts.layers, name) for name in known):
        yield "target_modules", _lacking("target_modules", wanted, wanted, known, recipe.last_layers)


def _tied(name: str) -> FitError:
    """An adapter on one of two modules that share their weights can't be merged into the other."""
    return FitError(
        f"{name} can't be adapted.",
        "In this model the head and the embeddings are the same weights.",
        "Leave it out, or use `method: full`.",
    )


def _lacking(
    key: str, names: list[str], lacking: list[str], known: Collection[str], last_layers: int | None = None
) -> FitError:
    leaves = sorted({name.rpartition(".")[2] for name in known})
    layers = "layer" if last_layers == 1 else f"{last_layers} layers"
    within = f" in the last {layers}" if last_layers else ""
    usual = "`all-linear`, or " if key == "target_modules" else ""
    return FitError(
        f"`{key}` {', '.join(names)} does not fit the model.",
        f"None of its modules{within} is called {' or '.join(lacking)}.",
        f"Use {usual}names out of: {', '.join(leaves)}.",
    )
