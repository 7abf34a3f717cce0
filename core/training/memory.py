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
        tensors: (name, weights) of each tensor.
        matrices: (name, inputs, outputs) of those with two dimensions, without `.weight`.
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
    tensors: tuple[tuple[str, int], ...]
    matrices: tuple[tuple[str, int, int], ...]
    layers: int
    hidden: int
    intermediate: int
    heads: int
    queries: int
    keys: int
    vocabulary: int
    context: int
    file_bytes: int

    @property
    def linear_weights(self) -> int:
        """Weights of the decoder layers' matrices: those that are quantised."""
        return sum(inputs * outputs for name, inputs, outputs in self.matrices if ".layers." in name)

    @property
    def largest_linear(self) -> int:
        """Weights of the largest of these."""
        return max(inputs * outputs for name, inputs, outputs in self.matrices if ".layers." in name)


def read_shape(folder: Path) -> Shape:
    """The shape of a model folder, from config.json and the headers of its safetensors files."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    size, tensors, matrices = 0, [], []
    for file in sorted(folder.glob("*.safetensors")):
        size += file.stat().st_size
        for name, entry in _header(file).items():
            shape = entry["shape"]
            tensors.append((name, math.prod(shape)))
            if len(shape) == 2 and name.endswith(".weight"):
                matrices.append((name.removesuffix(".weight"), shape[1], shape[0]))
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    return Shape(
        kind=config.get("model_type", ""),
        parameters=sum(weights for _, weights in tensors),
        tensors=tuple(tensors),
        matrices=tuple(matrices),
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
        state_bytes: that the optimiser keeps of each.
        largest: weights of the largest tensor of the model's own that is trained.
        whole: they are the model's own weights, no adapter's.
        low: width of all LoRA products of one token, over all layers.
        value_bytes: of a base weight and of an activation.
        quantized_bytes: of a quantised base weight, or None.
        fused: layers are computed by `fused_layers`.
        recompute: gradient checkpointing.
        on_cpu: not on a GPU.
    """

    trainable: int
    state_bytes: int
    largest: int
    whole: bool
    low: int
    value_bytes: int
    quantized_bytes: float | None
    fused: bool
    recompute: bool
    on_cpu: bool


QUANTIZED_BYTES = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}
"""Of a weight. NF4: half a byte, and for each 64 a scale of one byte, for each 256 of these one of four."""


def peak(shape: Shape, method: Method, tokens: int, predicting: int) -> Peak:
    """Memory while training.

    Args:
        shape: the model.
        method: how it is trained.
        tokens: computed at once at most.
        predicting: those of them that go through the output head.

    A trained weight takes itself, its gradient and the optimiser's moments. Of a token, each layer keeps for the way
    back what `_kept` counts; with recomputing, one vector a layer and one layer in full, and twice that in all, since
    the layers' tensors come and go between those that stay (measured). The head holds the logits of one chunk of
    predicting tokens twice over. While the weights are read, their file is in memory too where its number format is
    another. Two more tensors as large as the largest trained one are there while the optimiser works on it.
    """
    same_format = (
        round(shape.file_bytes / shape.parameters) == method.value_bytes and not method.quantized_bytes
    )
    kept = _kept(shape, method)
    working = 3 * shape.intermediate + 4 * shape.hidden + 2 * shape.queries
    vectors = shape.layers * shape.hidden + kept if method.recompute else shape.layers * kept
    exact = shape.parameters - (shape.linear_weights if method.quantized_bytes else 0)
    quantised = (shape.parameters - exact) * (method.quantized_bytes or 0)
    weights = exact * method.value_bytes + round(quantised)
    one_exact = shape.largest_linear * method.value_bytes if method.quantized_bytes else 0
    own = 0 if method.whole else 4
    return Peak(
        process=PROCESS_BYTES + BUFFER_BYTES if method.on_cpu else 0,
        weights=weights,
        adapter=(own + 4 + method.state_bytes) * method.trainable + 2 * 4 * method.largest,
        activations=round(tokens * (vectors + working) * method.value_bytes * (2 if method.recompute else 1))
        + one_exact,
        head=2 * min(predicting * shape.vocabulary * 4, LOGITS_BYTES),
        loading=weights + (0 if same_format else shape.file_bytes) if method.on_cpu else weights,
    )


def _kept(shape: Shape, method: Method) -> float:
    """Values that a layer keeps of a token for the way back.

    A fused layer: its input and the MLP's, queries, keys and values, what was attended to, gate and up, LoRA's low
    products, one number a head and one a norm. Others, about: 12 vectors of the residual width and 4 of the MLP's.
    """
    low = method.low / shape.layers
    if method.fused:
        own = 2 * shape.hidden + 2 * shape.queries + 2 * shape.keys + 2 * shape.intermediate
        return own + low + shape.heads + 2
    return 12 * shape.hidden + 4 * shape.intermediate + low
