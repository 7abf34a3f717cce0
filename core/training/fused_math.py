"""Projections with LoRA, norms and rotations of a decoder layer, forward and back.

What is only passed on within a layer is written into scratch tensors that stay in the processor's caches: a large
tensor made anew costs up to ten times what its values do, because the system must find and clear its memory first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch


class LoraParts(NamedTuple):
    """A linear layer with a frozen base: `x W' + bias + scaling (x A') B'`; A and B are None without an adapter.

    `stored` is W, or where W is kept quantised gives it anew each time it is asked.
    """

    stored: torch.Tensor | Callable[[], torch.Tensor]
    bias: torch.Tensor | None
    a: torch.Tensor | None
    b: torch.Tensor | None
    scaling: float

    @property
    def weight(self) -> torch.Tensor:
        """W."""
        return self.stored if isinstance(self.stored, torch.Tensor) else self.stored()


@dataclass(frozen=True)
class Projection:
    """Linear layers of one input, each giving one or more outputs (Phi-3's `qkv_proj` gives three).

    Args:
        layers: the layers.
        cuts: for each layer the sizes of its outputs.
    """

    layers: tuple[LoraParts, ...]
    cuts: tuple[tuple[int, ...], ...]

    @property
    def adapters(self) -> list[torch.Tensor | None]:
        """A and B of each layer in turn."""
        return [tensor for layer in self.layers for tensor in (layer.a, layer.b)]

    @property
    def ranks(self) -> list[int]:
        """Of each layer; 0 without an adapter."""
        return [0 if layer.a is None else len(layer.a) for layer in self.layers]

    def stacked_a(self, like: torch.Tensor) -> torch.Tensor:
        """All A, one below the other, shape (sum of ranks, inputs)."""
        found = [layer.a for layer in self.layers if layer.a is not None]
        return torch.cat(found) if found else like.new_empty(0, like.shape[-1])

    def weighted_outputs(self) -> Iterator[tuple[int, LoraParts, torch.Tensor, slice]]:
        """For each output its layer's number, the layer, its weight and which rows of the weight make the output.

        A weight is valid until the next layer's.
        """
        for number, (layer, sizes) in enumerate(zip(self.layers, self.cuts, strict=True)):
            weight = layer.weight
            for size, end in zip(sizes, accumulate(sizes), strict=True):
                yield number, layer, weight, slice(end - size, end)


class Scratch:
    """Tensors by name, overwritten at every use: a taken one is valid until its name is taken again."""

    def __init__(self) -> None:
        self._kept: dict[str, torch.Tensor] = {}

    def take(self, name: str, like: torch.Tensor, *shape: int) -> torch.Tensor:
        """An uninitialised tensor of a shape, with the number format and place of another."""
        numel = torch.Size(shape).numel()
        kept = self._kept.get(name)
        if kept is None or kept.numel() < numel or (kept.dtype, kept.device) != (like.dtype, like.device):
            self._kept[name] = kept = torch.empty(numel, dtype=like.dtype, device=like.device)
        return kept[:numel].view(shape)

    def clear(self) -> None:
        """Give them all up."""
        self._kept.clear()


SCRATCH = Scratch()


def project(x: torch.Tensor, projection: Projection) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The outputs of a projection, each of shape (tokens, size), and `x A'` of all layers, (tokens, sum of ranks)."""
    low = x @ projection.stacked_a(x).T
    lows = low.split(projection.ranks, dim=1)
    # before a weight that is made for the product: it would leave a hole between the tensors that stay
    outputs = [x.new_empty(len(x), size) for sizes in projection.cuts for size in sizes]
    for output, (number, layer, weight, rows) in zip(outputs, projection.weighted_outputs(), strict=True):
        torch.mm(x, weight[rows].T, out=output)
        if layer.bias is not None:
            output.add_(layer.bias[rows])
        if layer.b is not None:
            output.addmm_(lows[number], layer.b[rows].T, alpha=layer.scaling)
    return outputs, low


def project_back(
    slopes: Sequence[torch.Tensor], x: torch.Tensor, projection: Projection, low: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """Gradients of x, in scratch, and of A and B of each layer in turn.

    Args:
        slopes: of the outputs, each of shape (tokens, size).
        x: the input, shape (tokens, inputs).
        projection: what was computed.
        low: `x A'` of all layers.
    """
    slope_x = SCRATCH.take("slope of x", x, *x.shape)
    slope_low = SCRATCH.take("slope of low", x, *low.shape)
    lows, low_slopes = low.split(projection.ranks, 1), slope_low.split(projection.ranks, 1)
    slopes_b: list[list[torch.Tensor]] = [[] for _ in projection.layers]
    for output, (slope, (number, layer, weight, rows)) in enumerate(
        zip(slopes, projection.weighted_outputs(), strict=True)
    ):
        torch.addmm(slope_x, slope, weight[rows], beta=int(output > 0), out=slope_x)
        if layer.b is not None:
            parts = slopes_b[number]
            torch.addmm(
                low_slopes[number],
                slope,
                layer.b[rows],
                beta=int(bool(parts)),
                alpha=layer.scaling,
                out=low_slopes[number],
            )
            parts.append((lows[number].T @ slope).mul_(layer.scaling))
    slope_x.addmm_(slope_low, projection.stacked_a(x))
    slopes_a = (slope_low.T @ x).split(projection.ranks)
    found: list[torch.Tensor | None] = []
    for layer, slope_a, parts in zip(projection.layers, slopes_a, slopes_b, strict=True):
        found += [None, None] if layer.a is None else [slope_a, torch.cat(parts, dim=1).T]
    return slope_x, found


def rms_scale(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    """`1 / rms(x)` of each row (Zhang and Sennrich, 2019), shape (tokens, 1)."""
    return torch.linalg.vecdot(x, x)[:, None].div_(x.shape[-1]).add_(epsilon).rsqrt_()


def normed(x: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`x * scale * weight`, in scratch."""
    return torch.mul(x, scale, out=SCRATCH.take("normed", x, *x.shape)).mul_(weight)


def norm_back(
    slope: torch.Tensor, x: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor, beside: torch.Tensor
) -> torch.Tensor:
    """Gradient of x from that of its norm, which is overwritten, added to what comes from beside the norm."""
    slope.mul_(weight)
    along = torch.linalg.vecdot(slope, x)[:, None].mul_(scale**3).div_(-x.shape[-1])
    return torch.addcmul(beside, slope, scale).addcmul_(x, along)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, width: int) -> None:
    """Rotate each head by its position, in place (RoPE, Su et al., 2021).

    Args:
        x: shape (tokens, heads * width).
        cos: of the first half of the rotated values, shape (tokens, rotated / 2); what is beyond stays.
        sin: see cos; minus sin turns back.
        width: of a head.
    """
    heads = x.view(len(x), -1, width)
    half = cos.shape[-1]
    one, two = heads[..., :half], heads[..., half : 2 * half]
    cos, sin = cos[:, None], sin[:, None]
    turned = torch.mul(one, sin, out=SCRATCH.take("turned", x, *one.shape))
    one.mul_(cos).addcmul_(two, sin, value=-1)
    two.mul_(cos).add_(turned)
