"""Choosing the next token, and turning tokens into text as they come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from core.training.streaming import choose, stream

logits = some.lists(some.floats(-30, 30, width=32), min_size=1, max_size=12).map(torch.tensor)


def nucleus(values: torch.Tensor, temperature: float, top_p: float) -> set[int]:
    """The fewest likeliest tokens that together reach `top_p`, by the definition, in double precision."""
    probabilities = torch.softmax(values.double() / temperature, dim=-1)
    kept: set[int] = set()
    total = 0.0
    for token in sorted(range(len(values)), key=lambda token: -float(probabilities[token])):
        if kept and total >= top_p:
            break
        kept.add(token)
        total += float(probabilities[token])
    return kept


@given(logits, some.floats(0.1, 3), some.floats(0, 1), some.integers(0, 2**31))
def test_what_is_chosen_is_in_the_nucleus(
    values: torch.Tensor, temperature: float, top_p: float, seed: int
) -> None:
    torch.manual_seed(seed)
    chosen = choose(values, temperature, top_p)
    # Logits that are as good as equal may be ordered either way, and sums differ in the last digits.
    allowed = {float(values[token]) for token in nucleus(values, temperature, min(1.0, top_p + 1e-5))}
    assert min(abs(float(values[chosen]) - value) for value in allowed) < 1e-6


@given(logits, some.floats(-1, 0), some.floats(0, 1))
def test_no_temperature_takes_the_likeliest(values: torch.Tensor, temperature: float, top_p: float) -> None:
    assert values[choose(values, temperature, top_p)] == values.max()


@given(logits, some.sampled_from([1e-45, 1e-30, 1e-6]))
def test_a_tiny_temperature_takes_the_likeliest(values: torch.Tensor, temperature: float) -> None:
    rounded = values.round()  # so that the next best is far away at such a temperature
    assert rounded[choose(rounded, temperature, 1.0)] == rounded.max()


@given(logits, some.floats(0.1, 3))
def test_a_top_p_of_nothing_takes_the_likeliest(values: torch.Tensor, temperature: float) -> None:
    assert values[choose(values, temperature, 0.0)] == values.max()


def test_frequencies_are_the_probabilities_of_the_nucleus() -> None:
    values = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    torch.manual_seed(0)
    picks = torch.tensor([choose(values, 1.0, 0.8) for _ in range(4000)])
    counts = torch.bincount(picks, minlength=4)
    assert counts[2:].tolist() == [0, 0]  # 0.5 + 0.3 reach 0.8
    # Four standard deviations of a binomial with p = 5/8.
    assert float(counts[0]) / 4000 == pytest.approx(0.625, abs=4 * (0.625 * 0.375 / 4000) ** 0.5)


class Bytes:
    """A renderer whose tokens are bytes; 0 ends a turn."""

    turn_end_ids = (0,)

    def decode(self, tokens: list[int], skip_special: bool = False) -> str:
        return bytes(tokens).decode("utf-8", "replace")


class Script:
    """A model that says given bytes, one a call; remembers how much it was fed each time."""

    def __init__(self, says: bytes) -> None:
        self.says, self.fed = says, []

    def __call__(self, input_ids: torch.Tensor, past_key_values: Any, **_: Any) -> Any:
        scores = torch.zeros(1, 1, 256)
        scores[0, 0, self.says[len(self.fed)]] = 9.0
        self.fed.append(input_ids.shape[1])
        return SimpleNamespace(logits=scores, past_key_values=object())


def pieces(says: bytes, max_tokens: int = 50) -> tuple[list[tuple[str, int, str]], Script]:
    model = Script(says)
    found = stream(
        model, Bytes(), [5, 6, 7], torch.device("cpu"), max_tokens=max_tokens, temperature=0.0, top_p=1.0
    )  # type: ignore[arg-type]
    return [(piece.text, piece.tokens, piece.ended) for piece in found], model


def test_each_token_is_fed_once_and_text_comes_as_it_is_made() -> None:
    found, model = pieces(b"ab\0")
    assert found == [("a", 1, "length"), ("b", 2, "length"), ("", 3, "turn end")]
    assert model.fed == [3, 1, 1]


def test_a_character_of_several_tokens_comes_whole() -> None:
    found, _ = pieces("é☃x".encode() + b"\0")
    assert [text for text, _, _ in found] == ["", "é", "", "", "☃", "x", ""]


def test_a_character_cut_off_by_the_length_or_the_turn_s_end_is_shown_as_broken() -> None:
    assert pieces("a☃".encode(), max_tokens=3)[0][-1] == ("\ufffd", 3, "length")
    assert pieces("a☃".encode()[:3] + b"\0")[0][-1] == ("\ufffd", 4, "turn end")


def test_an_end_at_once_is_an_empty_reply() -> None:
    assert pieces(b"\0")[0] == [("", 1, "turn end")]
