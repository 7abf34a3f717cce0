"""Decoder layers in three steps of autograd and an attention, in place of some thirty.

Put onto a loaded model layer by layer, where the layer computes exactly that (Llama, Mistral, Phi-3, Qwen 2 and their
kin); every other layer, and what a fused one can't do, goes the model's own way.
"""

from __future__ import annotations

from functools import partial
from types import MethodType
from typing import Any, NamedTuple

import torch

from core.training.fused_lora import Fused
from core.training.fused_math import (
    SCRATCH,
    LoraParts,
    Projection,
    norm_back,
    normed,
    project,
    project_back,
    rms_scale,
    rotate,
)
from core.training.tree_attention import NAME, tree_attention
from core.training.tree_layout import Tree

CLOSE = 1e-5
"""How far a fused layer may be from the model's own on a few numbers, in float32."""


class Norm(NamedTuple):
    """A frozen RMS norm."""

    weight: torch.Tensor
    epsilon: float


class _Attended(torch.autograd.Function):
    """Norm, queries, keys and values, rotated; and x as it came, so that its whole gradient comes together here."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, norm: Norm, qkv: Projection, turn: tuple[Any, ...], *_: Any
    ) -> tuple[torch.Tensor, ...]:
        scale = rms_scale(x, norm.epsilon)
        (query, key, value), low = project(normed(x, scale, norm.weight), qkv)
        for rotated in (query, key):
            rotate(rotated, *turn)
        ctx.save_for_backward(x, scale, low)
        ctx.parts = norm, qkv, turn
        return query, key, value, x

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, scale, low = ctx.saved_tensors
        norm, qkv, (cos, sin, width) = ctx.parts
        query, key, value, beside = slopes
        for rotated in (query, key):
            rotate(rotated, cos, -sin, width)
        slope, adapters = project_back((query, key, value), normed(x, scale, norm.weight), qkv, low)
        slope_x = norm_back(slope, x, scale, norm.weight, beside) if ctx.needs_input_grad[0] else None
        return slope_x, None, None, None, *adapters


class _AddProjected(torch.autograd.Function):
    """`x` plus a projection of what was attended to."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, attended: torch.Tensor, out: Projection, *_: Any) -> torch.Tensor:
        (result,), low = project(attended, out)
        ctx.save_for_backward(attended, low)
        ctx.out = out
        return result.add_(x)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        attended, low = ctx.saved_tensors
        slope, adapters = project_back(slopes, attended, ctx.out, low)
        return slopes[0], slope.clone(), None, *adapters


