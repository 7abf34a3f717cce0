"""A conversation with the tuned model and its base: the same messages, each side with replies of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from tui.format import count, visible
from tui.widgets.textpane import Paragraph

SIDES = ("tuned", "base")
PARAGRAPHS_A_TURN = 5


@dataclass(frozen=True)
class Settings:
    """How replies are made. Temperature 0 takes the likeliest token each time."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int = 42
    system: str = ""

    def words(self) -> str:
        """The settings in one line."""
        if self.temperature == 0:
            how = "temperature 0 (greedy)"
        else:
            how = f"temperature {self.temperature:g}  top-p {self.top_p:g}  seed {self.seed}"
        system = (
            f"  system: {visible(' '.join(self.system.split()))}" if self.system else "  no system prompt"
        )
        return f"{how}  at most {self.max_tokens} tokens{system}"


@dataclass
class Reply:
    """One side's answer to a turn; `ended` is empty while it is being written."""

    text: str = ""
    tokens: int = 0
    tokens_per_s: float = 0.0
    first_token_ms: float = 0.0
    ended: str = ""

    def figures(self) -> str:
        """Latency, speed and length, or what became of it."""
        if not self.ended:
            return "..." if not self.text else "writing"
        if self.ended == "stopped":
            return "stopped"
        first = f"{self.first_token_ms:.0f} ms"
        if self.first_token_ms >= 10_000:
            first = f"{self.first_token_ms / 1000:.0f} s"
        words = f"{first} · {self.tokens_per_s:.1f} tok/s · {count(self.tokens)} tokens"
        return words + (" (cut)" if self.ended == "length" else "")


@dataclass
class Turn:
    """What the user said, and the replies by side."""

    text: str
    replies: dict[str, Reply] = field(default_factory=dict)


class Conversation:
    """The turns so far."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    def messages(self, side: str, upto: int, system: str) -> list[dict[str, str]]:
        """What a side's model is given to answer turn `upto`: its own replies to the turns before.

        Turns that the side never answered are left out of its history.
        """
        messages = [{"role": "system", "content": system}] if system else []
        for turn in self.turns[:upto]:
            reply = turn.replies.get(side)
            if reply is not None and reply.text:
                messages.append({"role": "user", "content": turn.text})
                messages.append({"role": "assistant", "content": reply.text})
        messages.append({"role": "user", "content": self.turns[upto].text})
        return messages

    def waiting(self, sides: tuple[str, ...]) -> tuple[int, str] | None:
        """The first (turn, side) without a finished reply."""
        for index, turn in enumerate(self.turns):
            for side in sides:
                reply = turn.replies.get(side)
                if reply is None or not reply.ended:
                    return index, side
        return None

    def give_up(self) -> None:
        """Nothing that is still missing will come."""
        for turn in self.turns:
            for side in SIDES:
                reply = turn.replies.setdefault(side, Reply())
                reply.ended = reply.ended or "stopped"

    def paragraphs(self, side: str, name: str, start: int = 0) -> list[Paragraph]:
        """A side's view of the turns from `start` on, `PARAGRAPHS_A_TURN` for each."""
        shown: list[Paragraph] = []
        for turn in self.turns[start:]:
            reply = turn.replies.get(side)
            shown += [
                Paragraph("you", "strong"),
                Paragraph(visible(turn.text, lines=True), head="  "),
                Paragraph(name, "accent", tail=reply.figures() if reply else ""),
                Paragraph(visible(reply.text, lines=True).rstrip() if reply else "", head="  "),
                Paragraph(""),
            ]
        return shown

    def transcript(self, names: dict[str, str], settings: Settings) -> str:
        """All turns as text, both sides."""
        parts = [settings.words()]
        for turn in self.turns:
            parts.append(f"you:\n{turn.text}")
            parts += [
                f"{names[side]} ({turn.replies[side].figures()}):\n{turn.replies[side].text}"
                for side in SIDES
                if side in turn.replies
            ]
        return "\n\n".join(parts) + "\n"
