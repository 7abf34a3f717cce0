"""A LoRA layer as one step of autograd: fewer copies kept and made than by peft's composition of parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora.layer import Linear

from core.training.fused_math import LoraParts, Projection, project, project_back


class _LoraProduct(torch.autograd.Function):
    """A projection of one layer with one output, its base frozen."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, parts: LoraParts, outputs: int, *_: Any) -> torch.Tensor:
        ctx.projection = Projection((parts,), ((outputs,),))
        (result,), low = project(x.flatten(0, -2), ctx.projection)
        ctx.save_for_backward(x, low)
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, low = ctx.saved_tensors
        slope, adapters = project_back((outputs[0].flatten(0, -2),), x.flatten(0, -2), ctx.projection, low)
        return slope.view_as(x).clone(), None, None, *adapters


class Fused:
    """Put before a LoRA layer of peft's, whose parts it names: what the product can't do goes peft's own way."""

    active_adapters: list[str]
    disable_adapters: bool
    get_base_layer: Callable[[], Any]
    lora_A: Any
    lora_B: Any
    lora_dropout: Any
    lora_variant: Any
    merged: bool
    out_features: int
    scaling: dict[str, float]
    training: bool

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The layer's output, shape (..., outputs)."""
        if args or kwargs or not self.can_fuse(x):
            result: torch.Tensor = super().forward(x, *args, **kwargs)  # type: ignore[misc]
            return result
        parts = self.parts()
        output: torch.Tensor = _LoraProduct.apply(x, parts, self.out_features, parts.a, parts.b)
        return output

    def stored(self) -> torch.Tensor | Callable[[], torch.Tensor]:
        """The base's weight, or what gives it: see `LoraParts`."""
        weight: torch.Tensor = self.get_base_layer().weight
        return weight

    def computes_in(self, x: torch.Tensor) -> bool:
        """Whether the base computes in the number format of an input."""
        return bool(x.dtype == self.get_base_layer().weight.dtype)

    def parts(self) -> LoraParts:
        """What the layer computes with."""
        (name,) = self.active_adapters
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        return LoraParts(self.stored(), self.get_base_layer().bias, a, b, self.scaling[name])

    def can_fuse(self, x: torch.Tensor) -> bool:
        """Whether the layer is nothing but that product for an input."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return False
        name = self.active_adapters[0]
        return (
            name in self.lora_A
            and name not in self.lora_variant
            and (not self.training or isinstance(self.lora_dropout[name], torch.nn.Identity))
            and not self.get_base_layer().weight.requires_grad
            and x.dtype == self.lora_A[name].weight.dtype
            and self.computes_in(x)
            and not torch.is_autocast_enabled(x.device.type)
        )


class FusedLinear(Fused, Linear):
    """On a plain linear layer."""
