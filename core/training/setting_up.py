"""The model of a recipe, loaded and ready to be trained, with the objective of its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.recipe import Recipe
from core.training import adapters, methods
from core.training.first_values import FirstValues
from core.training.fused_layers import fuse
from core.training.loss import PackLoss
from core.training.objectives import Objective, make_objective
from core.training.rows import AnyRow, Pair, Row
from core.training.tree import MIN_SHARED

PROOF_TOKENS = 32


@dataclass(frozen=True)
class Ready:
    """What training works on.

    Args:
        model: with its adapter, or with its own weights set free.
        objective: of the recipe's task.
        first: where the adapter begins with values of its own.
    """

    model: Any
    objective: Objective
    first: FirstValues | None


def set_up(
    recipe: Recipe,
    folder: Path,
    precision: str,
    device: torch.device,
    labels: Sequence[str],
    pad_id: int,
    record: Path,
    initial: Path | None = None,
) -> Ready:
    """Load a base model and make it ready.

    Args:
        recipe: checked.
        folder: the base model.
        precision: fp32, bf16 or fp16, of the computation.
        device: where it goes.
        labels: of the classes, where the task has them.
        pad_id: token to fill texts up with.
        record: where an adapter's first values are or will be.
        initial: folder of trained weights to go on from.
    """
    weights = methods.weights_precision(recipe, precision)
    whole = initial is not None and not adapters.is_adapter(initial)
    source = initial if initial is not None and whole else folder
    base = adapters.load_base(source, weights, device, recipe.quantization, labels)
    base.config.get_text_config().pad_token_id = pad_id
    model = methods.prepare(base, recipe)
    if initial is not None and not whole:
        adapters.take_over(model, initial)
    init = recipe.value("init")
    first = None if init == "standard" else FirstValues(model, init, folder, record)
    sharded = recipe.value("sharding") == "fsdp"  # a fused layer holds weights that are parted then
    if recipe.value("method") == "lora" and not labels and not sharded:
        fuse(model)
    return Ready(model, make_objective(recipe, model), first)


def prove(model: Any, rows: Sequence[AnyRow]) -> None:
    """Hold packs of a model's own rows against its forward pass; see `PackLoss.prove`."""
    one, two = (row.chosen if isinstance(row, Pair) else row for row in (rows[0], rows[-1]))
    if isinstance(one, Row) and isinstance(two, Row):
        PackLoss(model).prove(_proof_rows(one.ids, two.ids))


def _proof_rows(one: np.ndarray, two: np.ndarray) -> list[Row]:
    """Two short rows that begin alike."""
    both = [one[: PROOF_TOKENS + MIN_SHARED], np.concatenate([one[:MIN_SHARED], two[:PROOF_TOKENS]])]
    return [Row(ids, np.arange(len(ids)) > 0) for ids in both]
