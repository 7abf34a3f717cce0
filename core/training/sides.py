"""A run's model beside the base it was trained from, both in memory once.

An adapter and its base share one set of weights: the base is the tuned model with the adapter switched off.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from core import devices
from core.data.rendering import Renderer
from core.recipe import Recipe, load
from core.training import adapters, methods
from core.training.base_model import BaseModel, frozen_renderer
from core.training.report_file import ReportError
from core.training.saved import ON_NF4

SIDES = ("base", "tuned")


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Args:
        recipe: the run's.
        base: the model it started from.
        folder: of its model, or of one of its checkpoints.
        labels: of a classifier, its classes in the order of their numbers.
        renderer: of the run.
    """

    recipe: Recipe
    base: BaseModel
    folder: Path
    labels: tuple[str, ...]
    renderer: Renderer

    @property
    def task(self) -> str:
        return str(self.recipe.value("task"))


def read_subject(run: Path, folder: Path) -> Subject:
    """A run's model as it lies on the disk.

    Args:
        run: the run's directory.
        folder: its model or one of its checkpoints.

    Raises:
        ReportError: something of it is gone or damaged.
        RecipeError: the recipe doesn't fit this version.
    """
    recipe = load(run / "recipe.yaml")
    try:
        record = json.loads((run / "model.json").read_bytes())
        facts = json.loads((folder / "finetui.json").read_bytes())
        base = BaseModel(**{**record, "folder": Path(record["folder"])})
        labels = tuple(facts.get("labels", ()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReportError(
            "The run's model can't be read.", str(error), "Evaluate another checkpoint: `--checkpoint STEP`."
        ) from error
    if not (base.folder / "config.json").exists():
        raise ReportError(
            f"The base model {base.name} is not on this machine any more.",
            f"{base.folder} is gone.",
            f"Put it back there, or train {recipe.model} anew."
            if base.source == "folder"
            else f"`finetui models fetch {recipe.model}` fetches it again.",
        )
    return Subject(recipe, base, folder, labels, frozen_renderer(recipe, base, run / "data"))


class Sides:
    """Both models on a device.

    Args:
        subject: what is measured.
        device: where they go.

    Attributes:
        long_from: see `tree.packs`.
        precision: that products are made in, as in training.
        longest: tokens that the model takes at most, None where it doesn't say.
    """

    def __init__(self, subject: Subject, device: torch.device) -> None:
        self.device = device
        self.precision = adapters.choose_precision(subject.recipe, device)
        self._tuned, self._base = _load(subject, device, self.precision)
        self.long_from = adapters.long_from(self._tuned)
        config = self._tuned.config.get_text_config()
        self.longest: int | None = getattr(config, "max_position_embeddings", None)

    @contextlib.contextmanager
    def model(self, side: str) -> Iterator[Any]:
        """The model of a side, in eval mode, computing as its run did.

        While the base is lent, the tuned one is not to be used.
        """
        with adapters.computing(self.device, self.precision):
            if side == "tuned":
                yield self._tuned
            elif self._base is None:
                with self._tuned.disable_adapter():
                    yield self._tuned
            else:
                yield self._base


def _load(subject: Subject, device: torch.device, precision: str) -> tuple[Any, Any]:
    """(tuned, base); no base where it is the tuned one without its adapter."""
    recipe = subject.recipe
    weights = methods.weights_precision(recipe, precision)

    def model(folder: Path) -> Any:
        loaded = adapters.load_base(folder, weights, device, recipe.quantization, subject.labels)
        loaded.config.get_text_config().pad_token_id = subject.renderer.pad_id
        return loaded

    set_seed(
        recipe.value("seed")
    )  # as training did: an untrained base gets the same first values for its classes
    base = model(subject.base.folder)
    if adapters.is_adapter(subject.folder):
        on_nf4 = subject.folder / ON_NF4
        return adapters.load_adapter(base, on_nf4 if on_nf4.is_dir() else subject.folder), None
    return model(subject.folder), base


def best_device() -> torch.device:
    """The GPU with the most free memory, else the CPU. Call before anything touches CUDA."""
    free = [gpu for gpu in devices.gpus() if gpu.free_bytes > 0]
    return adapters.use_device(max(free, key=lambda gpu: gpu.free_bytes).device if free else "cpu")
