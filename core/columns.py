"""The parts of a row that a mapping of columns may name, in recipes and on the command line."""

from __future__ import annotations

PARTS = (
    "messages", "role", "content", "system", "tools", "prompt", "completion", "history", "chosen", "rejected",
    "wanted", "text", "label", "token_ids", "token_labels",
)  # fmt: skip
