"""Generating a reply token by token, with the text as it becomes whole characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.data.rendering import Renderer


@dataclass(frozen=True)
class Piece:
    """One more token.

    Args:
        text: what it adds to the text; empty while a character is incomplete.
        tokens: generated so far.
        ended: `turn end` when the model ended its turn with this token, else `length`.
    """

    text: str
    tokens: int
    ended: str


def stream(
    model: Any,
    renderer: Renderer,
    ids: Sequence[int],
    device: torch.device,
    *,
    max_tokens: int,
    temperature: float,
    top_p: float,
) -> Iterator[Piece]:
    """The reply to a rendered prompt.

    Args:
        model: a causal language model in eval mode.
        renderer: of the model.
        ids: the prompt with its generation prompt.
        device: the model's.
        max_tokens: longest reply.
        temperature: 0 takes the likeliest token each time.
        top_p: sample from the likeliest tokens that together have this probability.
    """
    tokens: list[int] = []
    shown = ""
    step = torch.tensor([list(ids)], device=device)
    cache = None
    while len(tokens) < max_tokens:
        with torch.no_grad():  # not around the yield: the caller's own state is its own
            output = model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
        token = choose(output.logits[0, -1], temperature, top_p)
        if token in renderer.turn_end_ids:
            rest = renderer.decode(tokens, skip_special=True)[len(shown) :]
            yield Piece(rest, len(tokens) + 1, "turn end")
            return
        tokens.append(token)
        step = torch.tensor([[token]], device=device)
        text = renderer.decode(tokens, skip_special=True)
        complete = not text.endswith("\ufffd") or len(tokens) == max_tokens
        added = text[len(shown) :] if complete else ""
        shown += added
        yield Piece(added, len(tokens), "length")


def choose(logits: torch.Tensor, temperature: float, top_p: float) -> int:
    """The next token from its logits, shape (vocabulary,); nucleus sampling after Holtzman et al., 2020.

    The likeliest token always stays, so a `top_p` of 0 is greedy too.
    """
    if temperature <= 0 or top_p <= 0:
        return int(logits.argmax())
    below_best = logits.float() - logits.max()  # first, so that a tiny temperature makes no infinity
    ordered, indices = torch.softmax(below_best / temperature, dim=-1).sort(descending=True)
    left_out = ordered.cumsum(0) - ordered >= top_p
    left_out[0] = False
    ordered[left_out] = 0
    return int(indices[torch.multinomial(ordered / ordered.sum(), 1)])
