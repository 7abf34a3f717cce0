"""The ways to compute attention over a tree agree with each other and with one mask of the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from core.training.block_attention import by_blocks
from core.training.lean_attention import LeanAttention
from core.training.tree_attention import by_segment
from core.training.tree_layout import Tree

HEADS, KV_HEADS, WIDTH = 6, 2, 16
TREE = Tree(
    sizes=[20, 7, 30, 9, 1, 40], paths=[[], [0], [0], [0, 2], [0, 2], []], depths=[0, 20, 20, 50, 50, 0]
)
SCALING = 0.3


def states() -> list[torch.Tensor]:
    torch.manual_seed(0)
    tokens = sum(TREE.sizes)
    shapes = [(1, heads, tokens, WIDTH) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    return [torch.randn(shape).requires_grad_() for shape in shapes]


def by_one_mask(query: Any, key: Any, value: Any, window: int | None) -> torch.Tensor:
    """Written out token by token from what a tree is."""
    segment = [number for number, size in enumerate(TREE.sizes) for _ in range(size)]
    place = [depth + i for size, depth in zip(TREE.sizes, TREE.depths, strict=True) for i in range(size)]
    tokens = range(len(segment))
    mask = torch.tensor(
        [
            [
                other <= one
                and segment[other] in [*TREE.paths[segment[one]], segment[one]]
                and (window is None or place[one] - place[other] < window)
                for other in tokens
            ]
            for one in tokens
        ]
    )
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=SCALING, enable_gqa=True
    ).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 12, 1000])
@pytest.mark.parametrize("way", ["segments", "lean"])
def test_every_way_gives_the_same_output_and_gradients(way: str, window: int | None) -> None:
    one, other = states(), states()
    wanted = by_one_mask(*one, window)
    ours = {
        "segments": lambda: by_segment(*other, TREE, 0.0, SCALING, window),
        "lean": lambda: LeanAttention.apply(*other, TREE, SCALING, window),
    }[way]()
    assert torch.allclose(ours, wanted, atol=1e-5)
    slope = torch.randn_like(wanted)
    for left, right in zip(
        torch.autograd.grad(ours, other, slope), torch.autograd.grad(wanted, one, slope), strict=True
    ):
        assert ((left - right).norm() / right.norm()).item() < 1e-5


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 12, 1000])
def test_blocks_give_the_same_output(window: int | None) -> None:
    """The way on a GPU; on a CPU torch has no gradients of it."""
    with torch.no_grad():
        given = [item.detach() for item in states()]
        wanted = by_one_mask(*given, window)
        assert torch.allclose(by_blocks(*given, TREE, SCALING, window), wanted, atol=1e-5)
