"""The output head and its loss, in chunks: the logits of a pack are never held at once.

Only hidden states that predict a trained token go through the head. The gradient is computed along with the loss, so a
chunk's logits live only as long as the chunk (the idea of cut cross-entropy, arXiv 2411.09009, with plain matrix
products). A head with an adapter on it goes through autograd instead, a chunk computed anew on the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from core.training.autograd_memory import LOGITS_BYTES


@dataclass(frozen=True)
class Learning:
    """What a predicted token's loss is.

    Args:
        smoothing: share of the target spread evenly over the vocabulary.
        dft: the loss is weighted by the model's own probability of the token, through which no gradient goes:
            -sg(p) log p (arXiv 2508.05629).
    """

    smoothing: float = 0.0
    dft: bool = False


CROSS_ENTROPY = Learning()


def active_head(head: Any) -> Any:
    """The output layer itself, out of the wrapper that peft's `modules_to_save` puts around it."""
    from peft.utils import ModulesToSaveWrapper

    if isinstance(head, ModulesToSaveWrapper) and not head.disable_adapters:
        return head.modules_to_save[head.active_adapters[0]]
    return head.original_module if isinstance(head, ModulesToSaveWrapper) else head


def _chunks(count: int, vocabulary: int) -> Iterator[slice]:
    size = max(1, LOGITS_BYTES // (4 * vocabulary))
    return (slice(start, start + size) for start in range(0, count, size))


class _Logits:
    """Logits of some hidden states, and the way back to these.

    Args:
        hidden: shape (tokens, width).
        weight: of the head, shape (words, width).
        bias: shape (words,), or None.
        softcap: the logits are capped smoothly at this (Gemma 2), or None.
    """

    def __init__(
        self, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, softcap: float | None
    ) -> None:
        logits = linear(hidden, weight, bias).float()
        self._slope = None
        if softcap is not None:
            self._slope = logits.div_(softcap).tanh_()
            logits = self._slope * softcap
        self.values = logits
        self.normaliser = logits.logsumexp(1)

    def of(self, targets: torch.Tensor) -> torch.Tensor:
        """The logits of the targets, shape (tokens,)."""
        return self.values.gather(1, targets[:, None])[:, 0]

    def errors(self, targets: torch.Tensor, smoothing: float, weights: torch.Tensor) -> torch.Tensor:
        """Gradient of the weighted cross-entropies by the head's products; uses the logits up."""
        errors = self.values.sub_(self.normaliser[:, None]).exp_()
        if smoothing:
            errors.sub_(smoothing / errors.shape[1])
        errors[torch.arange(len(targets), device=errors.device), targets] -= 1 - smoothing
        errors.mul_(weights[:, None])
        return errors if self._slope is None else errors.mul_(1 - self._slope.square())


class _HeadLoss(torch.autograd.Function):
    """Weighted sum of the losses of `hidden @ weight.T`; gradients for `hidden`, and for weight and bias if trained."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        weights: torch.Tensor,
        softcap: float | None,
        learning: Learning,
    ) -> torch.Tensor:
        gradients = _wanted((hidden, weight, bias), ctx)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for part in _chunks(len(hidden), len(weight)):
            logits = _Logits(hidden[part], weight, bias, softcap)
            loss, factors = _losses(logits, targets[part], weights[part], learning)
            total += loss
            if any(item is not None for item in gradients):
                errors = logits.errors(targets[part], learning.smoothing, factors).to(weight.dtype)
                _add_gradients(gradients, errors, hidden, weight, part)
                del errors
            del logits  # before the next chunk's are made
        ctx.gradients = gradients
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (scale,) = outputs
        scaled = [None if item is None else item.mul_(scale.to(item.dtype)) for item in ctx.gradients]
        del ctx.gradients
        return (*scaled, None, None, None, None)


def _wanted(items: tuple[torch.Tensor | None, ...], ctx: Any) -> list[torch.Tensor | None]:
    """Zeros for the gradients of those items that have one."""
    return [
        torch.zeros_like(item) if item is not None and needs else None
        for item, needs in zip(items, ctx.needs_input_grad, strict=False)
    ]


def _add_gradients(
    gradients: list[torch.Tensor | None],
    errors: torch.Tensor,
    hidden: torch.Tensor,
    weight: torch.Tensor,
    part: slice,
) -> None:
    """What a chunk's errors give for hidden states, weight and bias, each where it is wanted."""
    slope, of_weight, of_bias = gradients
    if slope is not None:
        torch.matmul(errors, weight, out=slope[part])
    if of_weight is not None:
        of_weight.addmm_(errors.T, hidden[part])
    if of_bias is not None:
        of_bias += errors.sum(0)


def _losses(
    logits: _Logits, targets: torch.Tensor, weights: torch.Tensor, learning: Learning
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weighted loss of a chunk, and the factor of each token's cross-entropy in its gradient."""
    chosen = logits.of(targets)
    losses = logits.normaliser - chosen
    if learning.dft:
        weights = weights * losses.neg().exp()
    if learning.smoothing:
        losses = losses + learning.smoothing * (chosen - logits.values.mean(1))
    return (losses * weights).sum(), weights


class _LogProbs(torch.autograd.Function):
    """Log probabilities of the targets; the logits are computed again on the way back."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        softcap: float | None,
    ) -> torch.Tensor:
        result = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for part in _chunks(len(hidden), len(weight)):
            logits = _Logits(hidden[part], weight, bias, softcap)
            result[part] = logits.of(targets[part]) - logits.normaliser
            del logits
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.softcap = softcap
        return result

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        gradients = _wanted((hidden, weight, bias), ctx)
        for part in _chunks(len(hidden), len(weight)):
            logits = _Logits(hidden[part], weight, bias, ctx.softcap)
            errors = logits.errors(targets[part], 0.0, -outputs[0][part]).to(weight.dtype)
            _add_gradients(gradients, errors, hidden, weight, part)
            del logits, errors
        return (*gradients, None, None)


def head_loss(
    hidden: torch.Tensor,
    head: Any,
    targets: torch.Tensor,
    weights: torch.Tensor,
    softcap: float | None = None,
    learning: Learning = CROSS_ENTROPY,
) -> torch.Tensor:
    """Weighted sum of the losses of predicted tokens.

    Args:
        hidden: states that predict, shape (targets, width).
        head: the output layer.
        targets: token ids, shape (targets,).
        weights: float32, shape (targets,).
        softcap: the logits are capped smoothly at this (Gemma 2), or None.
        learning: which loss.

    Returns:
        A float32 scalar.
    """
    if type(head) is torch.nn.Linear:
        loss: torch.Tensor = _HeadLoss.apply(
            hidden, head.weight, head.bias, targets, weights, softcap, learning
        )
        return loss

    def losses(states: torch.Tensor, part: slice) -> torch.Tensor:
        logits = _capped(head(states).float(), softcap)
        log_probs = logits.log_softmax(1)
        chosen = log_probs.gather(1, targets[part, None])[:, 0]
        factors = weights[part] * chosen.detach().exp() if learning.dft else weights[part]
        smooth = learning.smoothing
        return -(((1 - smooth) * chosen + smooth * log_probs.mean(1)) * factors).sum()

    return torch.stack(list(_through(hidden, head, losses))).sum()


def head_log_probs(
    hidden: torch.Tensor, head: Any, targets: torch.Tensor, softcap: float | None = None
) -> torch.Tensor:
    """Log probabilities of predicted tokens, float32, shape (targets,). Arguments as of `head_loss`."""
    if type(head) is torch.nn.Linear:
        result: torch.Tensor = _LogProbs.apply(hidden, head.weight, head.bias, targets, softcap)
        return result

    def log_probs(states: torch.Tensor, part: slice) -> torch.Tensor:
        logits = _capped(head(states).float(), softcap)
        return logits.log_softmax(1).gather(1, targets[part, None])[:, 0]

    return torch.cat(list(_through(hidden, head, log_probs)))


def head_hits(
    hidden: torch.Tensor, head: Any, targets: torch.Tensor, softcap: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of each target, and whether it is the likeliest word; without gradients.

    Returns:
        float32 and bool, both of shape (targets,).
    """
    losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    hits = torch.empty(len(hidden), dtype=torch.bool, device=hidden.device)
    with torch.no_grad():
        for part in _chunks(len(hidden), _words(head)):
            logits = _capped(head(hidden[part]).float(), softcap)
            losses[part] = torch.nn.functional.cross_entropy(logits, targets[part], reduction="none")
            hits[part] = logits.argmax(1) == targets[part]
    return losses, hits


def _inner(head: Any) -> Any:
    """The layer under an adapter."""
    return head.get_base_layer() if hasattr(head, "get_base_layer") else head


def _words(head: Any) -> int:
    return int(_inner(head).out_features)


def number_format(head: Any) -> torch.dtype:
    """What the head computes with."""
    dtype: torch.dtype = _inner(head).weight.dtype
    return dtype


def _capped(logits: torch.Tensor, softcap: float | None) -> torch.Tensor:
    return logits if softcap is None else (logits / softcap).tanh() * softcap


def _through(
    hidden: torch.Tensor, head: Any, work: Callable[[torch.Tensor, slice], torch.Tensor]
) -> Iterator[torch.Tensor]:
    """`work` chunk by chunk, computed anew on the way back."""
    for part in _chunks(len(hidden), _words(head)):
        yield checkpoint(work, hidden[part], part, use_reentrant=False)
