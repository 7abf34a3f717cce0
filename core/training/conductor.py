"""The Trainer's settings, and what is decided at each step's end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from core.events import Changed, Warned
from core.recipe import Recipe
from core.training import optimisers
from core.training.dials import DialError, Dials, refuse_past
from core.training.plan import report_interval
from core.training.ranks import ALONE, Ranks
from core.work import Run

SCHEDULES = {"constant": "constant_with_warmup"}
"""The Trainer's names, where they are others than the recipe's."""


def training_arguments(
    recipe: Recipe, steps: int, precision: str, folder: Path, cpu: bool
) -> TrainingArguments:
    """The Trainer's settings for a recipe. Saving, logging and evaluation are decided by our callback."""
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        learning_rate=recipe.value("learning_rate"),
        lr_scheduler_type=SCHEDULES.get(recipe.value("schedule"), recipe.value("schedule")),
        lr_scheduler_kwargs=_decay(recipe, steps),
        warmup_steps=min(round(recipe.value("warmup") * steps), steps - 1),  # a step at least that learns
        weight_decay=recipe.value("weight_decay"),
        max_grad_norm=recipe.value("max_grad_norm"),
        optim=optimisers.name(recipe.value("optimizer"), cpu),
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
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        use_cpu=cpu,
        seed=recipe.value("seed"),
        data_seed=recipe.value("seed"),
    )


def _decay(recipe: Recipe, steps: int) -> dict[str, int]:
    """`warmup_stable_decay` falls in the last tenth of the steps (MiniCPM: Hu et al., 2024)."""
    stable = recipe.value("schedule") == "warmup_stable_decay"
    return {"num_decay_steps": max(1, steps // 10)} if stable else {}


class Conductor(TrainerCallback):
    """Decides at each step's end what happens next: evaluate, save, answer requests, leave.

    Attributes:
        dials: the settings in force.
        leaving: `stop` or `pause` when that was asked for.
        enough: training ends early, since the validation loss has stopped falling.
        sample_now: prompts to be answered after this step, empty for those of the recipe; None for no sample.
    """

    def __init__(self, recipe: Recipe, run: Run, steps: int, ranks: Ranks = ALONE) -> None:
        self.run = run
        self.ranks = ranks
        self.dials = Dials(recipe.value("learning_rate"), report_interval(steps, recipe.evaluate_every))
        self.checkpoint_every = report_interval(steps, recipe.checkpoint_every)
        self.patience = recipe.early_stopping
        self.keep_best = recipe.value("keep_best")
        self.leaving = ""
        self.enough = False
        self.sample_now: list[str] | None = None
        self._factor = 1.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """A run that goes on from the step that it was to stop after goes on to its plan's end."""
        if self.dials.is_past(state.global_step):
            self._turn("stop_after", None, state.global_step)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        **_: Any,
    ) -> TrainerControl:
        """Set the Trainer's flags."""
        self.take_requests(control, state.global_step)
        if self._factor != 1.0:
            _scale(optimizer, lr_scheduler, self._factor)
            self._factor = 1.0
        last = state.global_step >= state.max_steps
        control.should_evaluate = state.global_step % self.dials.evaluate_every == 0 or last
        control.should_save |= state.global_step % self.checkpoint_every == 0 or last
        if self.dials.is_past(state.global_step):
            self.leaving = self.leaving or "stop"
        if self.leaving and not last:
            control.should_save = True
            control.should_training_stop = True
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> TrainerControl:
        """Remember the best step, which a checkpoint's state carries on; end when nothing gets better."""
        loss = (given.get("metrics") or {}).get("eval_loss")
        if loss is None or not state.global_step:
            return control
        better = state.best_metric is None or loss < state.best_metric
        self.dials = replace(self.dials, worse=0 if better else self.dials.worse + 1)
        if better:
            state.best_metric, state.best_global_step = loss, state.global_step
            control.should_save |= self.keep_best
        elif self.patience is not None and self.dials.worse >= self.patience:
            self.enough = True
            control.should_save = True
            control.should_training_stop = True
        return control

    def take_requests(self, control: TrainerControl, step: int) -> None:
        """What the user has asked for since the last step."""
        for request in self.ranks.agree(self.run.requests()):
            if request.verb in ("stop", "pause"):
                self.leaving = request.verb
            elif request.verb == "checkpoint":
                control.should_save = True
            elif request.verb == "sample":
                prompt = request.arguments.get("prompt")
                self.sample_now = [prompt] if prompt else []
            elif request.verb == "change":
                self._turn(str(request.arguments.get("name")), request.arguments.get("value"), step)

    def _turn(self, name: str, value: Any, step: int) -> None:
        """Set a dial and tell it, or say why not."""
        try:
            turned = self.dials.turned(name, value)
            if name == "stop_after" and turned.stop_after is not None:
                refuse_past(turned.stop_after, step - 1)  # this very step is still to come to its end
        except DialError as error:
            self.run.emit(Warned(text=error.what, next_step=error.next_step))
            return
        self._factor *= turned.learning_rate / self.dials.learning_rate
        old, new = (getattr(dials, name) for dials in (self.dials, turned))
        self.dials = turned
        self.run.emit(Changed(name=name, old=_in_words(old), new=_in_words(new), step=step))


def _in_words(value: float | None) -> str:
    return "the end" if value is None else f"{value:g}"


def _scale(optimizer: Any, scheduler: Any, factor: float) -> None:
    """Scale what the schedule is a share of, and the rate that it has set for the next step already."""
    for group in optimizer.param_groups:
        group["lr"] *= factor
        group["initial_lr"] *= factor
    scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]
    scheduler._last_lr = [rate * factor for rate in scheduler._last_lr]
