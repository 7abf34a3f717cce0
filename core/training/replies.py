"""What base and tuned model answer to the same prompts: greedy replies, scored, and a few sampled ones to read."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from core.data.rendering import Renderer
from core.training.budget import Budget
from core.training.evaluation import greedy_replies, measuring
from core.training.held_out import HeldOut, in_chunks
from core.training.inputs import Prompt
from core.training.loss import bare_model
from core.training.questions import Question, questions
from core.training.scoring import Scores, Worst, closed_set
from core.training.sides import SIDES, Sides
from core.training.streaming import stream

WINDOW_ROWS = 256
"""Prompts sorted by length among so many, so that those of a batch are about as long."""

REPLY_TOKENS = 8192
"""Prompts and replies computed at once: what is kept of each token grows to some 100 kB in models of 4 billion."""

SAMPLES = 6
TEMPERATURE = 0.7
SHOWN_CHARACTERS = 4000
"""Of a text that is kept in the report."""


class Replies:
    """Asks both sides.

    Args:
        sides: the models.
        renderer: of the run.
        max_tokens: longest reply.

    Attributes:
        scores: of each side's greedy replies.
        worst: the rows whose tuned reply has the lowest token F1.
        too_long: rows left out since their prompt leaves the model no room for a reply.
    """

    def __init__(self, sides: Sides, renderer: Renderer, max_tokens: int) -> None:
        self.scores = {side: Scores() for side in SIDES}
        self.worst = Worst()
        self.too_long = 0
        self._sides = sides
        self._renderer = renderer
        self._max_tokens = max_tokens
        self._budget = Budget(REPLY_TOKENS)

    def ask(self, held: HeldOut) -> Generator[int, None, None]:
        """Score greedy replies to all rows that can be scored; yields how many are done, from 0."""
        classes = closed_set(item.prompt.expected for item in questions(held, scored=True))
        self.scores = {side: Scores(classes) for side in SIDES}
        yield 0
        done = 0
        for window in in_chunks(questions(held, scored=True), WINDOW_ROWS):
            for batch in self._batches(window):
                self._score(batch)
                done += len(batch)
                yield done

    def _batches(self, window: Sequence[Question]) -> Iterator[list[Question]]:
        """Prompts of similar length together, the longest first; those without room for a reply are left out."""
        sized = [(len(item.prompt.encoded(self._renderer)), item) for item in window]
        fitting = [pair for pair in sized if self._fits(pair[0])]
        self.too_long += len(sized) - len(fitting)
        batch: list[Question] = []
        longest = 0
        for size, item in sorted(fitting, key=lambda pair: -pair[0]):
            if batch and (len(batch) + 1) * (longest + self._max_tokens) > REPLY_TOKENS:
                yield batch
                batch = []
            longest = longest if batch else size
            batch.append(item)
        if batch:
            yield batch

    def _fits(self, size: int) -> bool:
        return bool(size) and (self._sides.longest is None or size + self._max_tokens <= self._sides.longest)

    def _score(self, batch: Sequence[Question]) -> None:
        replies = {side: self._greedy(side, batch) for side in SIDES}
        for item, base, tuned in zip(batch, *replies.values(), strict=True):
            expected = item.prompt.expected
            self.scores["base"].add(base, expected)
            f1 = self.scores["tuned"].add(tuned, expected)
            self.worst.add(f1, {**as_shown(item, base, tuned), "where": item.where, "token_f1": f1})

    def _greedy(self, side: str, batch: Sequence[Question]) -> list[str]:
        def work(tokens: int) -> list[str]:
            size = max(1, len(batch) * tokens // REPLY_TOKENS)
            replies: list[str] = []
            for part in in_chunks(iter(batch), size):
                prompts = [item.prompt for item in part]
                made = greedy_replies(model, self._renderer, prompts, self._max_tokens, self._sides.device)
                replies += (reply for reply, _ in made)
            return replies

        with self._sides.model(side) as model:
            return self._budget.spend(work)

    def sample(self, held: HeldOut, seed: int) -> Generator[int, None, list[dict[str, Any]]]:
        """A few rows' replies with some chance in them, the same for the same seed; yields how many are done."""
        chosen = [item for item in _some(held, seed) if self._fits(len(item.prompt.encoded(self._renderer)))]
        samples = []
        yield 0
        for number, item in enumerate(chosen):
            replies = [self._sampled(side, item.prompt, seed + number) for side in SIDES]
            samples.append(as_shown(item, *replies))
            yield number + 1
        return samples

    def _sampled(self, side: str, prompt: Prompt, seed: int) -> str:
        with self._sides.model(side) as model, measuring(model):
            bare_model(model).set_attn_implementation("sdpa")
            torch.manual_seed(seed)
            pieces = stream(
                model,
                self._renderer,
                prompt.encoded(self._renderer),
                self._sides.device,
                max_tokens=self._max_tokens,
                temperature=TEMPERATURE,
                top_p=1.0,
            )
            return "".join(piece.text for piece in pieces).strip()


def _some(held: HeldOut, seed: int) -> list[Question]:
    """Rows to sample replies to, chosen by the seed."""
    asking = sum(1 for _ in questions(held))
    numbers = set(np.random.default_rng(seed).permutation(asking)[:SAMPLES].tolist())
    return [item for number, item in enumerate(questions(held)) if number in numbers]


def as_shown(item: Question, base: str, tuned: str) -> dict[str, Any]:
    """A prompt, what was expected and what was said, as the report keeps them."""
    texts = {"prompt": item.prompt.text, "expected": item.prompt.expected, "base": base, "tuned": tuned}
    return {
        name: text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
        for name, text in texts.items()
    }
