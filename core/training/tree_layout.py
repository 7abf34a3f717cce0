"""A pack's tree as attention needs it: segments, what each sees, and masks of single segments."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypeVar

import torch
from transformers.integrations.sdpa_attention import repeat_kv

from core.training.tree import Pack

Made = TypeVar("Made")


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
    _made: dict[Hashable, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, pack: Pack) -> Tree:
        """The tree of a pack."""
        numbers = range(len(pack.segments))
        return cls(
            sizes=[item.end - item.start for item in pack.segments],
            paths=[pack.path(number)[:-1] for number in numbers],
            depths=[item.depth for item in pack.segments],
        )

    def spans(self) -> Iterator[tuple[slice, list[slice]]]:
        """For each segment its tokens in the pack, and those of all that it sees: its ancestors, then itself."""
        ends = list(accumulate(self.sizes))
        own = [slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]
        for number, path in enumerate(self.paths):
            yield own[number], [own[item] for item in (*path, number)]

    def seen(self, states: torch.Tensor, segment: int, heads: int) -> torch.Tensor:
        """Keys or values that a segment sees, one after the other, repeated to so many heads."""
        parts = states.split(self.sizes, dim=2)
        path = self.paths[segment]
        seen = torch.cat([parts[item] for item in (*path, segment)], dim=2) if path else parts[segment]
        return repeat_kv(seen, heads // states.shape[1])

    def mask(self, segment: int, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
        """What is added to the products of each token of a segment with what it sees (ancestors, then itself).

        Args:
            segment: its number.
            window: of a sliding-window layer: how many tokens back a token sees, itself included.
            like: of the number format and place needed.

        Returns:
            0 and minus infinity, shape (tokens, seen tokens); None where plain causal order says it.
        """
        length = self.depths[segment] + self.sizes[segment]
        if window is not None and window >= length:
            window = None
        if not self.paths[segment] and window is None:
            return None

        def make() -> torch.Tensor:
            queries = torch.arange(self.depths[segment], length, device=like.device)[:, None]
            keys = torch.arange(length, device=like.device)[None, :]
            hidden = keys > queries
            if window is not None:
                hidden |= queries - keys >= window
            return like.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)

        return self.once((segment, window), make)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, made for the first layer that asks and kept for the others."""
        if key not in self._made:
            self._made[key] = make()
        made: Made = self._made[key]
        return made
