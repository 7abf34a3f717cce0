"""A run's rows as the service reads them: one JSON Lines file to train on, one to measure on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core.azure.faults import AzureError
from core.data.check.azure import MAX_FILE_BYTES
from core.data.conversation import Conversation
from core.paths import write_private

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class RowFile:
    """A written file: where, how many rows, how many bytes, and the SHA-256 of these."""

    path: Path
    rows: int
    bytes: int
    sha256: str


def write(rows: Iterable[Conversation], task: str, path: Path) -> RowFile:
    """Write rows in the service's form, in UTF-8 without a mark (as the service's own notebooks do), atomically.

    Args:
        rows: in their order.
        task: chat or completion.
        path: the file; replaced if it is there.

    Raises:
        AzureError: a row has what the service can't take (named by file and line), or the file is too large.
    """
    form = _chat if task == "chat" else _completion
    lines = [orjson.dumps(form(row)) + b"\n" for row in rows]
    content = b"".join(lines)
    if len(content) >= MAX_FILE_BYTES:
        raise AzureError(
            f"The rows have {len(content) / 1e6:,.0f} MB; Azure takes files under {MAX_FILE_BYTES / 1e6:.0f} MB.",
            "",
            "Set `max_rows` for a file, or take a sample: `finetui data sample`.",
        )
    write_private(path, content)
    return RowFile(path, len(lines), len(content), hashlib.sha256(content).hexdigest())


def written(path: Path) -> RowFile | None:
    """A file that `write` has written earlier; None where it is no more."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return RowFile(path, content.count(b"\n"), len(content), hashlib.sha256(content).hexdigest())


def fault(row: Conversation, task: str) -> str:
    """Why a row can't be sent as it is; empty: nothing stands against it."""
    if task == "completion":
        return "" if len(row.messages) == 2 else "Azure takes a prompt and its completion, no plain text"
    if not row.messages:
        return "the row has no turns"
    if row.tools or any(turn.tool_calls or turn.tool_call_id for turn in row.messages):
        return "the row calls tools, and Azure takes text turns only"
    stranger = next((turn.role for turn in row.messages if turn.role not in ROLES), None)
    if stranger:
        return f"a turn has the role {stranger!r}; Azure takes {', '.join(ROLES)}"
    if any(turn.role == "assistant" and not turn.weight for turn in row.messages):
        return "a turn of the assistant is marked as not to be learned, and Azure learns them all"
    if row.messages[-1].role != "assistant":
        return f"the last turn is the {row.messages[-1].role}'s; Azure asks for the assistant's"
    return ""


def _chat(row: Conversation) -> dict[str, Any]:
    _refuse(row, "chat")
    return {"messages": [{"role": turn.role, "content": turn.content} for turn in row.messages]}


def _completion(row: Conversation) -> dict[str, Any]:
    _refuse(row, "completion")
    prompt, completion = row.messages
    return {"prompt": prompt.content, "completion": completion.content}


def _refuse(row: Conversation, task: str) -> None:
    against = fault(row, task)
    if against:
        raise AzureError(
            f"{row.where}: {against}.",
            "",
            "Change or drop it: `finetui data check --for azure` lists every one.",
        )
