"""transformers' Trainer with finetui's steps, loss, evaluation and checkpoints in place of its own.

What stays the Trainer's: optimiser, schedule, clipping, mixed precision, and resuming all of these bit for bit.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from core.data.rendering import Renderer
from core.errors import FinetuiError
from core.events import Checkpointed, Evaluated, Requested, Sampled, Step, Warned
from core.recipe import Recipe
from core.training import evaluation
from core.training.dataset import Steps, whole_step
from core.training.disk import is_disk_full
from core.training.inputs import Prompt
from core.training.loss import PackLoss
from core.training.memory import memory_in_use
from core.training.plan import report_interval
from core.training.rows import Rows
from core.work import Run


class TrainingError(FinetuiError):
    """Training can't go on."""

    exit_code = 1


@dataclass(frozen=True)
class Watch:
    """What is measured along the way.

    Args:
        rows: validation rows; may be empty.
        prompts: whose replies are shown at each evaluation.
        renderer: of the model.
        reply_tokens: longest sample reply.
        system: system message put before a prompt asked for by the user, or empty.
    """

    rows: Rows
    prompts: Sequence[Prompt]
    renderer: Renderer
    reply_tokens: int
    system: str


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
        for request in self.run.requests():
            if request.verb in ("stop", "pause"):
                self.leaving = request.verb
                self.run.emit(Requested(verb=request.verb))
            elif request.verb == "checkpoint":
                control.should_save = True
            elif request.verb == "sample":
                prompt = request.arguments.get("prompt")
                self.sample_now = [prompt] if prompt else []
        if self.leaving and not last:
            control.should_save = True
            control.should_training_stop = True
        return control


class StepTrainer(Trainer):
    """One dataloader item is one whole step; the rest is reporting and safe checkpoints."""

    def __init__(
        self,
        *,
        model: Any,
        args: TrainingArguments,
        steps: Steps,
        recipe: Recipe,
        run: Run,
        watch: Watch,
        add_model_facts: Callable[[Path], None],
    ) -> None:
        self.conductor = Conductor(recipe, run, len(steps))
        super().__init__(
            model=model, args=args, train_dataset=steps, data_collator=whole_step, callbacks=[self.conductor]
        )
        self.model_accepts_loss_kwargs = False
        self.plan_steps = steps
        self.recipe = recipe
        self.run = run
        self.watch = watch
        self.add_model_facts = add_model_facts
        self.last_evaluation: evaluation.Measured | None = None
        self.last_checkpoint: Path | None = None
        self._pack_loss = PackLoss(model)
        self._step_tokens = (0, 0)
        self._step_started = 0.0

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(self.plan_steps)

    def training_step(
        self, model: Any, inputs: list[dict[str, Any]], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Forward and backward of all packs of a step, its loss averaged over all its trained tokens."""
        self._step_started = time.perf_counter()
        model.train()
        trained = sum(batch["trained"] for batch in inputs)
        total = torch.zeros((), device=self.args.device)
        for batch in inputs:
            with self.compute_loss_context_manager():
                loss = self._pack_loss.summed(self._prepare_inputs(batch)) / trained
            self.accelerator.backward(loss)
            total += loss.detach()
        self._step_tokens = (sum(batch["tokens"] for batch in inputs), trained)
        if not torch.isfinite(total):
            raise TrainingError(
                f"The loss became {total.item()} at step {self.state.global_step + 1}.",
                "The weights have diverged; going on would only train nonsense.",
                "Lower `learning_rate`, lengthen `warmup`, or use `precision: fp32`; "
                "the last checkpoint from before is kept.",
            )
        return total

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report a step; the Trainer's closing summary is not one."""
        if "grad_norm" in logs:
            step = self.state.global_step
            duration = time.perf_counter() - self._step_started
            tokens, trained = self._step_tokens
            self.run.emit(
                Step(
                    step=step,
                    epoch=self.plan_steps.plan.epoch(step),
                    loss=logs["loss"],
                    learning_rate=logs["learning_rate"],
                    grad_norm=float(logs["grad_norm"]),
                    tokens=tokens,
                    trained_tokens=trained,
                    tokens_per_s=tokens / duration,
                    memory_bytes=memory_in_use(self.args.device),
                    duration_s=duration,
                )
            )
        if self.conductor.sample_now is not None:
            asked, self.conductor.sample_now = self.conductor.sample_now, None
            self.sample([Prompt.of(text, self.watch.system) for text in asked] or self.watch.prompts)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Loss on the validation rows and sample replies, as events."""
        metrics = {}
        if self.watch.rows.rows:
            measured = evaluation.evaluate(
                self.model,
                self.watch.rows,
                self.plan_steps.budget,
                self.args.device,
                self.plan_steps.long_from,
            )
            self.last_evaluation = measured
            metrics = {"eval_loss": measured.loss}
            self.run.emit(
                Evaluated(
                    step=self.state.global_step,
                    loss=measured.loss,
                    perplexity=measured.perplexity,
                    rows=measured.rows,
                    trained_tokens=measured.trained_tokens,
                    duration_s=measured.duration_s,
                )
            )
        self.sample(self.watch.prompts)
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def sample(self, prompts: Sequence[Prompt]) -> None:
        """Greedy replies to some prompts, as events."""
        if not prompts:
            return
        replies = evaluation.greedy_replies(
            self.model, self.watch.renderer, prompts, self.watch.reply_tokens, self.args.device
        )
        for prompt, (reply, tokens) in zip(prompts, replies, strict=True):
            self.run.emit(
                Sampled(
                    step=self.state.global_step,
                    prompt=prompt.text,
                    reply=reply,
                    tokens=tokens,
                    expected=prompt.expected,
                )
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint aside and publish it; a full disk is a warning, and the run goes on."""
        step = self.state.global_step
        partial: Path | None = None
        try:
            partial = self.run.partial_checkpoint(step)
            self._write_checkpoint(partial)
            path = self.run.publish_checkpoint(partial, step)
        except Exception as error:
            if partial is not None:
                shutil.rmtree(partial, ignore_errors=True)
            if not is_disk_full(error, self.run.directory):
                raise
            self._warn_of_full_disk(step)
            return
        self.last_checkpoint = path
        size = sum(item.stat().st_size for item in path.iterdir())
        self.run.emit(Checkpointed(step=step, path=str(path.relative_to(self.run.directory)), bytes=size))
        self.run.prune_checkpoints(self.recipe.value("keep_checkpoints"))

    def _write_checkpoint(self, folder: Path) -> None:
        self.save_adapter(folder)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        self.state.save_to_json(str(folder / TRAINER_STATE_NAME))

    def save_adapter(self, folder: Path) -> None:
        """Adapter, tokenizer, template and generation settings: all that is needed to use it on its base."""
        self.model.save_pretrained(folder, safe_serialization=True)
        (folder / "README.md").unlink()  # peft's empty form of a model card
        self.add_model_facts(folder)

    def _warn_of_full_disk(self, step: int) -> None:
        free = shutil.disk_usage(self.run.directory).free
        asked, self.conductor.leaving = self.conductor.leaving, ""
        self.control.should_training_stop = False
        self.run.emit(
            Warned(
                text=f"The disk is full: checkpoint {step} could not be written ({free >> 20} MB free)."
                + (
                    f" The run was not {'stopped' if asked == 'stop' else 'paused'} and goes on."
                    if asked
                    else ""
                ),
                next_step="Free space on the disk of the run directory; the next checkpoint tries again.",
            )
        )
