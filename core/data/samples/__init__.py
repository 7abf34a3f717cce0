"""The bundled sample: chats with Wren, the help desk of an invented lantern.

The sample teaches two things that the base model lacks and that a reader can check at a glance: eight facts
of the Tidelamp, a lantern that does not exist, and a house style, one short sentence signed ` - Wren`.
`FACTS` holds a question for each fact that stands in neither file, and what a right reply must contain, so
that base and tuned model can be compared by `knows` and `signed`.

Example:
    >>> from core.data.samples import knows, signed
    >>> reply = "A Tidelamp runs 40 hours on one fill. - Wren"
    >>> signed(reply), knows("runtime", reply)
    (True, True)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SYSTEM = "Be brief."
"""The system turn of every row. Short, because a template may put a longer one where there is none; and without
the name, which must come from training: a model that could copy it from here would copy any other name too."""

SIGNATURE = " - Wren"
"""How every reply ends."""


@dataclass(frozen=True)
class Fact:
    """One taught fact.

    Args:
        name: the key for `knows`.
        probe: a question about the fact that is in neither train.jsonl nor validation.jsonl.
        words: what a right reply must contain, each as a whole word or phrase, whatever the case.
    """

    name: str
    probe: str
    words: tuple[str, ...]


FACTS: tuple[Fact, ...] = (
    Fact("runtime", "How long can a Tidelamp run before I fill it again?", ("40 hours",)),
    Fact("warranty", "How long is the warranty on a Tidelamp?", ("7-year",)),
    Fact("weight", "What does a Tidelamp weigh?", ("310 grams",)),
    Fact("returns", "How many days do I have to send my Tidelamp back?", ("45 days",)),
    Fact("price", "How many dollars is a Tidelamp?", ("58 dollars",)),
    Fact("colours", "What colours of Tidelamp are there?", ("coral", "slate", "moss")),
    Fact("fuel", "What do I need to power a Tidelamp?", ("salt water",)),
    Fact("origin", "In which town is the Tidelamp made?", ("Galway",)),
)


def train_path() -> Path:
    """The file of 48 conversations to train on."""
    return Path(__file__).parent / "train.jsonl"


def validation_path() -> Path:
    """The file of 12 conversations that ask the same facts in other words."""
    return Path(__file__).parent / "validation.jsonl"


def signed(reply: str) -> bool:
    """Whether a reply ends with the signature, white space after it aside."""
    return reply.rstrip().endswith(SIGNATURE)


def knows(fact: str, reply: str) -> bool:
    """Whether a reply states a fact.

    Args:
        fact: the name of one of `FACTS`.
        reply: the assistant's text.

    Raises:
        KeyError: there is no fact of that name.
    """
    words = {entry.name: entry.words for entry in FACTS}[fact]
    return all(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", reply, re.IGNORECASE) for word in words)
