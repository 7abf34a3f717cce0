"""transformers' Trainer with finetui's steps, loss, evaluation and checkpoints in place of its own.

What stays the Trainer's: optimiser, schedule, clipping, mixed precision, and resuming all of these bit for bit.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import Trainer, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from core.events import Checkpointed, Evaluated, Sampled, Step, Warned
from core.recipe import Recipe
from core.training import evaluation, mishaps, optimisers
from core.training.budget import Budget, free_memory
from core.training.conductor import Conductor
from core.training.dataset import Steps, whole_step
from core.training.dials import Dials
from core.training.disk import is_disk_full
from core.training.evaluation import Watch
from core.training.export_folder import folder_bytes
from core.training.grace import Grace
from core.training.inputs import Prompt, prompt_of
from core.training.memory import is_out_of_memory, memory_in_use
from core.training.objectives import Objective
from core.training.rank_link import RankRun
from core.training.saving import Keeper
from core.training.sharding import Parts, load_weights
from core.training.surroundings import RandomState, write_surroundings
from core.work import Run


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
        objective: Objective,
        keeper: Keeper,
    ) -> None:
        self.ranks = steps.ranks
        self.conductor = Conductor(recipe, run, len(steps), self.ranks)
        super().__init__(
            model=model, args=args, train_dataset=steps, data_collator=whole_step, callbacks=[self.conductor]
        )
        self.model_accepts_loss_kwargs = False
        self.grace = Grace(run, recipe.value("grace_s"))
        if not self.ranks.sharded:
            self.grace.watch(model)
        self.plan_steps = steps
        self.recipe = recipe
        self.run = run
        self.watch = watch
        self.objective = objective
        self.keeper = keeper
        self.last_evaluation: evaluation.Measured | None = None
        self.last_checkpoint: Path | None = None
        self._step_tokens = (0, 0)
        self._step_started = 0.0
        self._before_step: RandomState | None = None
        self._budget = steps.budget
        self._measured_at_once = Budget(steps.budget, lambda tokens: self.tell(mishaps.measures_less(tokens)))

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(self.plan_steps)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Every step on every rank: the ranks part the rows of a step, not the steps."""
        if self.ranks.size == 1:
            return super().get_train_dataloader()
        return DataLoader(self.plan_steps, batch_size=1, shuffle=False, collate_fn=whole_step)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The recipe's optimiser; those that the Trainer has no name for are made here."""
        self.optimizer: torch.optim.Optimizer | None
        if self.optimizer is None:
            rate, decay = self.args.learning_rate, self.args.weight_decay
            ratio = self.recipe.value("lora_plus_ratio")
            if self.recipe.value("optimizer") == "muon":
                self.optimizer = optimisers.make_muon(self.model, rate, decay)
            elif ratio != 1:
                kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
                self.optimizer = optimisers.make_lora_plus(self.model, kind, options, ratio, decay)
        made: torch.optim.Optimizer = super().create_optimizer(model)
        return made

    def training_step(
        self, model: Any, inputs: list[dict[str, Any]], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Forward and backward of all packs of a step, its loss averaged over all that it learns.

        When memory runs out, the step is begun anew with half as much at once.

        Raises:
            TrainingError: the loss is no number, or not even one row fits into memory.
            StepDropped: the process is to end before the step would.
        """
        step = self.state.global_step
        self._step_started = time.perf_counter()
        if self.ranks.size > 1:
            self.ranks.seed_step(self.recipe.value("seed"), step)
        self.grace.begin_step(self.ranks)
        self._before_step = RandomState.now()
        model.train()
        if self.plan_steps.budget != self._budget:  # the item was made before memory ran out
            inputs = self.plan_steps[step]
        whole = self.plan_steps.whole(step)
        while (total := self._through(inputs, whole.weight)) is None:
            self._halve_budget()
            self._before_step.restore()
            model.zero_grad()
            inputs = self.plan_steps[step]
        if self.ranks.size > 1 and not self.ranks.sharded:
            self.ranks.add_up(model, [item for item in self.model.parameters() if item.requires_grad])
        self._step_tokens = (whole.tokens, whole.trained)
        if not torch.isfinite(total):
            raise mishaps.diverged(step + 1, total.item())
        return total

    def _through(self, inputs: list[dict[str, Any]], weight: int) -> torch.Tensor | None:
        """All packs forward and backward; the mean loss, or None when memory ran out on the way.

        The ranks' gradients and losses are averaged later, so each is made as many times as large as there are ranks.

        Args:
            inputs: this rank's packs.
            weight: of the whole step.
        """
        share = weight if self.ranks.size == 1 else weight / self.ranks.size
        total = torch.zeros((), device=self.args.device)
        packs = self._in_lockstep(inputs) if self.ranks.sharded else inputs
        try:
            for batch in packs:
                with self.accelerator.autocast():
                    loss = self.objective.summed(self._prepare_inputs(batch)) / share
                if batch.get("idle"):
                    loss = loss * 0
                self.accelerator.backward(loss)
                total += loss.detach()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if self.ranks.sharded:
                raise mishaps.too_much_for_parts(
                    self.state.global_step + 1, self.plan_steps.budget
                ) from error
            return None  # and with the error go the activations that its traceback holds
        return total

    def _in_lockstep(self, inputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """As many packs on each rank, since they compute every layer together; those left over teach nothing."""
        for number in range(self.ranks.most(len(inputs))):
            self.grace.check_together(self.ranks)
            if number < len(inputs):
                yield inputs[number]
            else:
                yield {**self.plan_steps.idle(self.state.global_step), "idle": True}

    def _halve_budget(self) -> None:
        step = self.state.global_step
        longest = max(pack["computed"] for pack in self.plan_steps[step])
        budget = self.plan_steps.halve_budget(step)
        if not budget:
            raise mishaps.too_long(step + 1, longest)
        free_memory()
        self.tell(mishaps.computes_less(step + 1, budget))

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> float:
        """The gradients' norm, asked for right before the optimiser's step.

        Raises:
            TrainingError: it is no number, and the step would make all weights none either.
        """
        norm = float(super()._get_grad_norm(model, grad_norm))
        if not math.isfinite(norm) and self.accelerator.scaler is None:  # a scaler leaves such steps out
            raise mishaps.diverged(self.state.global_step + 1, norm, "gradient")
        return norm

    def tell(self, warning: Warned) -> None:
        """Warn of what concerns this rank alone."""
        self.run.warn(warning) if isinstance(self.run, RankRun) else self.run.emit(warning)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report a step; the Trainer's closing summary is not one."""
        if "grad_norm" in logs:
            step = self.state.global_step
            self._before_step = None
            self.grace.end_step()
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
            task = self.recipe.value("task")
            self.sample([prompt_of(task, text, self.watch.system) for text in asked] or self.watch.prompts)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Loss on the validation rows and sample replies, as events."""
        metrics = {}
        if self.watch.rows.rows:
            takes_part = self.ranks.first or self.ranks.sharded
            measured = self.ranks.agree(self._evaluated() if takes_part else None)
            assert measured is not None  # rank 0 has measured
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
                    metrics=measured.metrics,
                )
            )
        self.sample(self.watch.prompts)
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _evaluated(self) -> evaluation.Measured:
        """The validation loss; where memory runs out with ever less at once, down to one short row.

        Raises:
            TrainingError: not even that fits.
        """

        def measure(budget: int) -> evaluation.Measured:
            with self.accelerator.autocast():
                return evaluation.evaluate(
                    self.model,
                    self.objective,
                    self.watch.rows,
                    budget,
                    self.args.device,
                    self.plan_steps.long_from,
                )

        if self.ranks.sharded:
            return measure(self.plan_steps.budget)
        self._measured_at_once.tokens = min(self._measured_at_once.tokens, self.plan_steps.budget)
        try:
            return self._measured_at_once.spend(measure)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise mishaps.too_long_to_measure(max(row.tokens for row in self.watch.rows.rows)) from error

    def sample(self, prompts: Sequence[Prompt]) -> None:
        """Greedy replies to some prompts, as events."""
        takes_part = self.ranks.first or self.ranks.sharded
        if not prompts or not takes_part or self.recipe.value("task") == "classification":
            return
        try:
            replies = evaluation.greedy_replies(
                self.model, self.watch.renderer, prompts, self.watch.reply_tokens, self.args.device
            )
        except (RuntimeError, MemoryError) as error:
            if self.ranks.sharded or not is_out_of_memory(error):
                raise
            replies = []
        if not replies:
            free_memory()
            self.tell(mishaps.too_large_to_sample(self.state.global_step))
            return
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

    def leave_in_time(self) -> None:
        """After `StepDropped`: keep what the last finished step left, and be done."""
        step = self.state.global_step
        self.ranks.part()
        dropped = self._before_step is not None
        self.conductor.take_requests(self.control, step)
        if self._before_step is not None:
            self._before_step.restore()
            self.model.zero_grad()
        saved = self.last_checkpoint or self.run.resume_from
        if step and (saved is None or saved.name != f"step-{step}"):
            self._save_checkpoint(self.model, None)
        if dropped:
            self.run.emit(mishaps.dropped(step + 1, self.recipe.value("grace_s")))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint aside and publish it; a full disk is a warning, and the run goes on."""
        step = self.state.global_step
        started = time.monotonic()
        parts = Parts.of(self) if self.ranks.sharded else None
        path = self.ranks.agree(self._written(step, parts) if self.ranks.first else None)
        if path is None:
            asked, self.conductor.leaving = self.conductor.leaving, ""
            self.control.should_training_stop = False
            self.run.emit(mishaps.disk_full(step, shutil.disk_usage(self.run.directory).free, asked))
            return
        self.last_checkpoint = path
        self.grace.save_s = time.monotonic() - started
        if self.ranks.first:
            size = folder_bytes(path)
            self.run.emit(Checkpointed(step=step, path=str(path.relative_to(self.run.directory)), bytes=size))
            best = self.state.best_global_step if self.recipe.value("keep_best") else None
            self.run.prune_checkpoints(self.recipe.value("keep_checkpoints"), best)

    def _written(self, step: int, parts: Parts | None) -> Path | None:
        """Write and publish a checkpoint; its folder, or None where the disk is full."""
        partial: Path | None = None
        try:
            partial = self.run.partial_checkpoint(step)
            self._write_checkpoint(partial, parts)
            return self.run.publish_checkpoint(partial, step)
        except Exception as error:
            if partial is not None:
                shutil.rmtree(partial, ignore_errors=True)
            if not is_disk_full(error, self.run.directory):
                raise
            return None

    def _write_checkpoint(self, folder: Path, parts: Parts | None = None) -> None:
        self.keeper.save(folder, state=parts.weights if parts else None)
        self.conductor.dials.save(folder)
        if parts is None:
            self._save_optimizer_and_scheduler(str(folder))
        else:
            parts.save(folder)
        self._save_scaler(str(folder))
        if self.ranks.size == 1:
            self._save_rng_state(str(folder))
        write_surroundings(folder, self.args.device, self.plan_steps.budget)
        self.state.save_to_json(str(folder / TRAINER_STATE_NAME))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if self.ranks.size == 1:  # else every step is seeded
            super()._load_rng_state(checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.ranks.sharded and checkpoint is not None:
            Parts.load(self, Path(checkpoint))
        else:
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.conductor.dials = Dials.load(Path(resume_from_checkpoint)) or self.conductor.dials
        if self.ranks.sharded:
            load_weights(self.model, Path(resume_from_checkpoint))
        elif not self.keeper.load(Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def take_best(self) -> float | None:
        """Put the best checkpoint's weights in place of the last ones; its loss, or None where the last are the best
        or its checkpoint could not be written."""
        best = self.state.best_global_step
        folder = self.run.directory / "checkpoints" / f"step-{best}"
        if best in (None, self.state.global_step) or not folder.exists():
            return None
        self._load_from_checkpoint(str(folder))
        loss: float | None = self.state.best_metric
        return loss
