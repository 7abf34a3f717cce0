"""Attention over a prompt tree: each segment sees its ancestors and itself, and no mask of the whole is built.

Registered with transformers under `NAME`; the tree travels through the keyword arguments of the model's call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv

from core.training.tree import Pack

NAME = "finetui_tree"


@dataclass
class Tree:
    """A pack's segments as attention needs them.

    Args:
        sizes: tokens of each segment, in order.
        paths: for each segment the numbers of its ancestors, root first.
        depths: position of each segment's first token.
    """

    sizes: list[int]
    paths: list[list[int]]
    depths: list[int]
    _masks: dict[tuple[int, int | None], torch.Tensor | None] = field(default_factory=dict)

    @classmethod
    def of(cls, pack: Pack) -> Tree:
        """The tree of a pack."""
        numbers = range(len(pack.segments))
        return cls(
            sizes=[item.end - item.start for item in pack.segments],
            paths=[pack.path(number)[:-1] for number in numbers],
            depths=[item.depth for item in pack.segments],
        )

    def mask(self, segment: int, window: int | None, device: torch.device) -> torch.Tensor | None:
        """Which keys (ancestors, then itself) each token of a segment sees; None where plain causal order says it.

        Args:
            segment: its number.
            window: of a sliding-window layer: how many tokens back a token sees, itself included.
            device: where the mask is needed.
        """
        length = self.depths[segment] + self.sizes[segment]
        if window is not None and window >= length:
            window = None
        if not self.paths[segment] and window is None:
            return None
        key = (segment, window)
        if key not in self._masks:
            queries = torch.arange(self.depths[segment], length, device=device)[:, None]
            keys = torch.arange(length, device=device)[None, :]
            seen = keys <= queries
            self._masks[key] = seen if window is None else seen & (queries - keys < window)
        return self._masks[key]


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
    groups = query.shape[1] // key.shape[1]
    queries = query.split(tree.sizes, dim=2)
    keys = repeat_kv(key, groups).split(tree.sizes, dim=2)
    values = repeat_kv(value, groups).split(tree.sizes, dim=2)
    outputs = []
    for number, path in enumerate(tree.paths):
        mask = tree.mask(number, sliding_window, query.device)
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
    return torch.cat(outputs, dim=1), None


AttentionInterface.register(NAME, tree_attention)
