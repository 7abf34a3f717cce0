"""A LoRA layer as one step of autograd: fewer copies kept and made than by peft's composition of parts."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear

from core.training.fused_math import LoraParts, Projection, project, project_back


class _LoraProduct(torch.autograd.Function):
    """A projection of one layer with one output, its base frozen."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, parts: LoraParts, *_: Any) -> torch.Tensor:
        ctx.projection = Projection((parts,), ((len(parts.weight),),))
        (result,), low = project(x.flatten(0, -2), ctx.projection)
        ctx.save_for_backward(x, low)
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, low = ctx.saved_tensors
        slope, adapters = project_back((outputs[0].flatten(0, -2),), x.flatten(0, -2), ctx.projection, low)
        return slope.view_as(x).clone(), None, *adapters


class FusedLinear(Linear):
    """peft's LoRA layer of a plain linear layer; what the product can't do goes peft's own way."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The layer's output, shape (..., outputs)."""
        if args or kwargs or not self.can_fuse(x):
            result: torch.Tensor = super().forward(x, *args, **kwargs)
            return result
        parts = self.parts()
        output: torch.Tensor = _LoraProduct.apply(x, parts, parts.a, parts.b)
        return output

    def parts(self) -> LoraParts:
        """What the layer computes with."""
        (name,) = self.active_adapters
        base = self.get_base_layer()
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        return LoraParts(base.weight, base.bias, a, b, self.scaling[name])

    def can_fuse(self, x: torch.Tensor) -> bool:
        """Whether the layer is nothing but that product for an input."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return False
        name = self.active_adapters[0]
        base = self.get_base_layer()
        return (
            name in self.lora_A
            and name not in self.lora_variant
            and (not self.training or isinstance(self.lora_dropout[name], torch.nn.Identity))
            and not base.weight.requires_grad
            and x.dtype == base.weight.dtype == self.lora_A[name].weight.dtype
            and not torch.is_autocast_enabled(x.device.type)
        )
