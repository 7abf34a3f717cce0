"""The loss: cross-entropy of the trained tokens."""

from __future__ import annotations

from typing import Any

import torch


def summed_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum of the cross-entropies of a batch's trained tokens, each predicted from the tokens before it.

    The caller divides by the number of trained tokens of the whole step. The cache is off: with it on, some
    attention paths change their masks.

    Args:
        model: a causal language model.
        batch: as `dataset.pad` makes it, on the model's device.

    Returns:
        A float32 scalar.
    """
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    ).logits
    predicted = batch["trained"][:, 1:]
    return torch.nn.functional.cross_entropy(
        logits[:, :-1][predicted].float(), batch["input_ids"][:, 1:][predicted], reduction="sum"
    )
