"""LoRA on quantised layers on a CPU: the base's weights are made exact for each product and never kept.

That takes a hundredth of the product's time, and so a quantised layer is one step of autograd as any other is, fused
into its decoder layer. bitsandbytes' own 8-bit product rounds its inputs too; here only weights are rounded. A GPU has
bitsandbytes' kernels and uses these.
"""

from __future__ import annotations

from collections.abc import Callable

import bitsandbytes
import torch
from peft.tuners.lora.bnb import Linear4bit, Linear8bitLt
from peft.utils.integrations import dequantize_bnb_weight

from core.training.fused_lora import Fused


class _FusedQuantized(Fused):
    def stored(self) -> Callable[[], torch.Tensor]:
        base = self.get_base_layer()
        return lambda: dequantize_bnb_weight(base.weight, state=getattr(base, "state", None)).float()

    def computes_in(self, x: torch.Tensor) -> bool:
        return bool(x.dtype == torch.float32 and x.device.type == "cpu")


class Fused4bit(_FusedQuantized, Linear4bit):
    """On 4-bit weights."""


class Fused8bit(_FusedQuantized, Linear8bitLt):
    """On 8-bit weights."""


LAYERS = {bitsandbytes.nn.Linear4bit: Fused4bit, bitsandbytes.nn.Linear8bitLt: Fused8bit}
"""Which of them is put on which layer."""
