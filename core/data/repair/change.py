"""One step on one row."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from core.data.problems import DataError, Place
from core.data.repair import structure, text
from core.data.repair.steps import Step


class Dropped(Exception):  # noqa: N818 - a signal, not an error
    """The row is not written."""


def apply(step: Step, value: dict[str, Any], columns: Mapping[str, str], place: Place) -> dict[str, Any]:
    """The row after a step; the value itself is never changed.

    Raises:
        Dropped: by the step.
    """
    if step.repair in ("drop", "deduplicate"):
        raise Dropped
    if step.repair == "edit":
        return dict(step.value or {})
    if step.repair == "convert":
        return _converted(value, columns, place)
    if step.repair in _ON_TEXTS:
        return _in_texts(step, value)
    changed = copy.deepcopy(value)
    if step.repair == "move-system" and "role-not-in-template" in step.codes:
        structure.system_into_question(changed, columns)
    elif step.repair in structure.ON_TURNS:
        structure.ON_TURNS[step.repair](changed, columns)
    return changed


_ON_TEXTS = frozenset({"strip-control", "fix-mojibake", "redact"})


def _in_texts(step: Step, value: dict[str, Any]) -> dict[str, Any]:
    if step.repair == "strip-control":
        changed = text.in_texts(value, text.without_control)
    elif step.repair == "fix-mojibake":
        changed = text.in_texts(value, text.mended)
    else:
        codes = step.codes or tuple(text.PUT_FOR)
        changed = text.in_texts(value, lambda content: text.redacted(content, codes))
    answer: dict[str, Any] = changed
    return answer


def _converted(value: dict[str, Any], columns: Mapping[str, str], place: Place) -> dict[str, Any]:
    """As `messages`; a row that has an error, or no turns, stays as it is and keeps its problem."""
    try:
        return structure.convert(value, columns, place)
    except DataError:
        return value
