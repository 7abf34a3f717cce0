"""The table behind the recipe: each setting with its type, range, usual values, effect and help."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo as PydanticField


def setting(
    group: str,
    *,
    local: Any = None,
    usual: str = "",
    effect: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
) -> Any:
    """A field that may be left unset, with what the table says of it.

    Args:
        group: heading under which the form shows it.
        local: what the local backend uses when it is unset; a string in <> is a rule, not a value.
        usual: the range people use.
        effect: what more of it does.
        ge: lowest value allowed.
        gt: value that all allowed ones are above.
        le: highest value allowed.
    """
    extra = {"group": group, "local": local, "usual": usual, "effect": effect}
    return Field(default=None, ge=ge, gt=gt, le=le, json_schema_extra=extra)


@dataclass(frozen=True)
class FieldInfo:
    """A row of the table of settings."""

    name: str
    group: str
    kind: str
    """int, float, bool, choice, text, list or sources."""
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    exclusive: bool
    """The minimum itself is not allowed."""
    local: Any
    usual: str
    effect: str
    help: str
    required: bool

    @property
    def default_text(self) -> str:
        """The local default as shown beside an unset field."""
        if self.local is None:
            return ""
        if isinstance(self.local, bool):
            return "yes" if self.local else "no"
        if isinstance(self.local, float):
            return f"{self.local:g}"
        return str(self.local).strip("<>")

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        words = {
            "int": "a whole number",
            "float": "a number",
            "bool": "yes or no (true or false)",
            "list": "a list",
        }
        text = words.get(self.kind, "text")
        low = f"above {self.minimum:g}" if self.exclusive and self.minimum is not None else ""
        if not low and self.minimum is not None:
            low = f"{self.minimum:g} or more"
        high = f"{self.maximum:g} or less" if self.maximum is not None else ""
        limits = " and ".join(part for part in (low, high) if part)
        return f"{text}, {limits}" if limits else text


def field_info(name: str, item: PydanticField) -> FieldInfo:
    """The row of one field of a pydantic model made with `setting`."""
    extra: dict[str, Any] = item.json_schema_extra if isinstance(item.json_schema_extra, dict) else {}
    bounds = {type(limit).__name__.lower(): limit for limit in item.metadata}
    low, above, high = (bounds.get(key) for key in ("ge", "gt", "le"))
    kind, choices = _kind(item.annotation)
    return FieldInfo(
        name=name,
        group=extra["group"],
        kind=kind,
        choices=choices,
        minimum=low.ge if low else above.gt if above else None,
        maximum=high.le if high else None,
        exclusive=above is not None,
        local=extra.get("local"),
        usual=extra.get("usual", ""),
        effect=extra.get("effect", ""),
        help=" ".join((item.description or "").split()),
        required=item.is_required(),
    )


def _kind(annotation: Any) -> tuple[str, tuple[str, ...]]:
    """The form's kind of a field and its choices, from its type."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for option in options:
        if get_origin(option) is Literal:
            return "choice", tuple(str(choice) for choice in get_args(option))
        if get_origin(option) is list:
            return ("list", ()) if get_args(option) == (str,) else ("sources", ())
    first = next(option for option in options if option is not type(None))
    return {bool: "bool", int: "int", float: "float", str: "text"}[first], ()
