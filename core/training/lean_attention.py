"""Attention over a prompt tree on a CPU, in one step of autograd that keeps little for the way back."""

from __future__ import annotations

from typing import Any

import torch

from core.training.tree_layout import Tree


class LeanAttention(torch.autograd.Function):
    """`by_segment` with torch's kernel for CPUs called by itself.

    Kept are queries, keys and values once each, and the output; repeated heads and the keys and values of ancestors in
    front of a segment's own are made again on the way back.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        tree: Tree,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        output = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
        sums = []
        for number, (own, _) in enumerate(tree.spans()):
            mask = tree.mask(number, window, query)
            part, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                query[:, :, own],
                *(tree.seen(item, number, query.shape[1]) for item in (key, value)),
                is_causal=mask is None,
                attn_mask=mask,
                scale=scaling,
            )
            output[:, own] = part.transpose(1, 2)
            sums.append(log_sum)
        ctx.save_for_backward(query, key, value, output, *sums)
        ctx.tree, ctx.scaling, ctx.window = tree, scaling, window
        return output

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, output, *sums = ctx.saved_tensors
        tree, kv_heads = ctx.tree, key.shape[1]
        slope_query = torch.empty_like(output)
        slope_key, slope_value = (torch.zeros_like(item.transpose(1, 2)) for item in (key, value))
        for number, (own, path) in enumerate(tree.spans()):
            mask = tree.mask(number, ctx.window, query)
            parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                slopes[0][:, own].transpose(1, 2),
                query[:, :, own],
                *(tree.seen(item, number, query.shape[1]) for item in (key, value)),
                output[:, own].transpose(1, 2),
                sums[number],
                0.0,
                mask is None,
                attn_mask=mask,
                scale=ctx.scaling,
            )
            slope_query[:, own] = parts[0].transpose(1, 2)
            for total, part in ((slope_key, parts[1]), (slope_value, parts[2])):
                by_head = part.unflatten(1, (kv_heads, -1)).sum(2).transpose(1, 2)
                for span, piece in zip(
                    path, by_head.split([item.stop - item.start for item in path], 1), strict=True
                ):
                    total[:, span] += piece
        return (*(item.transpose(1, 2) for item in (slope_query, slope_key, slope_value)), None, None, None)
