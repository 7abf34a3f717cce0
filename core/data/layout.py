"""Where each turn stands in the text that a chat template makes of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from core.data.conversation import Message


class Region(NamedTuple):
    """What an assistant turn trains: characters `start` to `end`, its turn-end token included."""

    message: int
    start: int
    end: int


class Layout(NamedTuple):
    """A conversation's text and, in order of place, the region of each assistant turn."""

    text: str
    regions: list[Region]


class Slot(NamedTuple):
    """Where a message's content stands between the template's own texts.

    `before` is the template's text since the previous slot. For an assistant turn `lead` counts the
    characters from the end of the generation prompt to the content, `tail` those from the content to the end
    of the turn-end token.
    """

    message: int
    before: str
    lead: int
    tail: int


@dataclass(frozen=True)
class Skeleton:
    slots: tuple[Slot, ...]
    after: str


@dataclass(frozen=True)
class Plan:
    """How a conversation is put together: its skeleton, and of each slot whether the content is trimmed."""

    skeleton: Skeleton
    trimmed: tuple[bool, ...]

    def filled(self, messages: Sequence[Message]) -> Layout:
        """The layout of a conversation of this shape."""
        pieces: list[str] = []
        regions: list[Region] = []
        position = 0
        for slot, trimmed in zip(self.skeleton.slots, self.trimmed, strict=True):
            message = messages[slot.message]
            content = message.content.strip() if trimmed else message.content
            start = position + len(slot.before)
            position = start + len(content)
            pieces += (slot.before, content)
            if message.role == "assistant":
                regions.append(Region(slot.message, start - slot.lead, position + slot.tail))
        return Layout("".join([*pieces, self.skeleton.after]), regions)
