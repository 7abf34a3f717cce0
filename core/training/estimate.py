"""What a run will take, computed before anything is spent. Needs no torch."""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from core import devices, paths
from core.data.conversation import Conversation
from core.data.rendering import Renderer, RenderingError
from core.data.rows import count_rows, read_rows
from core.data.sources import select, stamp
from core.data.split import held_out_count
from core.data.unpack import unpacked
from core.recipe import Recipe
from core.source import Source
from core.training.cutting import cut
from core.training.inputs import validation_source
from core.training.memory import FUSED, QUANTIZED_BYTES, Load, Method, Peak, Shape, peak, read_shape
from core.training.plan import choose_budget, rows_per_step, steps_of
from core.training.rows import AnyRow, Example, Labelled, make_rows
from core.training.tasks import render
from core.training.trainable import (
    ONE_KERNEL,
    STATE_BYTES,
    adapted,
    all_weights,
    largest_trained,
    trainable_weights,
)
from core.work import Estimate

SAMPLED_ROWS = 5000
SAMPLED_STEPS = 64
Columns = tuple[tuple[str, str], ...] | None
Rows = tuple[int, list[Example], list[RenderingError]]
VALUE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass
class Measured:
    """A set of rows, cut as training cuts them; of the first `SAMPLED_ROWS` when there are more."""

    kept: list[AnyRow]
    rows: int
    cut: int
    dropped: int

    @property
    def sampled(self) -> bool:
        return self.rows > len(self.kept) + self.dropped

    @property
    def scale(self) -> float:
        return self.rows / max(1, len(self.kept) + self.dropped)

    @property
    def mean_tokens(self) -> float:
        return sum(row.tokens for row in self.kept) / max(1, len(self.kept))

    @property
    def mean_trained(self) -> float:
        return sum(row.learned for row in self.kept) / max(1, len(self.kept))


@dataclass(frozen=True)
class Computed:
    """Steps as they will be cut into packs.

    Args:
        share: tokens computed, as a share of the rows' own.
        tokens: computed at once at most.
        predicting: of one pack, at most.
        packs: of a step, at most.
        labels: classes there are.
    """

    share: float
    tokens: int
    predicting: int
    packs: int = 1
    labels: int = 0


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
    measured = measure(recipe, renderer)
    trained_on, held_out = _parted(recipe)
    rows = trained_on - round(measured.dropped * measured.scale)
    validation = _count(Path(recipe.validation)) if recipe.validation else held_out
    step_rows = rows_per_step(recipe)
    used = recipe.max_steps * step_rows if recipe.max_steps else max(1, round(rows * recipe.value("epochs")))
    computed = compute(recipe, measured, choose_budget(recipe, device), shape.long_from)
    peak = peak_of(recipe, shape, computed, precision, device)
    free, _ = devices.memory(device)
    checkpoints = recipe.value("keep_checkpoints") + 1 + (1 if recipe.value("keep_best") else 0)
    trainable = trainable_weights(recipe, shape, computed.labels)
    checkpoint, model = saved_bytes(recipe, shape, trainable)
    paths.make_private(paths.data_dir())
    return Estimate(
        device=device,
        rows=rows,
        validation_rows=validation,
        steps=math.ceil(used / step_rows),
        tokens=round(measured.mean_tokens * used),
        trained_tokens=round(measured.mean_trained * used),
        computed_tokens=round(measured.mean_tokens * used * computed.share),
        sampled_rows=len(measured.kept) if measured.sampled else 0,
        longest_row=max((row.tokens for row in measured.kept), default=0),
        cut_rows=round(measured.cut * measured.scale),
        dropped_rows=round(measured.dropped * measured.scale),
        parameters=all_weights(recipe, shape, computed.labels),
        trainable_parameters=trainable,
        weights_bytes=peak.weights,
        adapter_bytes=peak.adapter,
        activation_bytes=peak.activations,
        head_bytes=peak.head,
        loading_bytes=peak.loading,
        process_bytes=peak.process,
        pack_tokens=computed.tokens,
        peak_bytes=peak.total,
        available_bytes=free,
        checkpoint_bytes=checkpoint,
        checkpoints=checkpoints,
        disk_bytes=checkpoint * checkpoints + model,
        free_disk_bytes=shutil.disk_usage(paths.data_dir()).free,
    )


def measure(recipe: Recipe, renderer: Renderer) -> Measured:
    """The recipe's training rows, those for validation among them."""
    result = Measured([], 0, 0, 0)
    task = recipe.value("task")
    for source in _training_rows(recipe):
        total, rendered, _ = _rendered_source(source, task, renderer)
        result.rows += len(select(total, source.weight, source.max_rows, 0))
        classes = sorted({example.label for example in rendered if example.label is not None})
        labels = {label: number for number, label in enumerate(classes)}
        made = make_rows(rendered, recipe.value("sequence_length"), labels)
        result.kept += made.rows
        result.cut += made.cut
        result.dropped += made.dropped
    return result


