"""A local training run from recipe to model: the order of things, each done elsewhere."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, set_seed
from transformers.utils import logging as transformers_logging

from core.data.rendering import Renderer
from core.events import Planned, Starting, Warned
from core.paths import write_private
from core.recipe import Recipe
from core.training import adapters
from core.training.base_model import BaseModel
from core.training.conductor import training_arguments
from core.training.dataset import Steps
from core.training.disk import is_disk_full
from core.training.fused_layers import fuse
from core.training.grace import StepDropped
from core.training.inputs import Inputs
from core.training.loss import PackLoss
from core.training.plan import Plan, choose_budget, steps_of
from core.training.rows import Row, Rows
from core.training.surroundings import differences, read_budget
from core.training.trainer import StepTrainer, Watch
from core.training.tree import MIN_SHARED
from core.work import Outcome, Run

DISK_POLL_S = 5.0
PROOF_TOKENS = 32


def run_job(recipe: Recipe, run: Run, base: BaseModel, renderer: Renderer, inputs: Inputs) -> Outcome:
    """Train LoRA on a base model until done, stopped or paused.

    Args:
        recipe: checked.
        run: where to report and save.
        base: the model to start from.
        renderer: of that model.
        inputs: rows, split and prompts.
    """
    transformers_logging.disable_progress_bar()
    # peft asks transformers by a name that is on its way out; the log is read when a run is lost, keep it clean
    warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated")
    device = adapters.use_device(run.device)
    precision = adapters.choose_precision(recipe, device)
    plan = steps_of(recipe, inputs.training.rows)
    run.emit(Starting(phase="loading the model", device=run.device))
    set_seed(recipe.value("seed"))
    model = adapters.add_lora(adapters.load_base(base.folder, precision, device), recipe)
    model.peft_config["default"].base_model_name_or_path = base.name
    model.peft_config["default"].revision = base.revision or None
    fuse(model)
    PackLoss(model).prove(_proof_rows(inputs.training))
    run.emit(_planned(plan, inputs, model))
    trainer = _make_trainer(recipe, run, base, renderer, inputs, plan, model, precision, device)
    return _train(trainer, recipe, run)


def _proof_rows(training: Rows) -> list[Row]:
    """Two short rows that begin alike, made of training rows."""
    one, two = training.rows[0].ids, training.rows[-1].ids
    both = [one[: PROOF_TOKENS + MIN_SHARED], np.concatenate([one[:MIN_SHARED], two[:PROOF_TOKENS]])]
    return [Row(ids, np.arange(len(ids)) > 0) for ids in both]


def _planned(plan: Plan, inputs: Inputs, model: Any) -> Planned:
    training = inputs.training
    lengths = training.lengths
    trained = [int(row.trained.sum()) for row in training.rows]
    order = [row for step in plan.steps for row in step]
    trainable, parameters = adapters.count_parameters(model)
    return Planned(
        steps=len(plan.steps),
        epochs=plan.epoch(len(plan.steps)),
        rows=len(training.rows),
        validation_rows=len(inputs.validation.rows),
        dropped_rows=training.dropped,
        cut_rows=training.cut,
        tokens=sum(lengths[row] for row in order),
        trained_tokens=sum(trained[row] for row in order),
        trainable_parameters=trainable,
        parameters=parameters,
    )


def _make_trainer(
    recipe: Recipe,
    run: Run,
    base: BaseModel,
    renderer: Renderer,
    inputs: Inputs,
    plan: Plan,
    model: Any,
    precision: str,
    device: torch.device,
) -> StepTrainer:
    def add_model_facts(folder: Path) -> None:
        """What a saved adapter needs beside its weights to be used as it was trained."""
        _copy_tokenizer(base.folder, folder)
        _write_generation_config(base.folder, folder, renderer)
        facts = {"base": base.name, "base_revision": base.revision, "system": inputs.system}
        write_private(folder / "finetui.json", json.dumps(facts, indent=2).encode())

    args = training_arguments(recipe, len(plan.steps), precision, run.directory, device.type == "cpu")
    watch = Watch(
        inputs.validation, inputs.prompts, renderer, recipe.value("sample_max_tokens"), inputs.system
    )
    return StepTrainer(
        model=model,
        args=args,
        steps=Steps(inputs.training, plan, choose_budget(recipe, device.type), adapters.long_from(model)),
        recipe=recipe,
        run=run,
        watch=watch,
        add_model_facts=add_model_facts,
    )


def _train(trainer: StepTrainer, recipe: Recipe, run: Run) -> Outcome:
    started = time.time()
    checkpoint = run.resume_from
    base_loss: float | None = None
    try:
        if checkpoint is None:
            run.emit(Starting(phase="measuring the base model", device=run.device))
            trainer.evaluate()
            base_loss = trainer.last_evaluation.loss if trainer.last_evaluation else None
        else:
            _go_on_from(checkpoint, trainer, run)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except StepDropped:
        trainer.leave_in_time()
    step, total = trainer.state.global_step, trainer.args.max_steps
    leaving = trainer.conductor.leaving if step < total else ""
    if not step:
        return Outcome("paused" if leaving == "pause" else "stopped", 0)
    last = str(trainer.last_checkpoint.relative_to(run.directory)) if trainer.last_checkpoint else ""
    if leaving == "pause":
        return Outcome("paused", step, checkpoint=last)
    model = _publish_model(trainer, run)
    measured = trainer.last_evaluation
    outcome = Outcome(
        "stopped" if leaving else "finished",
        step,
        model=str(model.relative_to(run.directory)),
        checkpoint=last,
        loss=measured.loss if measured else None,
        base_loss=base_loss,
    )
    report = {**asdict(outcome), "steps": total, "seconds": time.time() - started}
    write_private(run.directory / "report.json", json.dumps(report, indent=2).encode())
    return outcome


def _go_on_from(checkpoint: Path, trainer: StepTrainer, run: Run) -> None:
    """Take over what was learned of this machine's memory, and say what is no longer the same."""
    trainer.plan_steps.budget = read_budget(checkpoint) or trainer.plan_steps.budget
    changed = differences(checkpoint, trainer.args.device)
    if changed:
        run.emit(
            Warned(
                text=f"This run goes on elsewhere than it began: {', '.join(changed)}. "
                "Its numbers may differ in the last digits from those of an uninterrupted run."
            )
        )