class _AddGated(torch.autograd.Function):
    """`x` plus the gated MLP of its norm; the gate's product is computed again on the way back, not kept."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, norm: Norm, gate_up: Projection, down: Projection, *_: Any
    ) -> torch.Tensor:
        scale = rms_scale(x, norm.epsilon)
        (gate, up), low = project(normed(x, scale, norm.weight), gate_up)
        product = torch.ops.aten.silu.out(gate, out=SCRATCH.take("product", gate, *gate.shape)).mul_(up)
        (result,), low_down = project(product, down)
        ctx.save_for_backward(x, scale, gate, up, low, low_down)
        ctx.parts = norm, gate_up, down
        return result.add_(x)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, scale, gate, up, low, low_down = ctx.saved_tensors
        norm, gate_up, down = ctx.parts
        active = torch.ops.aten.silu.out(gate, out=SCRATCH.take("active", gate, *gate.shape))
        product = torch.mul(active, up, out=SCRATCH.take("product", gate, *gate.shape))
        slope_product, adapters_down = project_back(slopes, product, down, low_down)
        slope_up = active.mul_(slope_product)
        slope_gate = torch.ops.aten.silu_backward.grad_input(slope_product.mul_(up), gate, grad_input=product)
        slope, adapters = project_back((slope_gate, slope_up), normed(x, scale, norm.weight), gate_up, low)
        slope_x = norm_back(slope, x, scale, norm.weight, slopes[0])
        return slope_x, None, None, None, *adapters, *adapters_down


class FusedLayer:
    """What a decoder layer computes, read off its parts.

    Args:
        layer: of a transformers model with LoRA on it.
        last: only the tokens that predict something go on after its attention: nothing reads the others.

    Raises:
        AttributeError: its parts are others than those of the layers fused here.
    """

    def __init__(self, layer: Any, last: bool) -> None:
        attention, mlp, config = layer.self_attn, layer.mlp, layer.self_attn.config
        self.attention = attention
        self.last = last
        self.norms = [
            Norm(norm.weight, norm.variance_epsilon)
            for norm in (layer.input_layernorm, layer.post_attention_layernorm)
        ]
        self.width = attention.head_dim
        queries, keys = (
            count * self.width for count in (config.num_attention_heads, config.num_key_value_heads)
        )
        self.qkv_cuts: list[tuple[int, ...]]
        self.gate_up_cuts: list[tuple[int, ...]]
        if hasattr(attention, "qkv_proj"):
            self.qkv, self.qkv_cuts = [attention.qkv_proj], [(queries, keys, keys)]
        else:
            self.qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
            self.qkv_cuts = [(queries,), (keys,), (keys,)]
        inner = config.intermediate_size
        if hasattr(mlp, "gate_up_proj"):
            self.gate_up, self.gate_up_cuts = [mlp.gate_up_proj], [(inner, inner)]
        else:
            self.gate_up, self.gate_up_cuts = [mlp.gate_proj, mlp.up_proj], [(inner,), (inner,)]
        self.out, self.down = [attention.o_proj], [mlp.down_proj]
        self.window = getattr(attention, "sliding_window", getattr(config, "sliding_window", None))
        self.other = [part for part in layer.modules() if isinstance(part, torch.nn.Dropout)]

    def fits(self, x: torch.Tensor) -> bool:
        """Whether the layer is nothing but that for an input now."""
        if x.dtype != torch.float32 or any(part.p and part.training for part in self.other):
            return False
        linears = [*self.qkv, *self.out, *self.gate_up, *self.down]
        return not any(norm.weight.requires_grad for norm in self.norms) and all(
            linear.can_fuse(x) if isinstance(linear, Fused) else _is_frozen(linear, x) for linear in linears
        )

    def forward(
        self,
        hidden: torch.Tensor,
        *,
        tree: Tree,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        predictors: torch.Tensor | None,
    ) -> torch.Tensor:
        """The layer's output, shape (1, tokens, width); of the last layer only the predictors' tokens.

        Args:
            hidden: shape (1, tokens, width).
            tree: of the pack.
            position_embeddings: cosine and sine of each position, shape (1, tokens, rotated).
            predictors: numbers of the tokens that predict something, or None for all.
        """
        x = hidden[0]
        turn = _turn(position_embeddings, self.width)
        qkv, out = _projection(self.qkv, self.qkv_cuts), _projection(self.out, [(x.shape[-1],)])
        *heads, x = _Attended.apply(x, self.norms[0], qkv, turn, *qkv.adapters)
        query, key, value = (item.view(1, len(x), -1, self.width).transpose(1, 2) for item in heads)
        attended, _ = tree_attention(
            self.attention,
            query,
            key,
            value,
            None,
            tree,
            dropout=self.attention.attention_dropout if self.attention.training else 0.0,
            scaling=self.attention.scaling,
            sliding_window=self.window,
        )
        attended = attended.view(len(x), -1)
        if self.last and predictors is not None:
            attended, x = attended[predictors], x[predictors]
        x = _AddProjected.apply(x, attended, out, *out.adapters)
        gate_up = _projection(self.gate_up, self.gate_up_cuts)
        down = _projection(self.down, [(x.shape[-1],)])
        result: torch.Tensor = _AddGated.apply(
            x, self.norms[1], gate_up, down, *gate_up.adapters, *down.adapters
        )
        return result[None]


def _is_frozen(linear: Any, x: torch.Tensor) -> bool:
    return (
        type(linear) is torch.nn.Linear and not linear.weight.requires_grad and linear.weight.dtype == x.dtype
    )


def _projection(linears: list[Any], cuts: list[tuple[int, ...]]) -> Projection:
    parts = (
        linear.parts()
        if isinstance(linear, Fused)
        else LoraParts(linear.weight, linear.bias, None, None, 0.0)
        for linear in linears
    )
    return Projection(tuple(parts), tuple(cuts))


def _turn(
    position_embeddings: tuple[torch.Tensor, torch.Tensor], width: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """What `rotate` takes: the embeddings hold each value twice, once for either half."""
    cos, sin = (item[0, :, : item.shape[-1] // 2] for item in position_embeddings)
    return cos, sin, width


def fuse(model: Any) -> int:
    """Put fused layers in place of those of a model with a LoRA adapter; how many were replaced."""
    bare = model.get_base_model()
    decoder = bare.get_decoder()
    bare.set_attn_implementation(NAME)
    replaced = 0
    layers = getattr(decoder, "layers", ())  # GPT-2 and its like have others, and none that fits
    for number, layer in enumerate(layers):
        try:
            fused = FusedLayer(layer, last=number + 1 == len(layers))
        except AttributeError:
            continue
        if _same(decoder, layer, fused):
            layer.forward = MethodType(_forward(layer.forward, fused), layer)
            replaced += 1
    return replaced


def _forward(own: Any, fused: FusedLayer) -> Any:
    def forward(self: Any, hidden_states: torch.Tensor, **kwargs: Any) -> Any:
        if kwargs.get("tree") is None or not fused.fits(hidden_states):
            return own(hidden_states, **kwargs)
        given: dict[str, Any] = {
            name: kwargs.get(name) for name in ("tree", "position_embeddings", "predictors")
        }
        # transformers does this in the forward that is replaced here
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(partial(fused.forward, **given), hidden_states)
        return fused.forward(hidden_states, **given)

    return forward


def _same(decoder: Any, layer: Any, fused: FusedLayer) -> bool:
    """Whether a fused layer gives what the model's own does."""
    weight = fused.norms[0].weight
    x = torch.linspace(-2, 2, 3 * len(weight), device=weight.device, dtype=weight.dtype).sin().view(1, 3, -1)
    if not fused.fits(x):
        return False
    turn = decoder.rotary_emb(x, position_ids=torch.arange(3, device=x.device)[None])
    given: dict[str, Any] = {"tree": Tree([3], [[]], [0]), "position_embeddings": turn}
    with torch.no_grad():
        own, ours = layer.forward(x, **given), fused.forward(x, predictors=None, **given)
    return bool((own - ours).norm() <= CLOSE * own.norm())
