"""What a task's training minimises, behind one protocol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch

from core.recipe import Recipe
from core.training.classification import LabelLoss
from core.training.cutting import AnyPack
from core.training.head import Learning
from core.training.loss import PackLoss
from core.training.preference import PreferenceLoss


class Objective(Protocol):
    """A loss and how it is measured."""

    def tensors(self, pack: AnyPack, device: torch.device | None = None) -> dict[str, Any]:
        """A pack as a batch for the model; among others the numbers `rows`, `computed`, `tokens`, `trained` and
        `weight`."""

    def summed(self, batch: dict[str, Any]) -> torch.Tensor:
        """The batch's loss, a float32 scalar, to be divided by the `weight` of the whole step."""

    def measure(self, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Mean `loss` and other figures by name over some batches; nothing grows with their number but labels."""


def make_objective(recipe: Recipe, model: Any) -> Objective:
    """The objective of a recipe's task on a model."""
    task, smoothing = recipe.value("task"), recipe.value("label_smoothing")
    if task == "classification":
        return LabelLoss(model, smoothing)
    if task in ("dpo", "orpo"):
        return PreferenceLoss(model, recipe.value("beta"), odds=task == "orpo")
    return PackLoss(model, Learning(smoothing, recipe.loss == "dft"), recipe.value("neftune_alpha"))
