"""How a reply is made, and what became of it. No torch, no openai."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

MOST_STOPS = 4
"""As many stop strings as OpenAI's API takes."""


@dataclass(frozen=True)
class Sampling:
    """How a reply is made.

    Args:
        temperature: 0 takes the likeliest token each time.
        top_p: only the likeliest tokens that together have this probability.
        max_tokens: longest reply.
        seed: of the random choice.
        stop: the reply ends before the first of these texts.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int = 42
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Made:
    """A reply and its figures.

    Args:
        text: of the reply.
        tokens: of it, None where the server doesn't say.
        prompt_tokens: of all before it, None where the server doesn't say.
        seconds: from asking to its end.
        first_token_ms: from asking to its first text.
        ended: `turn end`, `length`, `blocked`, or what else the server says.
        cost_usd: what it cost, None where that is not known.
    """

    text: str
    tokens: int | None
    prompt_tokens: int | None
    seconds: float
    first_token_ms: float
    ended: str
    cost_usd: float | None = None

    @property
    def tokens_per_s(self) -> float | None:
        """Over the whole reply, the wait for its first token included."""
        return self.tokens / self.seconds if self.tokens is not None else None

    def as_dict(self) -> dict[str, Any]:
        """All of it by name, for pipes and JSON."""
        return {**asdict(self), "tokens_per_s": self.tokens_per_s}


@dataclass(frozen=True)
class Refusal:
    """A server would not answer this prompt; others it may.

    Args:
        reason: in its words.
        blocked: its content filter refused, not its limits.
    """

    reason: str
    blocked: bool


class Stops:
    """Cuts a growing text before the first of some stop strings to be complete; what may become one is held back.

    Args:
        stops: the strings; empty ones stop nothing.

    Attributes:
        stopped: one was found; nothing more comes out.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """More of the text; returns what can be shown by now."""
        if self.stopped:
            return ""
        self._held += text
        found = [(place + len(stop), place) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            _, place = min(
                found
            )  # the one that is complete first, so that it doesn't matter how the text comes
            shown, self._held = self._held[:place], ""
            return shown
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def rest(self) -> str:
        """What was held back, once the text is over."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """How many characters at the text's end are a beginning of the stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
