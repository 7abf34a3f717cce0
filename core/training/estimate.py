"""What a run will take, computed before anything is spent. Needs no torch."""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from core import devices, paths
from core.data.conversation import Conversation
from core.data.rendering import Rendered, Renderer, RenderingError
from core.data.rows import count_rows, read_rows
from core.data.sources import select, stamp
from core.data.unpack import unpacked
from core.recipe import Recipe
from core.source import Source
from core.training.inputs import validation_source
from core.training.memory import PROCESS_BYTES, Shape, peak_bytes, read_shape
from core.training.plan import choose_budget
from core.work import Estimate

SAMPLED_ROWS = 5000
Columns = tuple[tuple[str, str], ...] | None
Rows = tuple[int, list[np.ndarray], list[RenderingError]]
VALUE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
CHECKPOINT_BYTES_PER_WEIGHT = 12
"""An adapter's weights and AdamW's two moments, in float32."""


@dataclass
class Measured:
    """Lengths of a set of rows, of the first `SAMPLED_ROWS` when there are more."""

    lengths: list[int]
    trained: list[int]
    rows: int
    cut: int
    dropped: int

    @property
    def sampled(self) -> bool:
        return self.rows > len(self.lengths) + self.dropped

    @property
    def scale(self) -> float:
        return self.rows / max(1, len(self.lengths) + self.dropped)


def estimate(recipe: Recipe, device: str, precision: str, folder: Path, renderer: Renderer) -> Estimate:
    """Rows, steps, tokens, memory and disk of a recipe on this machine.

    Args:
        recipe: checked, with absolute paths.
        device: `cpu` or `cuda:<uuid>`.
        precision: fp32, bf16 or fp16.
        folder: the base model.
        renderer: of that model.
    """
    shape = read_shape(folder)
    length = recipe.value("sequence_length")
    measured = _measure(_training_rows(recipe), renderer, length)
    fraction = recipe.validation_fraction or 0.0
    held_out = round(measured.rows * fraction)
    rows = measured.rows - held_out - round(measured.dropped * measured.scale)
    validation = _count(Path(recipe.validation)) if recipe.validation else held_out
    rows_per_step = recipe.value("batch_size") * recipe.value("accumulation")
    used = (
        recipe.max_steps * rows_per_step if recipe.max_steps else max(1, round(rows * recipe.value("epochs")))
    )
    steps = math.ceil(used / rows_per_step)
    mean = sum(measured.lengths) / max(1, len(measured.lengths))
    free, _ = devices.memory(device)
    trainable = shape.lora_parameters(recipe.value("rank"))
    checkpoint = trainable * CHECKPOINT_BYTES_PER_WEIGHT
    paths.make_private(paths.data_dir())
    return Estimate(
        device=device,
        rows=rows,
        validation_rows=validation,
        steps=steps,
        tokens=round(mean * used),
        sampled_rows=len(measured.lengths) if measured.sampled else 0,
        longest_row=max(measured.lengths, default=0),
        cut_rows=round(measured.cut * measured.scale),
        dropped_rows=round(measured.dropped * measured.scale),
        parameters=shape.parameters,
        trainable_parameters=trainable,
        weights_bytes=shape.parameters * VALUE_BYTES[precision],
        peak_bytes=_peak(recipe, shape, measured, precision, device)
        + (PROCESS_BYTES if device == "cpu" else 0),
        available_bytes=free,
        disk_bytes=checkpoint * (recipe.value("keep_checkpoints") + 1) + trainable * 4,
        free_disk_bytes=shutil.disk_usage(paths.data_dir()).free,
    )


def _training_rows(recipe: Recipe) -> list[Source]:
    return [source for source in recipe.data if source.path]


def _measure(sources: Sequence[Source], renderer: Renderer, length: int) -> Measured:
    result = Measured([], [], 0, 0, 0)
    for source in sources:
        total, rows, _ = _rendered_source(source, renderer)
        result.rows += len(select(total, source.weight, source.max_rows, 0))
        for trained in rows:
            _add(result, trained, length)
    return result


def _rendered_source(source: Source, renderer: Renderer) -> Rows:
    path = Path(source.path or "")
    columns = tuple(source.columns.items()) if source.columns else None
    return _rendered(path, stamp(path), columns, renderer)


@functools.lru_cache(maxsize=4)
def _rendered(path: Path, _: object, columns: Columns, renderer: Renderer) -> Rows:
    """(rows of a file, trained marks of its first ones, those that can't be rendered); kept until it changes."""
    marks, refused = [], []
    for item in renderer.render_many(islice(_conversations(path, columns), SAMPLED_ROWS)):
        if isinstance(item, Rendered):
            marks.append(np.asarray(item.trained, dtype=bool))
        else:
            refused.append(item)
    return _count(path), marks, refused


def refused_rows(recipe: Recipe, renderer: Renderer) -> list[tuple[str, RenderingError]]:
    """(recipe key, error) of the rows among the first of each file that the template can't render."""
    files = [("data", source) for source in _training_rows(recipe)]
    if recipe.validation:
        files.append(("validation", validation_source(recipe)))
    return [(key, error) for key, source in files for error in _rendered_source(source, renderer)[2]]


def _add(result: Measured, trained: np.ndarray, length: int) -> None:
    """Add one row, cut as training will cut it."""
    result.cut += len(trained) > length
    kept = int(trained[1:length].sum())
    if kept:
        result.lengths.append(min(len(trained), length))
        result.trained.append(kept)
    else:
        result.dropped += 1


def _conversations(path: Path, columns: Columns) -> Iterator[Conversation]:
    rows = read_rows(unpacked(path), dict(columns) if columns else None)
    return (item for item in rows if isinstance(item, Conversation))


def _count(path: Path) -> int:
    return count_rows(unpacked(path))


def _peak(recipe: Recipe, shape: Shape, measured: Measured, precision: str, device: str) -> int:
    """Memory of the worst pack: the longest rows of a step, as far as the budget goes, or one longer row."""
    rows = recipe.value("batch_size") * recipe.value("accumulation")
    longest = sorted(range(len(measured.lengths)), key=lambda row: -measured.lengths[row])[:rows]
    lengths = [measured.lengths[row] for row in longest]
    tokens = max(max(lengths, default=0), min(sum(lengths), choose_budget(recipe, device)))
    return peak_bytes(
        shape,
        rank=recipe.value("rank"),
        weight_bytes=VALUE_BYTES[precision],
        value_bytes=VALUE_BYTES[precision],
        tokens=tokens,
        trained_tokens=min(tokens, sum(measured.trained[row] for row in longest)),
        recompute=recipe.value("gradient_checkpointing"),
    )
