"""A repair to do: which one, on which rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.codes import CODES
from core.errors import FinetuiError

NAMES: dict[str, str] = {
    "re-encode": "Read bytes that are not UTF-8 as Windows-1252",
    "edit": "Replace the row",
    "fix-mojibake": "Mend text decoded with the wrong encoding",
    "strip-control": "Remove control characters",
    "to-text": "Write numbers and yes or no as text",
    "rename-role": "Rename roles to the ones meant",
    "decode-arguments": "Decode tool arguments once",
    "move-system": "Move system turns into the first turn",
    "merge-turns": "Join turns of one role in a row",
    "trim-end": "Drop turns after the last answer",
    "redact": "Blot out secrets and personal data",
    "convert": "Convert to messages",
    "drop": "Drop the row",
    "deduplicate": "Drop rows that were there before",
}
"""Every repair with its title, in the order in which they work best: text first, dropping last."""

WHOLE_FILE = frozenset({"mixed-shapes", "azure-format", "wrong-task"})
"""Codes that concern every row of a file."""


class RepairError(FinetuiError):
    """Repairs that can't be done as asked."""


@dataclass(frozen=True)
class Step:
    """One repair.

    Attributes:
        repair: one of `NAMES`.
        codes: only rows with one of these problems.
        rows: only these rows, from 1. Without codes and rows: every row.
        value: what `edit` puts in the row's place.
    """

    repair: str
    codes: tuple[str, ...] = ()
    rows: tuple[int, ...] | None = None
    value: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The step as JSON values; what it doesn't say is left out."""
        answer: dict[str, Any] = {"repair": self.repair}
        if self.codes:
            answer["codes"] = list(self.codes)
        if self.rows is not None:
            answer["rows"] = list(self.rows)
        if self.value is not None:
            answer["value"] = self.value
        return answer

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Step:
        """The step that `as_dict` gave."""
        rows = value.get("rows")
        return cls(
            value["repair"],
            tuple(value.get("codes") or ()),
            None if rows is None else tuple(rows),
            value.get("value"),
        )


def steps_for(codes: Sequence[str]) -> list[Step]:
    """The steps that remove problems, in the order in which they work best.

    Raises:
        RepairError: there is no such code, or nothing but a person removes it.
    """
    by_repair: dict[str, list[str]] = {}
    for code in codes:
        known = CODES.get(code)
        if known is None:
            raise RepairError(
                f"there is no problem code {code!r}.", "", "`finetui data check` shows codes in brackets."
            )
        if not known.repair:
            raise RepairError(
                f"nothing can repair {code!r} by itself.", known.meaning, "Edit the rows, or drop them."
            )
        by_repair.setdefault(known.repair, []).append(code)
    return in_order([Step(repair, tuple(found)) for repair, found in by_repair.items()])


def in_order(steps: Sequence[Step]) -> list[Step]:
    """The steps in the order of `NAMES`; unknown ones last."""
    order = {name: place for place, name in enumerate(NAMES)}
    return sorted(steps, key=lambda step: order.get(step.repair, len(order)))


def refuse_bad(steps: Sequence[Step], renders: bool, compares: bool) -> None:
    """Refuse steps that mean nothing.

    Args:
        steps: the steps.
        renders: there is a model, which codes of tokens need.
        compares: there are other files, which leaks are rows of.

    Raises:
        RepairError: saying which step and why.
    """
    for step in steps:
        name = step.repair
        unknown = next((code for code in step.codes if code not in CODES), None)
        if name not in NAMES:
            raise RepairError(f"there is no repair {name!r}.", "", f"Repairs are: {', '.join(NAMES)}.")
        if unknown:
            raise RepairError(f"there is no problem code {unknown!r}.", "", "See `finetui data check`.")
        if name == "drop" and not step.codes and step.rows is None:
            raise RepairError("dropping every row would leave none.", "", "Say which rows, or which code.")
        if name == "edit" and (step.value is None or not step.rows or len(step.rows) != 1):
            raise RepairError("an edit needs one row and its new value.", "", "Name the row and the value.")
        tokens = next((code for code in step.codes if CODES[code].tier == "tokens"), None)
        if tokens and not renders:
            raise RepairError(f"{tokens!r} can only be seen with a model.", "", "Name the model.")
        if "leak" in step.codes and not compares:
            raise RepairError(
                "a leak can only be seen beside the training file.", "", "Name it: --against FILE."
            )
