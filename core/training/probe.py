"""How fast this machine computes a recipe: a few packs of its own rows, trained for real and thrown away.

    python -P -m core.training.probe < RECIPE.yaml

Prints one JSON line: `Speeds`. A process of its own, since it imports torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from core import paths
from core.errors import FinetuiError
from core.recipe import Recipe, dump, parse
from core.training.cutting import AnyPack, cut
from core.training.inputs import WATCHED_PROMPTS, prompt_of
from core.training.plan import choose_budget, report_interval, rows_per_step, steps_of
from core.training.rows import AnyRow, Labelled
from core.work import Estimate, TimePlan

if TYPE_CHECKING:
    import torch

    from core.training.setting_up import Ready

ENOUGH_S = 4.0
REPLY_TOKENS = 6
SAVED_BYTES = 32 << 20


class ProbeError(FinetuiError):
    """The speed could not be measured."""

    exit_code = 1


@dataclass(frozen=True)
class Speeds:
    """What a short training took.

    Args:
        start_s: seconds until the first step: imports, loading, rendering.
        train_tokens_per_s: computed tokens, forward and back, optimiser included.
        evaluate_tokens_per_s: computed tokens, forward only.
        reply_s: seconds for one token of all watched prompts' replies.
        saved_bytes_per_s: of a checkpoint: written, hashed and brought to the disk.
        measured_tokens: trained on for it.
    """

    start_s: float
    train_tokens_per_s: float
    evaluate_tokens_per_s: float
    reply_s: float
    saved_bytes_per_s: float
    measured_tokens: int


def ask(recipe: Recipe, device: str) -> Speeds:
    """Measure in a process of its own.

    Args:
        recipe: checked, with absolute paths, its model on this machine.
        device: `cpu` or `cuda:<uuid>`.

    Raises:
        ProbeError: it failed; the last line of what it said is the cause.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "core.training.probe", device],
        input=dump(recipe),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise ProbeError(
            "The speed could not be measured.",
            said[-1] if said else f"The process ended with {done.returncode}.",
            "Plan without: `--no-measure`.",
        )
    return Speeds(**json.loads(done.stdout.splitlines()[-1]))


def time_plan(recipe: Recipe, sizes: Estimate, speeds: Speeds) -> TimePlan:
    """The time of a run's parts at measured speeds.

    Evaluations are those of the run and the one of the base before it; replies are taken to be as long as allowed.
    """
    evaluations = 1 + math.ceil(sizes.steps / report_interval(sizes.steps, recipe.evaluate_every))
    rows = sizes.validation_rows * sizes.tokens / max(1, sizes.steps * rows_per_step(recipe))
    prompts = WATCHED_PROMPTS if recipe.sample_prompts is None else len(recipe.sample_prompts)
    reply_tokens = recipe.value("sample_max_tokens") * prompts / WATCHED_PROMPTS
    gpus = (
        1 if sizes.device == "cpu" else recipe.value("devices")
    )  # that share the rows as if nothing were lost
    train_s = sizes.computed_tokens / speeds.train_tokens_per_s / gpus
    checkpoints = math.ceil(sizes.steps / report_interval(sizes.steps, recipe.checkpoint_every))
    model_bytes = sizes.disk_bytes - sizes.checkpoints * sizes.checkpoint_bytes
    return TimePlan(
        start_s=speeds.start_s,
        train_s=train_s,
        evaluate_s=evaluations * rows / speeds.evaluate_tokens_per_s,
        samples_s=evaluations * reply_tokens * speeds.reply_s,
        save_s=(checkpoints * sizes.checkpoint_bytes + model_bytes) / speeds.saved_bytes_per_s,
        tokens_per_s=sizes.tokens / max(train_s, 1e-9),
    )


