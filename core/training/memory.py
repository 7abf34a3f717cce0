"""How much memory training uses, and how much it will."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.training import autograd_memory
from core.training.autograd_memory import LOGITS_BYTES
from core.training.cutting import long_from

PROCESS_BYTES = 360 << 20
"""torch, transformers and peft before a model is loaded, measured on Linux with the CPU build."""

BUFFER_BYTES = 60 << 20
"""What torch's libraries take once they compute, beside tensors; measured there too."""

CONTEXT_BYTES = 800 << 20
"""What CUDA takes of a GPU for a process and its libraries; as users report it, not measured."""

FUSED = {"llama", "mistral", "phi3", "qwen2"}
"""Kinds of models whose layers are fused on a CPU."""


NO_MEMORY = (
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What libraries below torch's allocators say."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or the CPU."""
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, MemoryError) or (
        isinstance(error, Exception)
        and (should_reduce_batch_size(error) or any(words in str(error) for words in NO_MEMORY))
    )


def memory_in_use(device: Any) -> int:
    """Bytes held now: on a GPU what torch has reserved there, else the process's resident memory."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.memory_reserved(device))
    import psutil

    return int(psutil.Process().memory_info().rss)


def give_back_freed() -> None:
    """Return freed memory to the system (malloc_trim(3)): what a quantised model was read into lies in pieces between
    its weights, too small for the tensors of training. Other C libraries than glibc have no such call."""
    import ctypes
    import platform

    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


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
        long_from: see `cutting.long_from`.
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
    long_from: int | None
    file_bytes: int

    @property
    def linear_weights(self) -> int:
        """Weights of the decoder layers' matrices: those that are quantised."""
        return sum(inputs * outputs for name, inputs, outputs in self.matrices if ".layers." in name)

    @property
    def fused_qkv(self) -> bool:
        """Queries, keys and values are one product."""
        return any(name.endswith("qkv_proj") for name, _, _ in self.matrices)

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
        long_from=long_from(config),
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
        way: `full`, `lora`, `dora` or `ia3`.
        trainable: weights that are trained.
        state_bytes: that the optimiser keeps of each.
        largest: weights of the largest tensor of the model's own that is trained.
        adapted: (inputs, outputs) of the layers an adapter is on.
        rank: of LoRA.
        depth: decoder layers that keep something for the way back: those above the first that is trained.
        value_bytes: of a base weight and of what layers pass on.
        computed_bytes: of a value that products are made with: fewer than 4 under autocast.
        quantized_bytes: of a quantised base weight, or None.
        fused: layers are computed by `fused_layers`.
        dropout: LoRA drops some of its inputs.
        recompute: gradient checkpointing.
        on_cpu: not on a GPU.
        steps_in_place: the optimiser's step makes no tensors.
    """

    way: str
    trainable: int
    state_bytes: int
    largest: int
    adapted: tuple[tuple[int, int], ...]
    rank: int
    depth: int
    value_bytes: int
    computed_bytes: int
    quantized_bytes: float | None
    fused: bool
    dropout: bool
    recompute: bool
    on_cpu: bool
    steps_in_place: bool


QUANTIZED_BYTES = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}
"""Of a weight. NF4: half a byte, and for each 64 a scale of one byte, for each 256 of these one of four."""


PARTED = 1.25
PARTED_QUANTIZED = 1.35
"""Packs of a step differ in size, so that some of what one has freed is of no use to the next; measured where the
gradients of whole weights come between the tensors that stay, and where weights are made exact between them."""


@dataclass(frozen=True)
class Load:
    """What is computed at once at most.

    Args:
        tokens: of a pack.
        predicting: those of them that go through the output head.
        packs: of a step.
    """

    tokens: int
    predicting: int
    packs: int


def peak(shape: Shape, method: Method, load: Load) -> Peak:
    """Memory while training.

    Args:
        shape: the model.
        method: how it is trained.
        load: how much at once.

    A trained weight takes itself, its gradient and the optimiser's moments. What computing takes beside is counted by
    `autograd_memory`, for layers in float32 on a CPU and for fused ones here. While the weights are read, their file
    is in memory too where its number format is another.
    """
    weights = _weights_bytes(shape, method)
    same_format = (
        round(shape.file_bytes / shape.parameters) == method.value_bytes and not method.quantized_bytes
    )
    own = 0 if method.way == "full" else 4 * method.trainable
    ours = method.fused or (method.on_cpu and method.computed_bytes == 4)
    computing = _computing(shape, method, load) if ours else autograd_memory.computing(shape, method, load)
    return Peak(
        process=PROCESS_BYTES + BUFFER_BYTES if method.on_cpu else CONTEXT_BYTES,
        weights=weights,
        adapter=own + 4 * method.trainable + method.state_bytes * method.trainable,
        activations=computing.activations,
        head=computing.head,
        loading=weights + (0 if same_format else shape.file_bytes) if method.on_cpu else weights,
    )


def _computing(shape: Shape, method: Method, load: Load) -> autograd_memory.Computing:
    """In float32 on a CPU, and in fused layers.

    Of a token, each layer keeps for the way back what `_kept` counts; with recomputing, one vector a layer and one
    layer in full, and twice that in all, since the layers' tensors come and go between those that stay (measured). The
    head holds the logits of one chunk of predicting tokens twice over. In a step of one pack the gradients come as the
    activations go; while the optimiser steps, two tensors as large as the largest trained one are there beside them.
    """
    of_head = autograd_memory.head_gradient(shape, method)
    spare = 4 * method.trainable - of_head if load.packs == 1 else 0
    head = 2 * min(load.predicting * shape.vocabulary * 4, LOGITS_BYTES)
    activations = _activation_bytes(shape, method, load.tokens)
    if load.packs > 1 and method.on_cpu and (method.quantized_bytes or method.way == "full"):
        activations = round(activations * (PARTED_QUANTIZED if method.quantized_bytes else PARTED))
    beside = max(activations + head - spare, 2 * 4 * method.largest)
    return autograd_memory.Computing(max(0, beside - head), min(head, beside))


def _weights_bytes(shape: Shape, method: Method) -> int:
    if not method.quantized_bytes:
        return shape.parameters * method.value_bytes
    exact = (shape.parameters - shape.linear_weights) * method.value_bytes
    return exact + round(shape.linear_weights * method.quantized_bytes)


def _activation_bytes(shape: Shape, method: Method, tokens: int) -> int:
    kept = _kept(shape, method)
    working = 3 * shape.intermediate + 4 * shape.hidden + 2 * shape.queries
    vectors = shape.layers * shape.hidden + kept if method.recompute else method.depth * kept
    values = round(tokens * (vectors + working) * (2 if method.recompute and method.on_cpu else 1))
    # a quantised layer is turned into exact numbers while it is used, DoRA adds a product to a copy of its weights
    copies = (1 if method.quantized_bytes else 0) + (2 if method.way == "dora" else 0)
    return (values + copies * shape.largest_linear) * method.value_bytes


def _kept(shape: Shape, method: Method) -> float:
    """Values that a layer keeps of a token for the way back, counted with autograd's hooks on saved tensors.

    A fused layer: its input and the MLP's, queries, keys and values, what was attended to, gate and up, LoRA's low
    products, one number a head and one a norm. Others: of each norm what comes in and what it makes of it (twice when
    its weights are trained), queries, keys and values, what was attended to, four vectors of the MLP; what adapters
    add.
    """
    adapted = method.adapted if method.way in ("lora", "dora") else ()
    low = method.rank * len(adapted) / shape.layers
    inputs, outputs = (sum(pair[side] for pair in adapted) / shape.layers for side in (0, 1))
    if method.fused:
        own = 2 * shape.hidden + 2 * shape.queries + 2 * shape.keys + 2 * shape.intermediate
        return own + low + shape.heads + 2
    norms = {"full": 6, "ia3": 2}.get(method.way, 4)
    own = (norms + 1) * shape.hidden + shape.queries + 2 * shape.keys + 4 * shape.intermediate
    own += 2 * shape.keys if method.way == "ia3" else 0
    if shape.fused_qkv:  # a view of the values keeps the whole product alive
        own += shape.queries + shape.keys
    dropped = 2 * inputs - 2 * shape.hidden - shape.intermediate if method.dropout else 0
    return own + low + dropped + (2.5 * outputs if method.way == "dora" else 0)