def compute(recipe: Recipe, measured: Measured, budget: int, long_from: int | None = None) -> Computed:
    """How the steps will be computed: some of them are cut into packs, as training cuts them.

    Args:
        recipe: for its steps.
        measured: its rows.
        budget: tokens computed at once.
        long_from: of the model, see `cutting.long_from`.
    """
    if not measured.kept:
        return Computed(1.0, 0, 0)
    step_rows = rows_per_step(recipe)
    epochs = max(1.0, step_rows / len(measured.kept))
    steps = steps_of(recipe.model_copy(update={"epochs": epochs, "max_steps": None}), measured.kept).steps
    chosen = steps[:: math.ceil(len(steps) / SAMPLED_STEPS)]
    parted = [list(cut([measured.kept[row] for row in step], budget, long_from)) for step in chosen]
    made = [pack for packs in parted for pack in packs]
    return Computed(
        share=sum(pack.computed for pack in made) / sum(pack.row_tokens for pack in made),
        tokens=max(pack.computed for pack in made),
        predicting=max(pack.predicting for pack in made),
        packs=max(map(len, parted)),
        labels=len({row.label for row in measured.kept if isinstance(row, Labelled)}),
    )


def peak_of(recipe: Recipe, shape: Shape, computed: Computed, precision: str, device: str) -> Peak:
    """Memory of a recipe at its highest."""
    kind, on_cpu, dropout = recipe.value("method"), device == "cpu", recipe.value("dropout") > 0
    plain = not (recipe.dora or dropout or recipe.value("task") == "classification")
    fusable = precision == "fp32" and (on_cpu or not recipe.quantization)
    method = Method(
        way="dora" if recipe.dora else kind,
        trainable=trainable_weights(recipe, shape, computed.labels),
        state_bytes=STATE_BYTES[recipe.value("optimizer")],
        largest=largest_trained(recipe, shape),
        adapted=tuple((inputs, outputs) for _, inputs, outputs in adapted(recipe, shape)),
        rank=recipe.value("rank"),
        depth=recipe.last_layers or shape.layers,
        value_bytes=4 if kind == "full" else VALUE_BYTES[precision],
        computed_bytes=VALUE_BYTES[precision],
        quantized_bytes=QUANTIZED_BYTES.get(recipe.quantization or ""),
        fused=fusable and shape.kind in FUSED and kind == "lora" and plain,
        dropout=dropout and kind == "lora",
        recompute=recipe.value("gradient_checkpointing"),
        on_cpu=on_cpu,
        steps_in_place=not on_cpu and recipe.value("optimizer") in ONE_KERNEL,
    )
    return peak(shape, method, Load(computed.tokens, computed.predicting, computed.packs))


def saved_bytes(recipe: Recipe, shape: Shape, trainable: int) -> tuple[int, int]:
    """Bytes of a checkpoint and of the model: the trained weights in float32, all of them where they are the model's
    own, and the optimiser's moments; with PiSSA and LoftQ the adapter is saved as a plain one of twice the rank, its
    values beside it, in LoftQ's model too. The model of whole weights is in the number format of the base."""
    state = STATE_BYTES[recipe.value("optimizer")] * trainable
    if recipe.value("method") == "full":
        return 4 * shape.parameters + state, shape.file_bytes
    init = recipe.value("init")
    checkpoint, model = {"standard": (1, 1), "pissa": (3, 2), "loftq": (3, 3)}[init]
    return 4 * trainable * checkpoint + state, 4 * trainable * model


def _parted(recipe: Recipe) -> tuple[int, int]:
    """Rows to train on, weights and caps applied, and those that `validation_fraction` splits off."""
    trained_on = held_out = 0
    for source in _training_rows(recipe):
        total = _count(Path(source.path or ""))
        apart = held_out_count(total, recipe.validation_fraction or 0.0)
        trained_on += len(select(total - apart, source.weight, source.max_rows, 0))
        held_out += apart
    return trained_on, held_out


def _training_rows(recipe: Recipe) -> list[Source]:
    return [source for source in recipe.data if source.path]


def _rendered_source(source: Source, task: str, renderer: Renderer) -> Rows:
    path = Path(source.path or "")
    columns = tuple(source.columns.items()) if source.columns else None
    return _rendered(path, stamp(path), columns, task, renderer)


@functools.lru_cache(maxsize=4)
def _rendered(path: Path, _: object, columns: Columns, task: str, renderer: Renderer) -> Rows:
    """(rows of a file, the first of them, those of these that can't be rendered); kept until it changes."""
    rendered, refused = [], []
    for item in render(task, islice(_conversations(path, columns), SAMPLED_ROWS), renderer):
        if isinstance(item, Example):
            rendered.append(item)
        else:
            refused.append(item)
    return _count(path), rendered, refused


def refused_rows(recipe: Recipe, renderer: Renderer) -> list[tuple[str, RenderingError]]:
    """(recipe key, error) of the rows among the first of each file that the template can't render."""
    task = recipe.value("task")
    files = [("data", source) for source in _training_rows(recipe)]
    if recipe.validation:
        files.append(("validation", validation_source(recipe)))
    return [(key, error) for key, source in files for error in _rendered_source(source, task, renderer)[2]]


def _conversations(path: Path, columns: Columns) -> Iterator[Conversation]:
    rows = read_rows(unpacked(path), dict(columns) if columns else None)
    return (item for item in rows if isinstance(item, Conversation))


def _count(path: Path) -> int:
    return count_rows(unpacked(path))
