"""Every problem a check can find, in one table: its stable code, how bad it is, which tier finds it, what fixes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.data.problems import Severity

Tier = Literal["structure", "text", "near", "tokens", "azure"]
"""`near` is apart from `text` since its rate is: it compares rows with each other."""


@dataclass(frozen=True)
class Code:
    """One kind of problem.

    Attributes:
        repair: name of the repair (core.data.repair) that removes it, or empty where only a person can.
        meaning: one sentence for the reference.
    """

    code: str
    severity: Severity
    tier: Tier
    repair: str
    meaning: str


_TABLE = (
    # the file
    Code("unreadable", "error", "structure", "", "The file can't be opened or read."),
    Code("empty-file", "error", "structure", "", "The file has no rows."),
    Code("not-utf-8", "error", "structure", "re-encode", "Bytes that are not UTF-8; the encoding is named."),
    Code("broken-json", "error", "structure", "drop", "Text that is not JSON, with line and column."),
    Code("line-too-long", "error", "structure", "drop", "A row longer than 64 MiB."),
    Code("not-an-object", "error", "structure", "drop", "A row that is not a JSON object."),
    Code("csv-cells", "error", "structure", "drop", "A CSV record with more or fewer cells than the header."),
    Code("unknown-shape", "error", "structure", "drop", "Keys of no known shape; a column mapping may help."),
    Code("mixed-shapes", "warning", "structure", "convert", "Rows of more than one shape in one file."),
    Code("few-rows", "warning", "structure", "", "Too few rows to learn from."),
    # turns
    Code("no-messages", "error", "structure", "drop", "No turns, or turns that are no list."),
    Code("not-a-message", "error", "structure", "drop", "A turn that is not an object."),
    Code("no-role", "error", "structure", "drop", "A turn without a role."),
    Code("unknown-role", "error", "structure", "rename-role", "A role nobody knows; the one meant is named."),
    Code("system-not-first", "error", "structure", "move-system", "A system turn after the first turn."),
    Code("repeated-role", "warning", "structure", "merge-turns", "Two turns of one role in a row."),
    Code("no-assistant-turn", "error", "structure", "drop", "Nothing to learn: no assistant turn."),
    Code("no-user-turn", "warning", "structure", "", "Answers without a question."),
    Code("no-last-answer", "warning", "structure", "trim-end", "Turns after the last answer train nothing."),
    Code("nothing-trained", "warning", "structure", "drop", "Every assistant turn has weight 0."),
    Code("weight", "error", "structure", "", "A weight that is neither 0 nor 1."),
    # content
    Code("empty-answer", "warning", "structure", "drop", "An answer without text."),
    Code("empty-question", "warning", "structure", "drop", "A user turn without text."),
    Code("null-content", "error", "structure", "drop", "Content that is null."),
    Code("not-text", "error", "structure", "to-text", "Content that is a number, an object or a picture."),
    Code("control-characters", "warning", "structure", "strip-control", "Invisible control characters."),
    Code("tool-call", "error", "structure", "drop", "A tool call without a name, or with broken arguments."),
    Code("tool-arguments-twice", "warning", "structure", "decode-arguments", "Arguments encoded twice."),
    Code("tool-order", "warning", "structure", "", "A tool's answer without the call before it."),
    Code("same-answers", "warning", "structure", "drop", "Chosen and rejected answers are the same."),
    Code("token-ids", "error", "structure", "drop", "Token ids or labels that can't be such."),
    # between rows
    Code("duplicate", "warning", "structure", "deduplicate", "The same row again."),
    Code("leak", "warning", "structure", "deduplicate", "A validation row that is in the training file too."),
    Code("label-imbalance", "warning", "structure", "", "Classes of very different size."),
    Code("near-duplicate", "warning", "near", "deduplicate", "Nearly the same row again (MinHash)."),
    # text
    Code("placeholder", "warning", "text", "", "A template's placeholder that was never filled in."),
    Code("mojibake", "warning", "text", "fix-mojibake", "Text decoded with the wrong encoding."),
    Code("secret", "warning", "text", "redact", "A key, token or password."),
    Code("email", "warning", "text", "redact", "An e-mail address."),
    Code("card-number", "warning", "text", "redact", "A payment card's number (its checksum is right)."),
    # with a model
    Code("special-token", "error", "tokens", "drop", "One of the model's special tokens inside content."),
    Code("template-refuses", "error", "tokens", "drop", "The model's template refuses the row."),
    Code("role-not-in-template", "error", "tokens", "move-system", "The model's template refuses a role."),
    Code("turn-rewritten", "error", "tokens", "", "The template drops or rewrites a turn."),
    Code("tools-not-in-template", "warning", "tokens", "", "The template leaves the row's tools out."),
    Code("boundary-token", "warning", "tokens", "", "A token straddles prompt and answer."),
    Code("too-long", "warning", "tokens", "drop", "Longer than the sequence length: its end is cut off."),
    Code(
        "answer-cut-off", "error", "tokens", "drop", "No answer within the sequence length: trains nothing."
    ),
    # with a recipe
    Code("wrong-task", "error", "structure", "convert", "A row that the recipe's task does not train on."),
    # the service's own rules
    Code("azure-format", "error", "azure", "convert", "Not JSON Lines in UTF-8."),
    Code("azure-size", "error", "azure", "", "512 MB or more."),
    Code("azure-schema", "error", "azure", "convert", "Not `messages` with role and text content."),
    Code("azure-last-role", "error", "azure", "trim-end", "The last turn is not the assistant's."),
    Code("azure-few-rows", "warning", "azure", "", "Fewer than ten rows."),
)

CODES: dict[str, Code] = {item.code: item for item in _TABLE}