def measure(recipe: Recipe, device: str) -> Speeds:
    """Measure in this process; torch must not be imported yet."""
    from core.devices import prepare_to_compute

    started = time.perf_counter()
    prepare_to_compute()
    import torch

    from core.data.rendering import Renderer
    from core.data.tasks import reads_conversations
    from core.training import adapters, evaluation
    from core.training.base_model import template_text
    from core.training.estimate import measure as measure_rows

    place = adapters.use_device(device)
    precision = adapters.choose_precision(recipe, place)
    folder, task = _folder(recipe), recipe.value("task")
    renderer = Renderer.from_folder(folder, template_text(recipe), conversations=reads_conversations(task))
    rows = measure_rows(recipe, renderer).kept
    ready = _ready(recipe, folder, place, precision, renderer.pad_id, rows)
    model, objective = ready.model, ready.objective
    long_from = adapters.long_from(model)
    made = _packs(recipe, rows, place.type, long_from)
    optimizer = torch.optim.AdamW([item for item in model.parameters() if item.requires_grad])

    def train(pack: AnyPack) -> float:
        batch = objective.tensors(pack, place)
        with adapters.computing(place, precision):
            value = objective.summed(batch)
        (value / batch["weight"]).backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(value.item())  # waits for a GPU

    first = next(made)
    train(first)  # also makes the memory that all later ones use
    start_s = time.perf_counter() - started
    tokens, spent = 0, 0.0
    for pack in chain([first], made):
        spent += _timed(partial(train, pack))
        tokens += pack.computed
        if spent > ENOUGH_S:
            break
    with evaluation.measuring(model), adapters.computing(place, precision):
        evaluate_s = _timed(lambda: objective.measure([objective.tensors(first, place)]))
    reply_s = 0.0
    if task != "classification":
        prompts = [prompt_of(task, "Hello")] * WATCHED_PROMPTS
        reply_s = _timed(lambda: evaluation.greedy_replies(model, renderer, prompts, REPLY_TOKENS, place))
    return Speeds(
        start_s=start_s,
        train_tokens_per_s=tokens / spent,
        evaluate_tokens_per_s=first.computed / evaluate_s,
        reply_s=reply_s / REPLY_TOKENS,
        saved_bytes_per_s=SAVED_BYTES / _timed(partial(_save, os.urandom(SAVED_BYTES))),
        measured_tokens=tokens,
    )


def _save(content: bytes) -> None:
    """Write something as a checkpoint is, where runs are kept, and remove it."""
    paths.make_private(paths.data_dir())
    with tempfile.NamedTemporaryFile(dir=paths.data_dir()) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        hashlib.file_digest(file, "sha256")


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _folder(recipe: Recipe) -> Path:
    from core.catalog.fetch import resolve

    folder = resolve(recipe.model, recipe.model_revision).folder
    if folder is None:
        raise ProbeError(
            f"{recipe.model} is not on this machine.", "", f"`finetui models fetch {recipe.model}` gets it."
        )
    return folder


def _ready(
    recipe: Recipe, folder: Path, place: torch.device, precision: str, pad_id: int, rows: Sequence[AnyRow]
) -> Ready:
    """The model as a run trains it."""
    from core.training.setting_up import set_up

    count = 1 + max((row.label for row in rows if isinstance(row, Labelled)), default=-1)
    labels = [str(number) for number in range(count)]
    with tempfile.TemporaryDirectory() as scratch:
        ready = set_up(recipe, folder, precision, place, labels, pad_id, Path(scratch) / "first.safetensors")
    if recipe.value("gradient_checkpointing"):
        ready.model.activation_checkpointing_enable({"use_reentrant": False})
        ready.model.enable_input_require_grads()
    ready.model.train()
    return ready


def _packs(recipe: Recipe, rows: Sequence[AnyRow], device: str, long_from: int | None) -> Iterator[AnyPack]:
    """The packs of the first epoch, in order."""
    for step in steps_of(recipe.model_copy(update={"epochs": 1.0, "max_steps": None}), rows).steps:
        yield from cut([rows[row] for row in step], choose_budget(recipe, device), long_from)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(parse(sys.stdin.read()), sys.argv[1]))))  # noqa: T201