def _publish_model(trainer: StepTrainer, run: Run) -> Path:
    """Write the adapter as the run's model, waiting for space when the disk is full: the work is done, keep it."""
    warned = False
    while True:
        partial: Path | None = None
        try:
            partial = run.partial_model()
            trainer.save_adapter(partial)
            return run.publish_model(partial)
        except Exception as error:
            if partial is not None:
                shutil.rmtree(partial, ignore_errors=True)
            if not is_disk_full(error, run.directory):
                raise
            if not warned:
                run.emit(
                    Warned(
                        text="The disk is full: the trained adapter waits in memory to be written.",
                        next_step=f"Free space on the disk of {run.directory}; it is tried every {DISK_POLL_S:g} s.",
                    )
                )
                warned = True
            time.sleep(DISK_POLL_S)


TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)


def _copy_tokenizer(base: Path, folder: Path) -> None:
    for name in TOKENIZER_FILES:
        if (base / name).exists():
            shutil.copyfile(base / name, folder / name)


def _write_generation_config(base: Path, folder: Path, renderer: Renderer) -> None:
    """The base's generation settings with the turn-end tokens among the ends, so that replies stop."""
    config = (
        GenerationConfig.from_pretrained(base)
        if (base / "generation_config.json").exists()
        else GenerationConfig.from_model_config(_base_config(base))
    )
    ends = config.eos_token_id
    known = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    config.eos_token_id = [
        *renderer.turn_end_ids,
        *(end for end in known if end not in renderer.turn_end_ids),
    ]
    if config.pad_token_id is None:
        config.pad_token_id = renderer.pad_id
    config.save_pretrained(folder)


def _base_config(base: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(base, trust_remote_code=False)
