"""How much memory training uses, and how much it will."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOGITS_BYTES = 64 << 20
"""Logits of the output head held at once."""

PROCESS_BYTES = 700 << 20
"""torch, transformers and peft before a model is loaded, measured on Linux with the CPU build."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or the CPU."""
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, MemoryError) or (
        isinstance(error, Exception) and should_reduce_batch_size(error)
    )


def memory_in_use(device: Any) -> int:
    """Bytes held now: on a GPU what torch has reserved there, else the process's resident memory."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.memory_reserved(device))
    import psutil

    return int(psutil.Process().memory_info().rss)


@dataclass(frozen=True)
class Shape:
    """A model's size, read from its files without loading it.

    Args:
        parameters: all weights.
        linears: (inputs, outputs) of each linear layer that `all-linear` adapts.
        layers: decoder layers.
        hidden: width of the residual stream.
        intermediate: width inside the MLP.
        vocabulary: words of the output head.
        context: longest sequence it was made for.
    """

    parameters: int
    linears: tuple[tuple[int, int], ...]
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    context: int

    def lora_parameters(self, rank: int) -> int:
        """Weights that LoRA of a rank adds to all linear layers."""
        return sum(rank * (inputs + outputs) for inputs, outputs in self.linears)


def read_shape(folder: Path) -> Shape:
    """The shape of a model folder, from config.json and the headers of its safetensors files."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    parameters, linears = 0, []
    for file in sorted(folder.glob("*.safetensors")):
        for name, entry in _header(file).items():
            shape = entry["shape"]
            parameters += math.prod(shape)
            if len(shape) == 2 and ".layers." in name and name.endswith(".weight"):
                linears.append((shape[1], shape[0]))
    return Shape(
        parameters=parameters,
        linears=tuple(linears),
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
    )


def _header(file: Path) -> dict[str, Any]:
    """A safetensors header: 8 bytes of length, then JSON (huggingface/safetensors, README)."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header: dict[str, Any] = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return header


def peak_bytes(
    shape: Shape,
    *,
    rank: int,
    weight_bytes: int,
    value_bytes: int,
    tokens: int,
    trained_tokens: int,
    recompute: bool,
) -> int:
    """Memory at its highest while training with LoRA: a calculation, meant to err on the high side.

    Args:
        shape: the model.
        rank: of LoRA.
        weight_bytes: bytes of a base weight.
        value_bytes: bytes of an activation.
        tokens: computed at once at most.
        trained_tokens: trained ones of these.
        recompute: gradient checkpointing.

    Kept for the backward pass in each layer are, per token, about 12 vectors of the residual width (norms,
    attention's inputs and outputs, LoRA's inputs) and 4 of the MLP's width; with recomputing, one vector a layer
    and one layer in full. The head holds the logits of one chunk of trained tokens, twice over.
    """
    adapter = shape.lora_parameters(rank) * 16
    per_layer = tokens * (12 * shape.hidden + 4 * shape.intermediate) * value_bytes
    activations = (
        tokens * shape.hidden * value_bytes * shape.layers + per_layer
        if recompute
        else per_layer * shape.layers
    )
    head = 2 * min(trained_tokens * shape.vocabulary * 4, LOGITS_BYTES)
    return shape.parameters * weight_bytes + adapter + activations + head
