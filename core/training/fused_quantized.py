"""LoRA on quantised layers on a CPU: the base's weights are made exact for each product and never kept.

That takes a hundredth of the product's time, and so a quantised layer is one step of autograd as any other is, fused
into its decoder layer. bitsandbytes' own 8-bit product rounds its inputs too; here only weights are rounded. A GPU has
bitsandbytes' kernels and uses these.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import bitsandbytes
import torch
from bitsandbytes.functional import dequantize_4bit
from peft.tuners.lora.bnb import Linear4bit, Linear8bitLt

from core.training.fused_lora import Fused
from core.training.fused_math import SCRATCH


def _from_4bit(base: Any) -> torch.Tensor:
    weight: torch.Tensor = dequantize_4bit(base.weight.data, base.weight.quant_state)
    return weight


def _from_8bit(base: Any) -> torch.Tensor:
    """Each row is its whole numbers, 127 the largest, times its largest value."""
    weight = base.weight.data
    largest = base.weight.SCB if base.state.SCB is None else base.state.SCB
    found = SCRATCH.take("weight", torch.empty(0), *weight.shape)
    return found.copy_(weight).mul_(largest[:, None] / 127)


class _FusedQuantized(Fused):
    def computes_in(self, x: torch.Tensor) -> bool:
        return bool(x.dtype == torch.float32 and x.device.type == "cpu")


class Fused4bit(_FusedQuantized, Linear4bit):
    """On 4-bit weights."""

    def stored(self) -> Callable[[], torch.Tensor]:
        return partial(_from_4bit, self.get_base_layer())


class Fused8bit(_FusedQuantized, Linear8bitLt):
    """On 8-bit weights."""

    def stored(self) -> Callable[[], torch.Tensor]:
        return partial(_from_8bit, self.get_base_layer())


LAYERS = {bitsandbytes.nn.Linear4bit: Fused4bit, bitsandbytes.nn.Linear8bitLt: Fused8bit}
"""Which of them is put on which layer."""
