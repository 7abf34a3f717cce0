"""LoftQ (Li et al., arXiv 2310.08659): LoRA on 4-bit weights that begins with what quantising took from them.

In the form of one step, which leaves the base the plain NF4 one: for weights W and their rounded ones Q, the product
s B A is the nearest one of its rank to W - Q. peft's `replace_lora_weights_loftq` does the same, needs CUDA, and leaves
the scaling s out, so that it holds for alpha = rank only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from torch import Tensor

from core.training.adapters import AdapterError

ITERATIONS = 4
"""Of the randomised decomposition, which then takes up 96 % or more of what the exact one does (SmolLM2, ranks of 4 to
64); twice as many make it 99 % and take twice as long."""

SPARE = 16
"""Directions more than are kept; without them the last ones kept are poor, as all are of nearly one size."""


def decompose(model: Any, base: Path) -> None:
    """Give the adapter of each 4-bit layer its first A and B; those of other layers stay.

    Args:
        model: with a fresh LoRA adapter, its base in 4 bits.
        base: folder of the safetensors files it was made of, which are read tensor by tensor.

    Raises:
        AdapterError: the weights of a layer are not there under its name.
    """
    layers = {
        name.removeprefix("base_model.model."): part
        for name, part in model.named_modules()
        if isinstance(part, LoraLayer) and hasattr(part.get_base_layer().weight, "quant_state")
    }
    for name, weight in _weights(base, list(layers), model.get_base_model().base_model_prefix):
        _take_up(layers[name], weight)


def _take_up(layer: Any, weight: Tensor) -> None:
    """What is missing from a layer's 4-bit weights as its A and B."""
    (name,) = layer.active_adapters
    a, b, scaling = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    stored = layer.get_base_layer().weight
    missing = weight.to(stored.device, torch.float32)
    missing -= dequantize_4bit(stored.data, stored.quant_state).float()
    rank = len(a)
    with torch.random.fork_rng([missing.device] if missing.is_cuda else []):
        torch.manual_seed(0)  # by whatever process, beginning with the same random directions
        left, sizes, right = torch.svd_lowrank(missing, min(rank + SPARE, *missing.shape), niter=ITERATIONS)
    roots = (sizes[:rank] / scaling).sqrt()
    with torch.no_grad():
        a.zero_()[: len(roots)] = roots[:, None] * right.T[:rank]
        b.zero_()[:, : len(roots)] = left[:, :rank] * roots


def _weights(base: Path, names: list[str], prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Each layer's name and exact weights, shape (outputs, inputs), in the order of the files."""
    wanted = {f"{name}.weight": name for name in names}
    wanted |= {
        f"{name.removeprefix(f'{prefix}.')}.weight": name for name in names
    }  # a model without its head
    missing = set(names)
    for file in sorted(base.glob("*.safetensors")):
        with safe_open(file, framework="pt", device="cpu") as stored:
            for key in stored.keys() & wanted.keys():
                yield wanted[key], stored.get_tensor(key)
                missing.discard(wanted[key])
    if missing:
        raise AdapterError(
            "`init: loftq` can't read the exact weights of this model.",
            f"{min(missing)} is not in the files of {base} under this name.",
            "Leave `init` out.",
        )
