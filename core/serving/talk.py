"""A chat as a tree of turns: asking again or changing a message makes a sibling, and nothing that was said is lost.

Both sides get the same messages, and each goes on from its own replies.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field, fields
from typing import Any

SIDES = ("A", "B")
STOPPED = "stopped"
VOTES = (*SIDES, "tie")


@dataclass
class Reply:
    """One side's answer to a turn; figures are None where they are not known.

    Attributes:
        ended: empty while it is being written; else `turn end`, `length`, `blocked`, `stopped` or what a server says.
    """

    text: str = ""
    tokens: int | None = None
    prompt_tokens: int | None = None
    tokens_per_s: float | None = None
    first_token_ms: float = 0.0
    cost_usd: float | None = None
    ended: str = ""

    @classmethod
    def of(cls, values: dict[str, Any]) -> Reply:
        """From values by name; others than a reply's are passed over."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Turn:
    """What the user said, and the replies by side.

    Attributes:
        number: of the turn in its chat, from 1.
        parent: the turn before, 0 for none.
        left: in a blind vote the side that is shown on the left, else empty.
        vote: `A`, `B` or `tie`, empty before.
    """

    number: int
    parent: int
    text: str
    left: str = ""
    vote: str = ""
    replies: dict[str, Reply] = field(default_factory=dict)

    @property
    def hidden(self) -> bool:
        """Whether nobody may know yet which side said what."""
        return bool(self.left) and not self.vote

    @property
    def answered(self) -> bool:
        """Whether both sides have said something to the end."""
        both = [self.replies.get(side) for side in SIDES]
        return all(reply is not None and reply.ended and reply.ended != STOPPED for reply in both)

    def shown(self, place: str) -> str:
        """The side that is shown in a place, `left` or `right`."""
        first = self.left or "A"
        return first if place == "left" else SIDES[1 - SIDES.index(first)]


def shuffled(seed: int, number: int) -> str:
    """The side on the left of a turn, by the seed: either as often, and nobody can tell which."""
    return random.Random(f"{seed} {number}").choice(SIDES)


class Talk:
    """The turns of a chat.

    Args:
        chat: the id under which it is kept; empty where it isn't yet.

    Attributes:
        turns: all of them, by number.
        chosen: of each turn (0 for the beginning) the one after it that is shown.
    """

    def __init__(self, chat: str = "") -> None:
        self.chat = chat
        self.turns: dict[int, Turn] = {}
        self.chosen: dict[int, int] = {}

    def path(self) -> list[Turn]:
        """The turns that are shown, in order."""
        found: list[Turn] = []
        here = self.chosen.get(0)
        while here is not None:
            found.append(self.turns[here])
            here = self.chosen.get(here)
        return found

    def siblings(self, turn: Turn) -> list[Turn]:
        """The turn and what else was said in its place, the oldest first."""
        return [item for item in self.turns.values() if item.parent == turn.parent]

    def asked_before(self, turn: Turn) -> int:
        """How often the same was said in a turn's place before."""
        return sum(item.text == turn.text and item.number < turn.number for item in self.siblings(turn))

    def say(self, text: str, blind_seed: int | None = None) -> Turn:
        """Go on at the end of what is shown.

        Args:
            text: the message.
            blind_seed: for a blind vote, the seed that decides who is on the left.
        """
        path = self.path()
        return self._add(path[-1].number if path else 0, text, blind_seed)

    def instead(self, turn: Turn, text: str, blind_seed: int | None = None) -> Turn:
        """Say something in the place of a turn, or the same once more; the turn and all after it are kept beside it."""
        return self._add(turn.parent, text, blind_seed)

    def _add(self, parent: int, text: str, blind_seed: int | None) -> Turn:
        number = max(self.turns, default=0) + 1
        left = "" if blind_seed is None else shuffled(blind_seed, number)
        turn = self.turns[number] = Turn(number, parent, text, left)
        self.chosen[parent] = number
        return turn

    def move(self, turn: Turn, by: int) -> Turn:
        """Show a sibling of a turn instead of it, with what came after that; the same at either end."""
        beside = self.siblings(turn)
        place = min(max(beside.index(turn) + by, 0), len(beside) - 1)
        self.chosen[turn.parent] = beside[place].number
        return beside[place]

    def messages(self, side: str, turn: Turn, system: str) -> list[dict[str, str]]:
        """What a side's model is given to answer a turn: its own replies to the turns before.

        Turns that the side never answered are left out of its history.
        """
        before: list[Turn] = []
        here = turn.parent
        while here:
            before.append(self.turns[here])
            here = self.turns[here].parent
        messages = [{"role": "system", "content": system}] if system else []
        for item in reversed(before):
            reply = item.replies.get(side)
            if reply is not None and reply.text:
                messages.append({"role": "user", "content": item.text})
                messages.append({"role": "assistant", "content": reply.text})
        messages.append({"role": "user", "content": turn.text})
        return messages

    def waiting(self, sides: tuple[str, ...]) -> tuple[Turn, str] | None:
        """The first turn that is shown without a finished reply, and the side; in a blind vote the left one first."""
        for turn in self.path():
            ordered = sorted(sides, key=lambda side: side != (turn.left or "A"))
            for side in ordered:
                reply = turn.replies.get(side)
                if reply is None or not reply.ended:
                    return turn, side
        return None

    def give_up(self) -> list[tuple[Turn, str]]:
        """Nothing that is still missing will come; returns the turns and sides that end so."""
        ended = []
        for turn in self.turns.values():
            for side in SIDES:
                reply = turn.replies.setdefault(side, Reply())
                if not reply.ended:
                    reply.ended = STOPPED
                    ended.append((turn, side))
        return ended
