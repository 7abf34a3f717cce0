"""The Trainer's settings, and what is decided at each step's end."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from core.recipe import Recipe
from core.training.plan import report_interval
from core.work import Run


def training_arguments(
    recipe: Recipe, steps: int, precision: str, folder: Path, cpu: bool
) -> TrainingArguments:
    """The Trainer's settings for a recipe. Saving, logging and evaluation are decided by our callback."""
    schedule = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        learning_rate=recipe.value("learning_rate"),
        lr_scheduler_type=schedule[recipe.value("schedule")],
        warmup_steps=math.ceil(recipe.value("warmup") * steps),
        weight_decay=recipe.value("weight_decay"),
        max_grad_norm=recipe.value("max_grad_norm"),
        optim="adamw_torch",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        activation_checkpointing=recipe.value("gradient_checkpointing"),
        activation_checkpointing_kwargs={"use_reentrant": False},
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=not cpu,
        use_cpu=cpu,
        seed=recipe.value("seed"),
        data_seed=recipe.value("seed"),
    )


class Conductor(TrainerCallback):
    """Decides at each step's end what happens next: evaluate, save, answer requests, leave."""

    def __init__(self, recipe: Recipe, run: Run, steps: int) -> None:
        self.run = run
        self.evaluate_every = report_interval(steps, recipe.evaluate_every)
        self.checkpoint_every = report_interval(steps, recipe.checkpoint_every)
        self.leaving = ""
        self.sample_now: list[str] | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Set the Trainer's flags."""
        last = state.global_step >= state.max_steps
        control.should_evaluate = state.global_step % self.evaluate_every == 0 or last
        control.should_save = state.global_step % self.checkpoint_every == 0 or last
        self.take_requests(control)
        if self.leaving and not last:
            control.should_save = True
            control.should_training_stop = True
        return control

    def take_requests(self, control: TrainerControl) -> None:
        """What the user has asked for since the last step."""
        for request in self.run.requests():
            if request.verb in ("stop", "pause"):
                self.leaving = request.verb
            elif request.verb == "checkpoint":
                control.should_save = True
            elif request.verb == "sample":
                prompt = request.arguments.get("prompt")
                self.sample_now = [prompt] if prompt else []
