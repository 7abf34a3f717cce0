"""Packs as tensors: the whole of one step, for the Trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset

from core.training.cutting import AnyPack, cut
from core.training.plan import Plan
from core.training.ranks import ALONE, Ranks
from core.training.rows import AnyRow, Row, Rows
from core.training.tree import Pack
from core.training.tree_layout import Tree


def pack_tensors(pack: Pack, device: torch.device | None = None) -> dict[str, Any]:
    """A pack for the model.

    Returns:
        `input_ids` and `position_ids` (int64, shape (1, tokens)), `predictors`, `targets` (int64) and `weights`
        (float32), all three of shape (targets,), and `tree`; also the numbers `rows`, `computed`, `tokens`
        and `trained` (tokens computed, tokens of the rows one by one, trained ones of these), and `weight`: what the
        summed loss is divided by.
    """
    return {
        "input_ids": torch.from_numpy(pack.ids).to(device)[None],
        "position_ids": torch.from_numpy(pack.positions).to(device)[None],
        "predictors": torch.from_numpy(pack.predictors).to(device),
        "targets": torch.from_numpy(pack.targets).to(device),
        "weights": torch.from_numpy(pack.weights).to(device),
        "tree": Tree.of(pack),
        "rows": pack.rows,
        "computed": len(pack.ids),
        "tokens": pack.row_tokens,
        "trained": int(pack.weights.sum()),
        "weight": int(pack.weights.sum()),
    }


class Whole(NamedTuple):
    """A whole step: tokens of its rows one by one, trained ones of these, and what its summed loss is divided by."""

    tokens: int
    trained: int
    weight: int


class Steps(Dataset[list[dict[str, Any]]]):
    """The training set as the Trainer sees it: item `i` is the whole of step `i`, a list of packs.

    Args:
        rows: of one epoch.
        plan: which of them make up which step.
        budget: tokens computed at once.
        tensors: makes a pack a batch, as the objective has it.
        long_from: see `tree.packs`.
        ranks: an item has only this rank's packs.
    """

    def __init__(
        self,
        rows: Rows,
        plan: Plan,
        budget: int,
        tensors: Callable[[AnyPack], dict[str, Any]],
        long_from: int | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.rows = rows
        self.plan = plan
        self.budget = budget
        self.tensors = tensors
        self.long_from = long_from
        self.ranks = ranks

    def halve_budget(self, step: int) -> int:
        """Compute less at once from now on, so little that step `step` is cut into more packs; the new budget.

        Returns:
            0 when every pack of the step is one row already: nothing is changed then.
        """
        packs = self[step]
        if all(pack["rows"] == 1 for pack in packs):
            return 0
        budget = max(pack["computed"] for pack in packs if pack["rows"] > 1)
        self.budget = max(1, min(self.budget, budget) // 2)
        return self.budget

    def __len__(self) -> int:
        return len(self.plan.steps)

    def __getitem__(self, step: int) -> list[dict[str, Any]]:
        rows = self.ranks.share(self._rows(step))
        return [self.tensors(pack) for pack in cut(rows, self.budget, self.long_from)] if rows else []

    def _rows(self, step: int) -> list[AnyRow]:
        return [self.rows.rows[number] for number in self.plan.steps[step]]

    def whole(self, step: int) -> Whole:
        """What all ranks together compute in a step."""
        rows = self._rows(step)
        weight = sum(row.learned if isinstance(row, Row) else 1 for row in rows)
        return Whole(sum(row.tokens for row in rows), sum(row.learned for row in rows), weight)

    def idle(self, step: int) -> dict[str, Any]:
        """A pack of a step, to be computed for nothing by a rank that has none left while others have."""
        shortest = min(self._rows(step), key=lambda row: row.tokens)
        return self.tensors(next(iter(cut([shortest], self.budget, self.long_from))))


def whole_step(items: Sequence[Any]) -> Any:
    """The Trainer's collator: its batch size is 1, and that one item is the step."""
    return items[0]
