"""The output head and its loss, in chunks: the logits of a pack are never held at once.

Only hidden states that predict a trained token go through the head. With a frozen head the gradient of the
hidden states is computed along with the loss, so a chunk's logits live only as long as the chunk (the idea of
cut cross-entropy, arXiv 2411.09009, with plain matrix products).
"""

from __future__ import annotations

from typing import Any

import torch

from core.training.memory import LOGITS_BYTES


class _FrozenHeadLoss(torch.autograd.Function):
    """Weighted sum of cross-entropies of `hidden @ weight.T` against targets; gradient for `hidden` only."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        weights: torch.Tensor,
        softcap: float | None,
    ) -> torch.Tensor:
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        rows = max(1, LOGITS_BYTES // (4 * weight.shape[0]))
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            total += _chunk(hidden[part], weight, bias, targets[part], weights[part], softcap, gradient, part)
        ctx.gradient = gradient
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (scale,) = outputs
        gradient = ctx.gradient.mul_(scale.to(ctx.gradient.dtype))
        del ctx.gradient
        return gradient, None, None, None, None, None


def _chunk(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    weights: torch.Tensor,
    softcap: float | None,
    gradient: torch.Tensor | None,
    part: slice,
) -> torch.Tensor:
    """The loss of a chunk; its gradient is written to `gradient[part]`."""
    logits = torch.nn.functional.linear(hidden, weight, bias).float()
    slope = None
    if softcap is not None:
        slope = logits.div_(softcap).tanh_()
        logits = slope * softcap
    chosen = logits.gather(1, targets[:, None])[:, 0]
    normaliser = logits.logsumexp(1)
    loss = ((normaliser - chosen) * weights).sum()
    if gradient is not None:
        errors = logits.sub_(normaliser[:, None]).exp_()
        errors[torch.arange(len(targets), device=errors.device), targets] -= 1
        errors.mul_(weights[:, None])
        if slope is not None:
            errors.mul_(1 - slope.square())
        torch.matmul(errors.to(weight.dtype), weight, out=gradient[part])
    return loss


def head_loss(
    hidden: torch.Tensor,
    head: torch.nn.Linear,
    targets: torch.Tensor,
    weights: torch.Tensor,
    softcap: float | None = None,
) -> torch.Tensor:
    """Weighted sum of the cross-entropies of predicted tokens.

    Args:
        hidden: states that predict, shape (targets, width).
        head: the frozen output layer.
        targets: token ids, shape (targets,).
        weights: float32, shape (targets,).
        softcap: the logits are capped smoothly at this (Gemma 2), or None.

    Returns:
        A float32 scalar.
    """
    loss: torch.Tensor = _FrozenHeadLoss.apply(hidden, head.weight, head.bias, targets, weights, softcap)
    return loss
