"""A chat in words: its settings, and each side's view of the turns. What a chat is, is in core.serving.talk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from core.serving.talk import SIDES, STOPPED, Reply, Talk, Turn
from tui import markdown
from tui.format import ascii_only, count, money, visible
from tui.widgets.textpane import Paragraph

PLACES = ("left", "right")


@dataclass(frozen=True)
class Settings:
    """How replies are made. Temperature 0 takes the likeliest token each time."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int = 42
    system: str = ""
    stop: tuple[str, ...] = ()

    def words(self) -> str:
        """The settings in one line."""
        if self.temperature == 0:
            how = "temperature 0 (greedy)"
        else:
            how = f"temperature {self.temperature:g}  top-p {self.top_p:g}  seed {self.seed}"
        stop = f"  stops at {stops_in_words(self.stop)}" if self.stop else ""
        system = (
            f"  system: {visible(' '.join(self.system.split()))}" if self.system else "  no system prompt"
        )
        return f"{how}  at most {self.max_tokens} tokens{stop}{system}"

    def sampling(self, again: int) -> dict[str, Any]:
        """What the worker is told.

        Args:
            again: how often the same was asked before; each time has a seed of its own.
        """
        values = {name: value for name, value in asdict(self).items() if name != "system"}
        return {**values, "seed": self.seed + again}

    @classmethod
    def of(cls, values: dict[str, Any]) -> Settings:
        """Settings as a chat keeps them; what they lack is as usual, others are passed over."""
        known = {item.name for item in fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        return cls(**{**kept, "stop": tuple(kept.get("stop", ()))})


def stops_in_words(stops: Sequence[str]) -> str:
    """Stop strings as they are typed: apart by `|`, a line feed as `\\n`."""
    written = (stop.replace("\\", "\\\\").replace("\n", "\\n").replace("|", "\\|") for stop in stops)
    return visible(" | ".join(written))


def figures(reply: Reply, billed: bool = False) -> str:
    """Latency, speed, length and cost of a reply, or what became of it.

    Args:
        reply: by now.
        billed: somebody may ask money for it.
    """
    if not reply.ended:
        return "..." if not reply.text else "writing"
    if reply.ended == STOPPED:
        return STOPPED
    first = f"{reply.first_token_ms:.0f} ms"
    if reply.first_token_ms >= 10_000:
        first = f"{reply.first_token_ms / 1000:.0f} s"
    speed = "speed unknown" if reply.tokens_per_s is None else f"{reply.tokens_per_s:.1f} tok/s"
    length = "tokens unknown" if reply.tokens is None else f"{count(reply.tokens)} tokens"
    words = [first, speed, length]
    if reply.cost_usd is not None:
        words.append(money(reply.cost_usd))
    elif billed:
        words.append("cost unknown")
    end = {"turn end": "", "length": " (cut)"}.get(reply.ended, f" ({visible(reply.ended)})")
    return " · ".join(words) + end


@dataclass(frozen=True)
class View:
    """How turns are shown.

    Args:
        names: of the sides, for people.
        billed: the sides that may cost money.
        marked: the number of the turn that keys act on, 0 where it is the last one.
        raw: replies as they were written, not laid out.
    """

    names: dict[str, str]
    billed: frozenset[str] = frozenset()
    marked: int = 0
    raw: bool = False

    def turn(self, talk: Talk, turn: Turn, place: str) -> list[Paragraph]:
        """A turn as one of the places shows it."""
        side = turn.shown(place)
        reply = turn.replies.get(side)
        beside = talk.siblings(turn)
        branch = f"branch {beside.index(turn) + 1} of {len(beside)}" if len(beside) > 1 else ""
        mark = (">" if ascii_only() else "▸") + " " if turn.number == self.marked else ""
        lay_out = markdown.as_it_is if self.raw else markdown.paragraphs
        return [
            Paragraph(f"{mark}you", "strong", tail=branch),
            Paragraph(visible(turn.text, lines=True), head="  "),
            self._name(turn, side, place, reply),
            *(lay_out(reply.text, "  ") if reply is not None and reply.text.strip() else [Paragraph("")]),
            Paragraph(""),
        ]

    def _name(self, turn: Turn, side: str, place: str, reply: Reply | None) -> Paragraph:
        if turn.hidden:
            working = reply is not None and not reply.ended
            return Paragraph(place, "accent", tail=figures(reply) if reply is not None and working else "")
        chosen = ""
        if turn.vote:
            chosen = {side: "better: ", "tie": "a tie: "}.get(turn.vote, "")
        told = figures(reply, side in self.billed) if reply is not None else ""
        return Paragraph(f"{chosen}{self.names[side]}", "accent", tail=told)


def transcript(talk: Talk, names: dict[str, str], settings: Settings) -> str:
    """The turns that are shown as text, both sides."""
    parts = [settings.words()]
    for turn in talk.path():
        parts.append(f"you:\n{turn.text}")
        for place in PLACES:
            side = turn.shown(place)
            if side in turn.replies:
                reply = turn.replies[side]
                name = place if turn.hidden else f"{names[side]} ({figures(reply)})"
                parts.append(f"{name}:\n{reply.text}")
    return "\n\n".join(parts) + "\n"


def last_reply(talk: Talk, place: str) -> str:
    """The last text in a place."""
    for turn in reversed(talk.path()):
        reply = turn.replies.get(turn.shown(place))
        if reply is not None and reply.text:
            return reply.text
    return ""


def names_of(titles: dict[str, str]) -> dict[str, str]:
    """How the sides are called: `A  support-04`."""
    return {side: f"{side}  {titles[side]}" if side in titles else side for side in SIDES}
