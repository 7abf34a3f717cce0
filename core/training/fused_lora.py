"""A LoRA layer as one step of autograd: fewer copies kept and made than by peft's composition of parts."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear


def lora_product(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    a: torch.Tensor,
    b: torch.Tensor,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`x W' + b + scaling (x A') B'` and `x A'`, for x of shape (tokens, inputs)."""
    low = x @ a.T
    return torch.nn.functional.linear(x, weight, bias).addmm_(low, b.T, alpha=scaling), low


def lora_slopes(
    slope: torch.Tensor,
    x: torch.Tensor,
    low: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients for A, for B and for `x A'`, from that of the product, shape (tokens, outputs)."""
    slope_low = (slope @ b).mul_(scaling)
    return slope_low.T @ x, (slope.T @ low).mul_(scaling), slope_low


class _LoraProduct(torch.autograd.Function):
    """`lora_product` with W and b frozen."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *parts: Any) -> torch.Tensor:
        weight, _, a, b, ctx.scaling = parts
        result, low = lora_product(x.flatten(0, -2), *parts)
        ctx.save_for_backward(x, low, weight, a, b)
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, low, weight, a, b = ctx.saved_tensors
        slope = outputs[0].flatten(0, -2)
        slope_a, slope_b, slope_low = lora_slopes(slope, x.flatten(0, -2), low, a, b, ctx.scaling)
        slope_x = None
        if ctx.needs_input_grad[0]:
            slope_x = (slope @ weight).addmm_(slope_low, a).view_as(x)
        return slope_x, None, None, slope_a, slope_b, None


class FusedLinear(Linear):
    """peft's LoRA layer of a plain linear layer; what the product can't do goes peft's own way."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The layer's output, shape (..., outputs)."""
        if args or kwargs or not self.can_fuse(x):
            result: torch.Tensor = super().forward(x, *args, **kwargs)
            return result
        output: torch.Tensor = _LoraProduct.apply(x, *self.parts())
        return output

    def parts(self) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor, float]:
        """Base weight and bias, A, B and their scale."""
        (name,) = self.active_adapters
        base = self.get_base_layer()
        return (
            base.weight,
            base.bias,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            self.scaling[name],
        )

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
