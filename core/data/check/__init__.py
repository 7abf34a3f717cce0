"""Everything wrong with a data file, by line, in one streaming pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from core.data.conversation import Conversation
from core.data.files import raw_lines
from core.data.problems import DataError, Place, Problem
from core.data.rows import parse_line

__all__ = ["Check", "check_file"]

_BLANKS = b" \t\r\n"


class Check:
    """One pass over a file: iterate for the problems in order of line; the counts are right as far as it got.

    Errors make a row unusable; warnings name what is probably not meant. Memory: about 100 bytes a row, for
    duplicates.

    Args:
        path: the file.

    Raises:
        DataError: while iterating, when the file can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.conversations = 0
        self.bytes_read = 0
        self.codes: Counter[str] = Counter()
        self.errors = 0
        self.warnings = 0
        self._first_lines: dict[bytes, int] = {}

    def __iter__(self) -> Iterator[Problem]:
        return (step for step in self.steps() if step is not None)

    def steps(self) -> Iterator[Problem | None]:
        """The problems, and None at each line for those who show `bytes_read` or may stop."""
        for problem in self._problems():
            if problem is not None:
                self.codes[problem.code] += 1
                if problem.severity == "error":
                    self.errors += 1
                else:
                    self.warnings += 1
            yield problem

    def counts(self) -> dict[str, Any]:
        """Rows, usable conversations, errors and warnings so far, and how many of each code."""
        return {
            "rows": self.rows,
            "conversations": self.conversations,
            "errors": self.errors,
            "warnings": self.warnings,
            "codes": dict(self.codes),
        }

    def _problems(self) -> Iterator[Problem | None]:
        for line, raw in raw_lines(self.path):
            self.bytes_read += len(raw)
            yield None
            if not raw.strip(_BLANKS):
                continue
            self.rows += 1
            try:
                conversation = parse_line(raw, str(self.path), line)
            except DataError as error:
                yield error.problem
                if error.problem.code == "json-document" and self.rows == 1:
                    return  # every further line would repeat it
                continue
            self.conversations += 1
            yield from _doubts(conversation)
            yield from self._duplicate(conversation)
        if self.rows == 0:
            path = str(self.path)
            yield Problem(
                "empty-file", "error", path, 0, None, "the file has no rows.", "Choose another file."
            )

    def _duplicate(self, conversation: Conversation) -> Iterator[Problem]:
        digest = blake2b(digest_size=8)
        for message in conversation.messages:
            digest.update(f"{message.role}\0{message.content}\1".encode())
        first = self._first_lines.setdefault(digest.digest(), conversation.line)
        if first != conversation.line:
            sentence = f"the same conversation as line {first}."
            yield _warning("duplicate", conversation, sentence, "Drop one of them; it would count twice.")


def check_file(path: Path, limit: int | None = None) -> list[Problem]:
    """The problems of a file in order of line, at most `limit`.

    Raises:
        DataError: the file can't be read.
    """
    return list(islice(Check(path), limit))


def _doubts(conversation: Conversation) -> Iterator[Problem]:
    """What is probably not meant in a row that can be used."""
    messages = conversation.messages
    for number, message in enumerate(messages, 1):
        if message.role == "assistant" and not message.content.strip():
            sentence = f"message {number} (assistant) is empty: the model would learn to say nothing."
            yield _warning("empty-answer", conversation, sentence, "Write the answer or drop the row.")
    for number, (one, two) in enumerate(pairwise(messages), 2):
        if one.role == two.role:
            sentence = f"message {number} is a second {two.role} turn in a row; some templates refuse that."
            yield _warning("repeated-role", conversation, sentence, "Join the two turns.")
    roles = [message.role for message in messages]
    if "user" not in roles:
        sentence = "the conversation has no user turn."
        yield _warning("no-user-turn", conversation, sentence, "Add the question or drop the row.")
    if roles[-1] != "assistant":
        sentence = f"the conversation ends with a {roles[-1]} turn, which trains nothing."
        yield _warning("no-last-answer", conversation, sentence, "Add the answer or drop that turn.")
    if not any(message.weight for message in messages if message.role == "assistant"):
        sentence = "every assistant turn has weight 0, so the row trains nothing."
        yield _warning("nothing-trained", conversation, sentence, "Give one turn weight 1 or drop the row.")


def _warning(code: str, conversation: Conversation, sentence: str, fix: str) -> Problem:
    place = Place(conversation.path, conversation.line, conversation.row)
    return place.problem(code, sentence, fix, severity="warning")
