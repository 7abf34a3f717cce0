"""Attention over a prompt tree on a GPU: torch's flex_attention, which passes over blocks that nothing is seen of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from core.training.tree_layout import Tree


@functools.cache
def compiled(device: str) -> Callable[..., Any]:
    """flex_attention for a device: compiled on a GPU, where it is slow otherwise, as it is elsewhere."""
    function: Callable[..., Any] = (
        torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention
    )
    return function


def by_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    tree: Tree,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """Attention of one layer over a pack; arguments and result as in `tree_attention`."""
    mask = tree.once(("blocks", window), lambda: block_mask(tree, window, query.device))
    output: torch.Tensor = compiled(query.device.type)(
        query, key, value, block_mask=mask, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    return output.transpose(1, 2)


def block_mask(tree: Tree, window: int | None, device: torch.device) -> BlockMask:
    """Which blocks of keys each block of queries needs, and which pairs of tokens within them.

    A token sees those before it in the pack whose segment is on its own segment's path, in a sliding-window layer only
    so many tokens back, itself included.
    """
    segments = len(tree.sizes)
    on_path = torch.zeros(segments, segments, dtype=torch.bool)
    for number, path in enumerate(tree.paths):
        on_path[number, [*path, number]] = True
    on_path = on_path.to(device)
    sizes, depths = torch.tensor(tree.sizes), torch.tensor(tree.depths)
    segment = torch.arange(segments).repeat_interleave(sizes)
    first = (sizes.cumsum(0) - sizes)[segment]
    position = (torch.arange(len(segment)) - first + depths[segment]).to(device)
    segment = segment.to(device)

    def sees(_: Any, __: Any, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        seen = (other <= one) & on_path[segment[one], segment[other]]
        return seen if window is None else seen & (position[one] - position[other] < window)

    return create_block_mask(sees, None, None, len(segment), len(segment), device=str(device))
