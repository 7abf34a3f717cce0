"""The table behind the recipe: each setting with its type, range, usual values, effect and help."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo as PydanticField

USED = "used"
"""What `azure` says of a setting that isn't sent but decides what is: the model, the rows, the split."""


def setting(
    group: str,
    *,
    local: Any = None,
    azure: str = "",
    usual: str = "",
    effect: str = "",
    expected: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
) -> Any:
    """A field that may be left unset, with what the table says of it.

    Args:
        group: heading under which the form shows it.
        local: what the local backend uses when it is unset; a string in <> is a rule, not a value.
        azure: the name under which it is sent to Azure's fine-tuning, or USED where finetui itself makes the job with
            it; empty: Azure has no such setting.
        usual: the range people use.
        effect: what more of it does.
        expected: what a value must be, where type and range don't say it.
        ge: lowest value allowed.
        gt: value that all allowed ones are above.
        le: highest value allowed.
    """
    extra = {
        "group": group,
        "local": local,
        "azure": azure,
        "usual": usual,
        "effect": effect,
        "expected": expected,
    }
    return Field(default=None, ge=ge, gt=gt, le=le, json_schema_extra=extra)


@dataclass(frozen=True)
class FieldInfo:
    """A row of the table of settings."""

    name: str
    group: str
    kind: str
    """int, float, bool, choice, text, list, mapping or sources."""
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
    expected: str
    """What a value must be, in words."""
    azure: str
    """How Azure's fine-tuning knows it: the name it is sent under, USED, or empty where Azure has no such setting."""

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


def field_info(name: str, item: PydanticField) -> FieldInfo:
    """The row of one field of a pydantic model made with `setting`."""
    extra: dict[str, Any] = item.json_schema_extra if isinstance(item.json_schema_extra, dict) else {}
    bounds = {type(limit).__name__.lower(): limit for limit in item.metadata}
    low, above, high = (bounds.get(key) for key in ("ge", "gt", "le"))
    kind, choices = kind_of(item.annotation)
    minimum = low.ge if low else above.gt if above else None
    maximum = high.le if high else None
    return FieldInfo(
        name=name,
        group=extra.get("group", ""),
        kind=kind,
        choices=choices,
        minimum=minimum,
        maximum=maximum,
        exclusive=above is not None,
        local=extra.get("local"),
        usual=extra.get("usual", ""),
        effect=extra.get("effect", ""),
        help=" ".join((item.description or "").split()),
        required=item.is_required(),
        expected=extra.get("expected") or _in_words(kind, choices, minimum, maximum, above is not None),
        azure=extra.get("azure", USED if item.is_required() else ""),
    )


def _in_words(
    kind: str, choices: tuple[str, ...], minimum: float | None, maximum: float | None, exclusive: bool
) -> str:
    if choices:
        return ("one of " if len(choices) > 1 else "") + ", ".join(choices)
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list of texts"}
    words["mapping"] = "a mapping of names"
    text = words.get(kind, "text")
    low, high = (None if limit is None else f"{limit:.15g}" for limit in (minimum, maximum))
    if exclusive:
        return f"{text} above {low}" + (f" and up to {high}" if high else "")
    if low and high:
        return f"{text} from {low} to {high}"
    return f"{text}, {low} or more" if low else text


def kind_of(annotation: Any) -> tuple[str, tuple[str, ...]]:
    """The form's kind of a field and its choices, from its type."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for option in options:
        if get_origin(option) is Literal:
            return "choice", tuple(str(choice) for choice in get_args(option))
        if get_origin(option) is dict:
            return "mapping", ()
        if get_origin(option) is list:
            return ("list", ()) if get_args(option) == (str,) else ("sources", ())
    first = next(option for option in options if option is not type(None))
    return {bool: "bool", int: "int", float: "float", str: "text"}[first], ()
