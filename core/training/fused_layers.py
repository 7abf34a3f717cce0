"""Norms and gated MLPs as one step of autograd each: they keep less for the way back and write less in between.

Put onto a loaded model layer by layer, where the layer computes exactly that; every other layer stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch.nn.functional import silu

from core.training.fused_lora import FusedLinear, lora_product, lora_slopes

CLOSE = 1e-5
"""How far a fused layer may be from the model's own on random numbers, in float32."""


class _RmsNorm(torch.autograd.Function):
    """`x / rms(x) * weight` with the weight frozen (Zhang and Sennrich, 2019); keeps x and one number a token."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        scale = torch.linalg.vecdot(x, x)[..., None].div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        slope = outputs[0] * weight
        along = torch.linalg.vecdot(slope, x)[..., None].mul_(scale**3).div_(-x.shape[-1])
        return slope.mul_(scale).addcmul_(x, along), None, None


class _GatedDown(torch.autograd.Function):
    """`(silu(gate) * up)` through a LoRA layer: the product is computed again on the way back, not kept."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, *parts: Any) -> torch.Tensor:
        weight, _, a, b, ctx.scaling = parts
        result, low = lora_product(silu(gate).mul_(up).flatten(0, -2), *parts)
        ctx.save_for_backward(gate, up, low, weight, a, b)
        return result.view(*gate.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate, up, low, weight, a, b = ctx.saved_tensors
        slope = outputs[0].flatten(0, -2)
        active = silu(gate)
        product = (active * up).flatten(0, -2)
        slope_a, slope_b, slope_low = lora_slopes(slope, product, low, a, b, ctx.scaling)
        del product
        slope_product = (slope @ weight).addmm_(slope_low, a).view_as(gate)
        slope_up = active.mul_(slope_product)
        slope_gate = torch.ops.aten.silu_backward(slope_product.mul_(up), gate)
        return slope_gate, slope_up, None, None, slope_a, slope_b, None


def fuse(model: Any) -> int:
    """Put fused layers in place of those of a model with a LoRA adapter; how many were replaced."""
    replaced = 0
    for layer in model.get_base_model().get_decoder().modules():
        forward = _fused_norm(layer) or _fused_mlp(layer)
        if forward is not None and _same(layer, forward):
            layer.forward = MethodType(forward, layer)
            replaced += 1
    return replaced


def _fused_norm(layer: Any) -> Callable[[Any, torch.Tensor], torch.Tensor] | None:
    epsilon = getattr(layer, "variance_epsilon", None)
    weight = getattr(layer, "weight", None)
    if not isinstance(epsilon, float) or weight is None or weight.requires_grad or weight.dim() != 1:
        return None
    own = layer.forward

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != self.weight.dtype or x.dtype != torch.float32:
            return own(x)
        return _RmsNorm.apply(x, self.weight, epsilon)

    return forward


def _fused_mlp(layer: Any) -> Callable[[Any, torch.Tensor], torch.Tensor] | None:
    down = getattr(layer, "down_proj", None)
    if not isinstance(down, FusedLinear):
        return None
    own = layer.forward
    if hasattr(layer, "gate_up_proj"):

        def halves(self: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
            return gate, up

    elif hasattr(layer, "gate_proj") and hasattr(layer, "up_proj"):

        def halves(self: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.gate_proj(x), self.up_proj(x)

    else:
        return None

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        if not down.can_fuse(x):
            return own(x)
        gate, up = halves(self, x)
        return _GatedDown.apply(gate, up, *down.parts())

    return forward


def _same(layer: Any, forward: Callable[[Any, torch.Tensor], torch.Tensor]) -> bool:
    """Whether a fused layer gives what the model's own does."""
    inputs = next((part.in_features for part in layer.modules() if isinstance(part, torch.nn.Linear)), 0)
    example = next(layer.parameters())
    x = torch.linspace(-2, 2, 3 * (inputs or len(example)), device=example.device, dtype=example.dtype)
    x = x.sin().view(1, 3, -1)
    with torch.no_grad():
        own, fused = layer.forward(x), forward(layer, x)
    return bool((own - fused).norm() <= CLOSE * own.norm())
