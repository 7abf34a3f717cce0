"""PiSSA (Meng et al., 2024): LoRA that begins with the weights' own main directions, taken out of the base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

ITERATIONS = 16
"""Of the randomised decomposition, which its authors found as good as the exact one from 16 on."""


def decompose(layers: Sequence[Any]) -> None:
    """Set A and B of LoRA layers to the main directions of their weights."""
    for layer in layers:
        base, a, b, scaling = _parts(layer)
        left, sizes, right = torch.svd_lowrank(base.weight.detach().float(), len(a), niter=ITERATIONS)
        roots = (sizes / scaling).sqrt()
        with torch.no_grad():
            a.copy_(roots[:, None] * right.T)
            b.copy_(left * roots)


def take_out(layers: Sequence[Any]) -> None:
    """Subtract from the base's weights what the adapter adds."""
    for layer in layers:
        base, a, b, scaling = _parts(layer)
        with torch.no_grad():
            base.weight -= (scaling * (b.float() @ a.float())).to(base.weight.dtype)


def _parts(layer: Any) -> tuple[torch.nn.Linear, Tensor, Tensor, float]:
    (name,) = layer.active_adapters
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return layer.get_base_layer(), a, b, layer.scaling[name]
