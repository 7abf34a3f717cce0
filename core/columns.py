"""The parts of a row that a mapping of columns may name, in recipes and on the command line."""

from __future__ import annotations

from core.errors import FinetuiError

PARTS = (
    "messages", "role", "content", "system", "tools", "prompt", "completion", "history", "chosen", "rejected",
    "wanted", "text", "label", "token_ids", "token_labels",
)  # fmt: skip


def parse_columns(text: str) -> dict[str, str]:
    """The mapping that a person typed: `prompt: question, completion: answer`, or with `=`.

    Raises:
        FinetuiError: it can't be read, or names a part that rows don't have.
    """
    columns: dict[str, str] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        part, sign, name = (
            item.replace("=", ":", 1).partition(":") if ":" not in item else item.partition(":")
        )
        part, name = part.strip(), name.strip()
        if not sign or not name or part not in PARTS:
            raise FinetuiError(
                f"The columns {item!r} can't be read.",
                f"Parts are: {', '.join(PARTS)}.",
                "Write e.g. prompt: question, completion: answer",
            )
        columns[part] = name
    return columns
