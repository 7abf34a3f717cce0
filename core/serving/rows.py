"""Replies as training rows: the conversation up to a reply, appended to a file in OpenAI's `messages` form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from core.errors import FinetuiError

if TYPE_CHECKING:
    from core.serving.request_log import Entry

FIRST_BYTES = 1 << 20
"""Read of a file to see what it holds."""


class RowError(FinetuiError):
    """A row can't be written to a file."""


def training_row(messages: Sequence[dict[str, str]], reply: str) -> dict[str, Any]:
    """The row that teaches a reply.

    Args:
        messages: what the model was given, the message to answer last. Its earlier replies are read, not learned:
            nobody has said that they are good.
        reply: as it should be.
    """
    before = [{**item, "weight": 0} if item["role"] == "assistant" else dict(item) for item in messages]
    return {"messages": [*before, {"role": "assistant", "content": reply}]}


def row_of(entry: Entry, reply: str | None = None) -> dict[str, Any]:
    """The row that teaches a reply of a deployment.

    Args:
        entry: of `request_log.kept_chats`.
        reply: as it should be; as it was when None.
    """
    return training_row(
        orjson.loads(entry.messages or "[]"), (entry.completion if reply is None else reply) or ""
    )


def append_row(path: Path, row: dict[str, Any]) -> int:
    """Append a row to a file, which is made (0600) where it is missing; returns how many rows it has then.

    Raises:
        RowError: the file holds something else, or can't be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            begin = file.read(FIRST_BYTES)
            if begin.strip() and not _is_rows(begin):
                raise RowError(
                    f"{path} holds no rows of messages.",
                    "Its first line is no JSON object with `messages`.",
                    "Choose another file for the rows.",
                )
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            torn = size > 0 and file.read(1) != b"\n"
            file.write((b"\n" if torn else b"") + orjson.dumps(row) + b"\n")
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            return sum(1 for line in file if line.strip())
    except OSError as error:
        raise RowError(
            f"{path} can't be written.", str(error.strerror), "Choose another file for the rows."
        ) from error


def _is_rows(begin: bytes) -> bool:
    first = next(line for line in begin.splitlines() if line.strip())
    if len(first) == FIRST_BYTES:
        return False
    try:
        row = orjson.loads(first)
    except ValueError:
        return False
    return isinstance(row, dict) and isinstance(row.get("messages"), list)
