"""What a step takes beside the weights where autograd keeps what transformers' and peft's own layers need.

That is so on a GPU, and wherever products are made in 16 bits. Counted from what each operation saves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

LOGITS_BYTES = 64 << 20
"""Logits of the output head held at once, in float32."""

if TYPE_CHECKING:
    from core.training.memory import Load, Method, Shape


class Computing(NamedTuple):
    """Bytes at the highest point of a step, beside weights, adapter, gradients and optimiser.

    Args:
        activations: of the layers.
        head: what the output head adds to them.
    """

    activations: int
    head: int


def computing(shape: Shape, method: Method, load: Load) -> Computing:
    """The larger of two moments: when the head has computed its loss, and when the last layer goes back.

    Args:
        shape: the model.
        method: how it is trained.
        load: how much at once.

    The gradients come as the activations go in a step of one pack, and are there already in later packs.
    """
    of_layer = load.tokens * layer_bytes(shape, method)
    between = load.tokens * shape.layers * shape.hidden * method.value_bytes  # what recomputing begins with
    kept = between if method.recompute else method.depth * of_layer
    copies = _copies(shape, method)
    back = kept + (of_layer if method.recompute else copies) + load.tokens * _working(shape, method)
    back += _weight_at_work(shape, method)
    # a chunk's logits are there twice: as the product gives them or as their exponentials, and in float32
    logits = 2 * min(load.predicting * shape.vocabulary * 4, LOGITS_BYTES)
    head = kept + copies + _final_norm(shape, method, load) + logits
    gradients, of_head = 4 * method.trainable, head_gradient(shape, method)
    if load.packs == 1:
        activations, highest = back - gradients + of_head, head - gradients + of_head
    else:
        activations, highest = back, head + of_head
    activations = max(activations, _last_gradient(shape, method, load))
    activations = max(activations, 0 if method.steps_in_place else 2 * 4 * method.largest)
    return Computing(max(0, round(activations)), round(max(0, highest - max(0, activations))))


def layer_bytes(shape: Shape, method: Method) -> float:
    """What one layer keeps of a token for the way back.

    Each norm what comes in, in float32, and what it makes of it where its weight is trained. Attention queries, keys,
    values and output, and a number a head. The MLP gate, its activation and up. Each trained or adapted product its
    input: under autocast a copy of its own, since the input comes in float32; peft makes none for 4-bit layers.
    """
    value = method.computed_bytes
    mixed = value < 4
    norms = sum(
        size == shape.hidden for name, size in shape.tensors if ".layers.0." in name and "norm" in name
    )
    kept = norms * shape.hidden * 4
    if method.way == "full":
        kept += norms * shape.hidden * 4
    if any("q_norm" in name for name, _ in shape.tensors):
        kept += 4 * (shape.queries + shape.keys)
    kept += value * (2 * shape.queries + 2 * shape.keys) + 4 * shape.heads
    if shape.fused_qkv:  # a view of the values keeps the whole product alive
        kept += value * (shape.queries + shape.keys)
    kept += value * 3 * shape.intermediate
    return kept + value * _inputs(shape, method, mixed) + _of_adapter(shape, method)


def _inputs(shape: Shape, method: Method, mixed: bool) -> float:
    """Values kept of a token as inputs of products whose weights learn."""
    if method.way == "ia3":
        return 0
    shared = (
        2 * shape.hidden + shape.intermediate
    )  # what norms and the gate make; attention's output is kept anyway
    if not mixed or (method.quantized_bytes and method.way == "lora"):
        return shared
    if method.way != "full":
        return sum(inputs for inputs, _ in method.adapted) / shape.layers
    products = sum(".layers.0." in name for name, _, _ in shape.matrices)
    return (
        products - 2
    ) * shape.hidden + shape.intermediate  # all but the attention's and the MLP's last begin there


def _of_adapter(shape: Shape, method: Method) -> float:
    """Bytes that adapters keep of a token beside their inputs."""
    if method.way == "full":
        return 0
    inputs, outputs = (sum(pair[side] for pair in method.adapted) / shape.layers for side in (0, 1))
    if method.way == "ia3":  # what is scaled, in the format of the scales
        return 4 * (shape.intermediate + outputs - shape.hidden)
    low = method.rank * len(method.adapted) / shape.layers
    more = 2.5 * outputs if method.way == "dora" else 0
    return method.computed_bytes * (low + more) + (
        inputs if method.dropout else 0
    )  # of dropout a mask of bytes


def _copies(shape: Shape, method: Method) -> int:
    """Trained weights in the format of the products, which autocast keeps until a pack's forward pass is done."""
    if method.computed_bytes == 4:
        return 0
    return method.computed_bytes * (shape.linear_weights if method.way == "full" else method.trainable)


def _working(shape: Shape, method: Method) -> float:
    """Bytes of a token on the way back through an MLP, beside what is kept."""
    value = method.computed_bytes
    if method.way == "full" or method.quantized_bytes or value == 4:
        return 3 * value * shape.intermediate
    return (3 * value + 4) * shape.intermediate  # the gradient of the adapter's input, in its own format


def _weight_at_work(shape: Shape, method: Method) -> int:
    """A weight's gradient before it is added, or a quantised or decomposed weight made exact."""
    if method.way == "full":
        return (4 + (method.computed_bytes if method.computed_bytes < 4 else 0)) * shape.largest_linear
    copies = (1 if method.quantized_bytes else 0) + (2 if method.way == "dora" else 0)
    return copies * method.computed_bytes * shape.largest_linear


def _last_gradient(shape: Shape, method: Method, load: Load) -> int:
    """That of the embeddings, made last; where they are the head too, the head's waits for it and both are added up."""
    size = 4 * method.largest
    beside = 0 if load.packs == 1 else size
    return beside + (2 * size if head_gradient(shape, method) and _tied(shape) else 0)


def _final_norm(shape: Shape, method: Method, load: Load) -> int:
    """What the last norm keeps, and the predicting tokens' states and their gradients."""
    kept = load.tokens * shape.hidden * (8 if method.way == "full" else 4)
    return kept + 2 * load.predicting * shape.hidden * method.value_bytes


def head_gradient(shape: Shape, method: Method) -> int:
    """Bytes of the output head's gradient, which comes with the loss; 0 where the head is frozen."""
    return 4 * method.largest if method.largest == shape.vocabulary * shape.hidden else 0


def _tied(shape: Shape) -> bool:
    """Whether embeddings and head are the same weights."""
    return sum(size == shape.vocabulary * shape.hidden for _, size in shape.tensors) == 1
