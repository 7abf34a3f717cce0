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

PROCESS_BYTES = 360 << 20
"""torch, transformers and peft before a model is loaded, measured on Linux with the CPU build."""

BUFFER_BYTES = 60 << 20
"""What torch's libraries take once they compute, beside tensors; measured there too."""

FUSED = {"llama", "mistral", "phi3", "qwen2"}
"""Kinds of models whose layers are fused on a CPU."""


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
        kind: its family, as config.json names it.
        parameters: all weights.
        linears: (name, inputs, outputs) of each linear layer that `all-linear` adapts.
        layers: decoder layers.
        hidden: width of the residual stream.
        intermediate: width inside the MLP.
        heads: of attention.
        queries: width of all heads' queries.
        keys: width of all keys; that of all values too.
        vocabulary: words of the output head.
        context: longest sequence it was made for.
        file_bytes: of its weights on disk.
    """

    kind: str
    parameters: int
    linears: tuple[tuple[str, int, int], ...]
    layers: int
    hidden: int
    intermediate: int
    heads: int
    queries: int
    keys: int
    vocabulary: int
    context: int
    file_bytes: int

    def adapted(self, targets: str | list[str]) -> list[tuple[int, int]]:
        """(inputs, outputs) of the layers that `target_modules` names."""
        return [
            (inputs, outputs)
            for name, inputs, outputs in self.linears
            if targets == "all-linear" or any(name == item or name.endswith(f".{item}") for item in targets)
        ]

    def lora_parameters(self, rank: int, targets: str | list[str] = "all-linear") -> int:
        """Weights that LoRA of a rank adds to some linear layers."""
        return sum(rank * (inputs + outputs) for inputs, outputs in self.adapted(targets))


def read_shape(folder: Path) -> Shape:
    """The shape of a model folder, from config.json and the headers of its safetensors files."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    parameters, size, linears = 0, 0, []
    for file in sorted(folder.glob("*.safetensors")):
        size += file.stat().st_size
        for name, entry in _header(file).items():
            shape = entry["shape"]
            parameters += math.prod(shape)
            if len(shape) == 2 and ".layers." in name and name.endswith(".weight"):
                linears.append((name.removesuffix(".weight"), shape[1], shape[0]))
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    return Shape(
        kind=config.get("model_type", ""),
        parameters=parameters,
        linears=tuple(linears),
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        heads=heads,
        queries=heads * width,
        keys=(config.get("num_key_value_heads") or heads) * width,
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        file_bytes=size,
    )


def _header(file: Path) -> dict[str, Any]:
    """A safetensors header: 8 bytes of length, then JSON (huggingface/safetensors, README)."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header: dict[str, Any] = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return header


@dataclass(frozen=True)
class Peak:
    """Memory at its highest, by what holds it. Sizes in bytes."""

    process: int
    weights: int
    adapter: int
    activations: int
    head: int
    loading: int
    """The weights and their file, while they are read: before any of the others but the process."""

    @property
    def total(self) -> int:
        computing = self.weights + self.adapter + self.activations + self.head
        return self.process + max(self.loading, computing)


@dataclass(frozen=True)
class Method:
    """What of a recipe decides how much memory it takes.

    Args:
        trainable: weights that are trained.
        low: width of all LoRA products of one token, over all layers.
        value_bytes: of a base weight and of an activation.
        recompute: gradient checkpointing.
        on_cpu: not on a GPU.
    """

    trainable: int
    low: int
    value_bytes: int
    recompute: bool
    on_cpu: bool


def peak(shape: Shape, method: Method, tokens: int, predicting: int) -> Peak:
    """Memory while training with LoRA and AdamW.

    Args:
        shape: the model.
        method: how it is trained.
        tokens: computed at once at most.
        predicting: those of them that go through the output head.

    A trained weight takes 16 bytes: itself, its gradient and AdamW's two moments. Of a token, each layer keeps for the
    way back what `_kept` counts; with recomputing, one vector a layer and one layer in full, and twice that in all,
    since the layers' tensors come and go between those that stay (measured). The head holds the logits of one chunk of
    predicting tokens twice over. While the weights are read, their file is in memory too where its number format is
    another.
    """
    file_bytes = 0 if round(shape.file_bytes / shape.parameters) == method.value_bytes else shape.file_bytes
    kept = _kept(shape, method)
    working = 3 * shape.intermediate + 4 * shape.hidden + 2 * shape.queries
    vectors = shape.layers * shape.hidden + kept if method.recompute else shape.layers * kept
    weights = shape.parameters * method.value_bytes
    return Peak(
        process=PROCESS_BYTES + BUFFER_BYTES if method.on_cpu else 0,
        weights=weights,
        adapter=16 * method.trainable,
        activations=round(tokens * (vectors + working) * method.value_bytes * (2 if method.recompute else 1)),
        head=2 * min(predicting * shape.vocabulary * 4, LOGITS_BYTES),
        loading=weights + file_bytes if method.on_cpu else weights,
    )


def _kept(shape: Shape, method: Method) -> float:
    """Values that a layer keeps of a token for the way back.

    A fused layer: its input and the MLP's, queries, keys and values, what was attended to, gate and up, LoRA's low
    products, one number a head and one a norm. Others, about: 12 vectors of the residual width and 4 of the MLP's.
    """
    low = method.low / shape.layers
    if method.on_cpu and shape.kind in FUSED:
        own = 2 * shape.hidden + 2 * shape.queries + 2 * shape.keys + 2 * shape.intermediate
        return own + low + shape.heads + 2
    return 12 * shape.hidden + 4 * shape.intermediate + low
