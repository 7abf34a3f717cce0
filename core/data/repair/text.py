"""Repairs of text, wherever it stands in a row: control characters, wrong encodings, secrets and personal data."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from core.data.check.patterns import RULES, matches
from core.data.check.scan import CONTROL
from core.data.check.text import mojibake

PUT_FOR = {"email": "[email]", "secret": "[secret]", "card-number": "[card number]"}
"""What stands where something was blotted out, by problem code."""

_ROUNDS = 8


def in_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every text in it changed; keys stay. Arguments that are JSON text are read as JSON."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [in_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {
            key: _in_arguments(item, change) if key == "arguments" else in_texts(item, change)
            for key, item in value.items()
        }
    return value


def _in_arguments(value: Any, change: Callable[[str], str]) -> Any:
    try:
        inner = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        inner = None
    if not isinstance(inner, dict | list):
        return in_texts(value, change)
    changed = in_texts(inner, change)
    return value if changed == inner else json.dumps(changed, ensure_ascii=False)


def without_control(text: str) -> str:
    """The text without control characters but for tab, line feed and carriage return."""
    return CONTROL.sub("", text)


def mended(text: str) -> str:
    """Text that was decoded with the wrong encoding, decoded with the right one: as a whole, else line by line."""
    if text.isascii() or mojibake(text) is None:
        return text
    from ftfy import fix_encoding

    whole = str(fix_encoding(text))
    if mojibake(whole) is None:
        return whole
    lines = whole.split("\n")
    return "\n".join(str(fix_encoding(line)) if mojibake(line) else line for line in lines)


def redacted(text: str, codes: Collection[str] = tuple(PUT_FOR)) -> str:
    """The text with words in brackets for what was found in it; again until nothing is."""
    for _ in range(_ROUNDS):
        changed = _redacted_once(text, codes)
        if changed == text:
            break
        text = changed
    return text


def _redacted_once(text: str, codes: Collection[str]) -> str:
    lowered = text.lower()
    found = [
        finding
        for rule in RULES
        if rule.code in codes and (not rule.literals or any(literal in lowered for literal in rule.literals))
        for finding in matches(rule, text)
    ]
    pieces: list[str] = []
    end = 0
    for finding in sorted(found, key=lambda item: (item.start, -item.end)):
        if finding.start >= end:
            pieces += [text[end : finding.start], PUT_FOR[finding.code]]
        end = max(end, finding.end)
    return "".join([*pieces, text[end:]])
