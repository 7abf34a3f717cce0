"""What base and tuned model do on the same rows: loss and accuracies, chunk by chunk, so that memory stays flat."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from core.data.conversation import Conversation
from core.data.rendering import Renderer, RenderingError
from core.training.budget import Budget
from core.training.classification import LabelLoss
from core.training.cutting import cut
from core.training.evaluation import evaluate, measuring
from core.training.held_out import HeldOut, HeldOutError, in_chunks
from core.training.objectives import Objective, make_objective
from core.training.plan import choose_budget
from core.training.preference import PreferenceLoss, with_reference
from core.training.rows import Labelled, Rows, make_rows
from core.training.scoring import Confusion
from core.training.sides import SIDES, Sides, Subject
from core.training.tasks import render

CHUNK_ROWS = 256
"""Rows rendered and measured before the next ones are read."""


class Means:
    """Weighted means of figures by name."""

    def __init__(self) -> None:
        self.weight = 0.0
        self._sums: dict[str, float] = {}

    def add(self, figures: dict[str, float], weight: float) -> None:
        """Means over `weight` more of what they are means of."""
        self.weight += weight
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * weight

    def means(self) -> dict[str, float]:
        return {name: value / self.weight for name, value in self._sums.items()}


class Ranking(PreferenceLoss):
    """Preferences, and how often the chosen answer is the likelier one for the model itself, token by token.

    That share needs no reference, so a base has it too.
    """

    likelier = 0

    def answers(self, batch: dict[str, Any]) -> torch.Tensor:
        found = super().answers(batch)
        chosen, rejected = found / batch["lengths"]
        self.likelier += int((chosen > rejected).sum().item())
        return found


class Losses:
    """Measures rows on both sides.

    Args:
        subject: what is measured.
        sides: its models.

    Attributes:
        rows: measured so far.
        trained_tokens: of these.
        dropped: rows left out because nothing was left to learn within the sequence length.
        cut: rows that were longer than it.
        confusion: of a classifier's sides.
    """

    def __init__(self, subject: Subject, sides: Sides) -> None:
        self.rows = self.trained_tokens = self.dropped = self.cut = 0
        self.confusion = {side: Confusion(subject.labels) for side in SIDES} if subject.labels else {}
        self._subject = subject
        self._sides = sides
        self._means = {side: Means() for side in SIDES}
        self._budget = Budget(choose_budget(subject.recipe, sides.device.type))
        self._labels = {label: number for number, label in enumerate(subject.labels)}

    def measure(self, held: HeldOut) -> Generator[int, None, None]:
        """Take in all rows; yields how many are done, from 0.

        Raises:
            HeldOutError: a row can't be measured on, or none can.
            RenderingError: the model's template refuses a row.
        """
        yield 0
        done = 0
        with tempfile.TemporaryDirectory() as scratch:
            for chunk in in_chunks(iter(held), CHUNK_ROWS):
                made = self._made(chunk)
                if made.rows:
                    for side in self._measure(made, Path(scratch) / f"{done}.npy"):
                        yield done + len(chunk) * SIDES.index(side) // len(SIDES)
                done += len(chunk)
                yield done
        if not self.rows:
            raise HeldOutError(
                "No row can be measured on.",
                f"None of {done} rows has a token to learn within "
                f"{self._subject.recipe.value('sequence_length')} tokens, the run's sequence length.",
                "Name a file of shorter rows: `--data FILE`.",
            )

    def figures(self, side: str) -> dict[str, float]:
        """Means by name."""
        found = self._means[side].means()
        if "token_accuracy" in found:
            found["perplexity"] = math.exp(found["loss"]) if found["loss"] < 700 else math.inf
        if self.confusion:
            found |= self.confusion[side].figures()
        if side == "base" and self._subject.task == "dpo":  # it is its own reference: nothing to prefer by
            del found["preference_accuracy"], found["margin"]
        return found

    def _made(self, chunk: Sequence[Conversation]) -> Rows:
        self._refuse_unknown_labels(chunk)
        recipe = self._subject.recipe
        examples = _rendered(self._subject.task, chunk, self._subject.renderer)
        made = make_rows(examples, recipe.value("sequence_length"), self._labels)
        self.dropped += made.dropped
        self.cut += made.cut
        return made

    def _refuse_unknown_labels(self, chunk: Sequence[Conversation]) -> None:
        for row in chunk:
            if row.label is not None and row.label not in self._labels:
                raise HeldOutError(
                    f"{row.where}: the model has no class {row.label!r}.",
                    f"It knows {', '.join(self._subject.labels[:8])}.",
                    "Correct the row, or leave it out.",
                )

    def _measure(self, made: Rows, scratch: Path) -> Iterable[str]:
        """Measure a chunk on each side, named when it begins."""
        task = self._subject.task
        for side in SIDES:
            yield side
            with self._sides.model(side) as model:
                if task == "classification":
                    self._classify(side, LabelLoss(model, 0.0), model, made)
                elif task in ("dpo", "orpo"):
                    made = self._rank(side, model, made, scratch)
                else:
                    self._learned(side, model, make_objective(self._subject.recipe, model), made)
        self.rows += len(made.rows)
        self.trained_tokens += made.learned

    def _learned(self, side: str, model: Any, objective: Objective, made: Rows) -> None:
        found = self._budget.spend(lambda tokens: self._evaluated(model, objective, made, tokens))
        self._means[side].add(found, made.learned)

    def _rank(self, side: str, model: Any, made: Rows, scratch: Path) -> Rows:
        """Measure pairs; returns them with their reference, which DPO takes from the base."""
        objective = Ranking(model, self._subject.recipe.value("beta"), self._subject.task == "orpo")
        if side == "base" and self._subject.task == "dpo":
            pairs = made
            made = self._budget.spend(
                lambda tokens: with_reference(pairs, objective, tokens, self._sides.long_from, scratch)
            )

        def work(tokens: int) -> dict[str, float]:
            objective.likelier = 0
            found = self._evaluated(model, objective, made, tokens)
            return {**found, "chosen_likelier": objective.likelier / len(made.rows)}

        self._means[side].add(self._budget.spend(work), len(made.rows))
        return made

    def _classify(self, side: str, objective: LabelLoss, model: Any, made: Rows) -> None:
        texts = [row for row in made.rows if isinstance(row, Labelled)]

        def work(tokens: int) -> tuple[float, list[tuple[int, int]]]:
            loss, pairs = 0.0, list[tuple[int, int]]()
            with measuring(model):
                for pack in cut(texts, tokens, self._sides.long_from):
                    batch = objective.tensors(pack, self._sides.device)
                    logits = objective.logits(batch)
                    loss += cross_entropy(logits, batch["labels"], reduction="sum").item()
                    pairs += zip(batch["labels"].tolist(), logits.argmax(1).tolist(), strict=True)
            return loss, pairs

        loss, pairs = self._budget.spend(work)
        self._means[side].add({"loss": loss / len(texts)}, len(texts))
        for wanted, given in pairs:
            self.confusion[side].add(wanted, given)

    def _evaluated(self, model: Any, objective: Objective, made: Rows, tokens: int) -> dict[str, float]:
        found = evaluate(model, objective, made, tokens, self._sides.device, self._sides.long_from)
        return {"loss": found.loss, **found.metrics}


def _rendered(task: str, rows: Iterable[Conversation], renderer: Renderer) -> Iterable[Any]:
    for item in render(task, rows, renderer):
        if isinstance(item, RenderingError):
            raise item
        yield item
