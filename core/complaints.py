"""What pydantic has to say of a recipe, in sentences that name the key, the value and what was expected."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from core.settings import FieldInfo

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 3
_SHORT.maxlevel = 2


def complaints(
    errors: Iterable[ErrorDetails], recipe: Mapping[str, FieldInfo], source: Mapping[str, FieldInfo]
) -> list[tuple[str, str]]:
    """(key, sentence) of each wrong key, one each.

    Args:
        errors: of a pydantic validation.
        recipe: the table of a recipe's keys.
        source: the table of a data source's keys.
    """
    found: dict[str, str] = {}
    for error in errors:
        place = [part for part in error["loc"] if not _is_branch(part, error["loc"])]
        key = ".".join(str(part) for part in place)
        found.setdefault(key, _sentence(error, place, recipe, source))
    return list(found.items())


def _is_branch(part: int | str, loc: tuple[int | str, ...]) -> bool:
    """Whether a part of a place is pydantic's name for one of the types tried, not a key: `a | b` has these."""
    return loc[0] == "target_modules" and part != "target_modules"


def _sentence(
    error: ErrorDetails,
    place: list[int | str],
    recipe: Mapping[str, FieldInfo],
    source: Mapping[str, FieldInfo],
) -> str:
    reason = error["msg"].removeprefix("Value error, ")
    if not place:
        return f"{reason}."
    where, item, name = f"`{place[0]}`", "", str(place[0])
    info = recipe.get(name)
    if len(place) > 1 and isinstance(place[1], int):
        item = f"{where} item {place[1] + 1}"
        where, info = item, None
    if len(place) > 2:
        name = str(place[2])
        where, info = f"{item}: `{name}`", source.get(name)
    match error["type"]:
        case "extra_forbidden":
            return _unknown(name, item, list(source if item else recipe))
        case "missing":
            return f"{where} is missing."
        case "value_error":
            value = error["input"]
            return (
                f"{where}: {reason}." if isinstance(value, dict) else f"{where} is {shown(value)}; {reason}."
            )
    return f"{where} is {shown(error['input'])}; expected {_expected(error, place, info)}."


def _expected(error: ErrorDetails, place: list[int | str], info: FieldInfo | None) -> str:
    if info is None:
        return "a file name, or a mapping with `path` or `hub`" if place[0] == "data" else "text"
    if info.kind == "text" and isinstance(error["input"], int | float):
        return f"{info.expected}: put it in quotes"
    return info.expected


def _unknown(name: str, item: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name.lower().replace("-", "_"), names, n=1, cutoff=0.5)
    said = (
        f"{item}: `{name}` is not a key of a data source." if item else f"`{name}` is not a key of a recipe."
    )
    return said + (f" Did you mean `{near[0]}`?" if near else "")


def shown(value: Any) -> str:
    """A value as a recipe would write it, cut to a line."""
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    return _SHORT.repr(value)
