"""A local training run from recipe to model: the order of things, each done elsewhere."""

from __future__ import annotations

import shutil
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from core.data.rendering import Renderer
from core.events import Planned, Starting, Warned
from core.recipe import Recipe
from core.training import adapters
from core.training.base_model import BaseModel
from core.training.budget import Budget
from core.training.conductor import training_arguments
from core.training.dataset import Steps
from core.training.disk import is_disk_full
from core.training.evaluation import Watch
from core.training.grace import StepDropped
from core.training.initial import FROZEN
from core.training.inputs import Inputs
from core.training.objectives import Objective
from core.training.plan import Plan, choose_budget, steps_of
from core.training.preference import PreferenceLoss, with_reference
from core.training.ranks import ALONE, Ranks, doorway
from core.training.report_file import put_training
from core.training.report_file import read as read_report
from core.training.rows import Rows
from core.training.saving import Keeper
from core.training.setting_up import Ready, prove, set_up
from core.training.sharding import Inside, shard, whole_weights
from core.training.surroundings import differences, read_budget
from core.training.trainer import StepTrainer
from core.work import Outcome, Run

DISK_POLL_S = 5.0


def run_job(
    recipe: Recipe, run: Run, base: BaseModel, renderer: Renderer, inputs: Inputs, ranks: Ranks = ALONE
) -> Outcome:
    """Train a base model until done, stopped or paused.

    Args:
        recipe: checked.
        run: where to report and save.
        base: the model to start from.
        renderer: of that model.
        inputs: rows, split and prompts.
        ranks: this process among those that train together; each runs this.
    """
    transformers_logging.disable_progress_bar()
    # peft asks transformers by a name that is on its way out; the log is read when a run is lost, keep it clean
    warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated")
    device = ranks.device or adapters.use_device(run.device)
    precision = adapters.choose_precision(recipe, device)
    plan = steps_of(recipe, inputs.training.rows)
    run.emit(Starting(phase="loading the model", device=run.device))
    set_seed(recipe.value("seed"))
    data = run.directory / "data"
    record, initial = data / "first_values.safetensors", data / FROZEN
    place = torch.device("cpu") if ranks.sharded else device  # no device may hold all of it
    ready = ranks.first_alone(
        lambda: set_up(
            recipe,
            base.folder,
            precision,
            place,
            inputs.labels,
            renderer.pad_id,
            record,
            initial if initial.is_dir() else None,
        ),
        when=recipe.value("init") != "standard" and not record.exists(),
    )
    if hasattr(ready.model, "peft_config"):
        ready.model.peft_config["default"].base_model_name_or_path = base.name
        ready.model.peft_config["default"].revision = base.revision or None
    prove(ready.model, inputs.training.rows)
    budget, long_from = choose_budget(recipe, device.type), adapters.long_from(ready.model)
    if recipe.task == "dpo":
        run.emit(Starting(phase="measuring the answers", device=run.device))
        with adapters.computing(device, precision):
            inputs = ranks.first_alone(
                lambda: _with_references(inputs, ready, budget, long_from, data), when=True
            )
    run.emit(_planned(plan, inputs, ready.model))
    objective = _spread(ready, ranks)
    trainer = StepTrainer(
        model=ready.model,
        args=training_arguments(recipe, len(plan.steps), precision, run.directory, device.type == "cpu"),
        steps=Steps(inputs.training, plan, budget, objective.tensors, long_from, ranks),
        recipe=recipe,
        run=run,
        watch=Watch(
            inputs.validation, inputs.prompts, renderer, recipe.value("sample_max_tokens"), inputs.system
        ),
        objective=objective,
        keeper=Keeper(ready.model, base, renderer, inputs, recipe.value("task"), ready.first),
    )
    return _train(trainer, recipe, run)


def _spread(ready: Ready, ranks: Ranks) -> Objective:
    """Make a model ready for several devices; the objective as it is computed there."""
    if ranks.size == 1:
        return ready.objective
    doorway(ready.model)
    if not ranks.sharded:
        return ready.objective
    assert ranks.device is not None
    shard(ready.model, ranks.device, ranks.size)
    return Inside(ready.model, ready.objective)


def _with_references(
    inputs: Inputs, ready: Ready, budget: int, long_from: int | None, folder: Path
) -> Inputs:
    """Pairs that know how likely their answers were before training."""
    assert isinstance(ready.objective, PreferenceLoss)
    objective, at_once = ready.objective, Budget(budget)

    def known(name: str, rows: Rows) -> Rows:
        record = folder / f"reference_{name}.npy"
        return at_once.spend(lambda tokens: with_reference(rows, objective, tokens, long_from, record))

    training, validation = known("training", inputs.training), known("validation", inputs.validation)
    return replace(inputs, training=training, validation=validation)


def _planned(plan: Plan, inputs: Inputs, model: Any) -> Planned:
    training = inputs.training
    order = [training.rows[row] for step in plan.steps for row in step]
    trainable, parameters = adapters.count_parameters(model)
    return Planned(
        steps=len(plan.steps),
        epochs=plan.epoch(len(plan.steps)),
        rows=len(training.rows),
        validation_rows=len(inputs.validation.rows),
        dropped_rows=training.dropped,
        cut_rows=training.cut,
        tokens=sum(row.tokens for row in order),
        trained_tokens=sum(row.learned for row in order),
        trainable_parameters=trainable,
        parameters=parameters,
    )


def _train(trainer: StepTrainer, recipe: Recipe, run: Run) -> Outcome:
    report = run.directory / "report.json"
    base_loss: float | None = read_report(report).get("base_loss")  # of a run that goes on
    checkpoint = run.resume_from
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
    measured = trainer.last_evaluation
    loss = measured.loss if measured else None
    if recipe.value("keep_best") and (best := trainer.take_best()) is not None:
        loss = best
    state = whole_weights(trainer.model) if trainer.ranks.sharded else None
    model = _publish_model(trainer, run, state) if trainer.ranks.first else None
    outcome = Outcome(
        "stopped" if leaving else "finished",
        step,
        model=str(model.relative_to(run.directory)) if model else "",
        checkpoint=last,
        loss=loss,
        base_loss=base_loss,
    )
    if trainer.ranks.first:
        put_training(report, {**asdict(outcome), "steps": total, "seconds": run.worked_s()})
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


def _publish_model(trainer: StepTrainer, run: Run, state: dict[str, Any] | None) -> Path:
    """Write what was trained as the run's model, waiting for space when the disk is full: the work is done, keep it."""
    warned = False
    while True:
        partial: Path | None = None
        try:
            partial = run.partial_model()
            trainer.keeper.save(partial, final=True, state=state)
            return run.publish_model(partial)
        except Exception as error:
            if partial is not None:
                shutil.rmtree(partial, ignore_errors=True)
            if not is_disk_full(error, run.directory):
                raise
            if not warned:
                run.emit(
                    Warned(
                        text="The disk is full: the trained model waits in memory to be written.",
                        next_step=f"Free space on the disk of {run.directory}; it is tried every {DISK_POLL_S:g} s.",
                    )
                )
                warned = True
            time.sleep(DISK_POLL_S)
