"""Attention over a prompt tree: each segment sees its ancestors and itself, and no mask of the whole is built.

Registered with transformers under `NAME`; the tree travels through the keyword arguments of the model's call. Which
way it is computed is decided in `tree_attention` alone; all ways give the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv

from core.training.block_attention import by_blocks
from core.training.lean_attention import LeanAttention
from core.training.tree_layout import Tree

NAME = "finetui_tree"


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    tree: Tree,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one layer over a pack.

    Args:
        module: the attention layer.
        query: shape (1, heads, tokens, width); key and value may have fewer heads.
        key: see query.
        value: see query.
        attention_mask: not used: the tree says what is seen.
        tree: of the pack.
        dropout: share of attention weights dropped.
        scaling: of the products.
        sliding_window: of this layer, or None.

    Returns:
        shape (1, tokens, heads, width), and None for the weights.
    """
    # under autocast rotations by float32 angles give float32
    query, key = query.to(value.dtype), key.to(value.dtype)
    if query.device.type == "cuda" and not dropout:
        return by_blocks(query, key, value, tree, scaling, sliding_window), None
    if query.device.type == "cpu" and not dropout:
        output: torch.Tensor = LeanAttention.apply(query, key, value, tree, scaling, sliding_window)
        return output, None
    return by_segment(query, key, value, tree, dropout, scaling, sliding_window), None


def by_segment(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    tree: Tree,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """torch's attention once a segment, as `tree_attention`; autograd keeps all that goes into it."""
    groups = query.shape[1] // key.shape[1]
    queries = query.split(tree.sizes, dim=2)
    keys = repeat_kv(key, groups).split(tree.sizes, dim=2)
    values = repeat_kv(value, groups).split(tree.sizes, dim=2)
    outputs = []
    for number, path in enumerate(tree.paths):
        mask = tree.mask(number, window, query)
        outputs.append(
            scaled_dot_product_attention(
                queries[number],
                torch.cat([keys[item] for item in (*path, number)], dim=2) if path else keys[number],
                torch.cat([values[item] for item in (*path, number)], dim=2) if path else values[number],
                attn_mask=mask,
                dropout_p=dropout,
                is_causal=mask is None,
                scale=scaling,
            ).transpose(1, 2)
        )
    return torch.cat(outputs, dim=1)


AttentionInterface.register(NAME, tree_attention)
