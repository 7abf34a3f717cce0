"""Rows as tensors: the batches of one step, and of a whole set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from core.training.plan import Plan, micro_batches
from core.training.rows import Row, Rows


def pad(rows: Sequence[Row], pad_id: int) -> dict[str, torch.Tensor]:
    """One batch, padded on the right.

    Returns:
        `input_ids` and `attention_mask` (int64, shape (rows, longest)) and `trained` (bool, same shape).
    """
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.int64)
    attention = torch.zeros((len(rows), longest), dtype=torch.int64)
    trained = torch.zeros((len(rows), longest), dtype=torch.bool)
    for number, row in enumerate(rows):
        length = len(row.ids)
        ids[number, :length] = torch.from_numpy(row.ids.astype(np.int64))
        attention[number, :length] = 1
        trained[number, :length] = torch.from_numpy(row.trained)
    return {"input_ids": ids, "attention_mask": attention, "trained": trained}


def batches(rows: Rows, batch_size: int, pad_id: int) -> Iterator[dict[str, torch.Tensor]]:
    """All rows once, batched by length: for evaluation."""
    lengths = rows.lengths
    for numbers in micro_batches(range(len(rows.rows)), lengths, batch_size):
        yield pad([rows.rows[number] for number in numbers], pad_id)


class Steps(Dataset[list[dict[str, torch.Tensor]]]):
    """The training set as the Trainer sees it: item `i` is the whole of step `i`, a list of batches."""

    def __init__(self, rows: Rows, plan: Plan, batch_size: int, pad_id: int) -> None:
        self.rows = rows
        self.plan = plan
        self.batch_size = batch_size
        self.pad_id = pad_id
        self._lengths = rows.lengths

    def __len__(self) -> int:
        return len(self.plan.steps)

    def __getitem__(self, step: int) -> list[dict[str, torch.Tensor]]:
        return [
            pad([self.rows.rows[number] for number in numbers], self.pad_id)
            for numbers in micro_batches(self.plan.steps[step], self._lengths, self.batch_size)
        ]


def whole_step(items: list[Any]) -> Any:
    """The Trainer's collator: its batch size is 1, and that one item is the step."""
    return items[0]
