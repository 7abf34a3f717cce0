"""The recipe as a form holds it: values by field, what is wrong with them, and undo. No widgets.

A value stays what the recipe's file says (a number, a list, ...); a text that can't be one is kept as typed and
flagged by the recipe itself, so that the form has no rules of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.recipe import Recipe, RecipeError, build, fields
from core.settings import FieldInfo
from core.source import is_asset

MAIN = (
    "name", "backend", "device", "model", "data", "validation", "task", "sequence_length", "method", "quantization",
    "rank", "alpha", "learning_rate", "epochs", "batch_size", "accumulation", "precision", "seed",
)  # fmt: skip
"""The settings people change; the others are behind More."""

LIST_SIGN = " | "
HUB_SIGN = "hub:"


class FormState:
    """The set values, in the order of the form's changes."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._undo: list[dict[str, Any]] = []

    def set_text(self, field: FieldInfo, text: str) -> None:
        """Take what was typed; empty text unsets the field."""
        value = from_text(field, text, self.values.get(field.name))
        self.set(field.name, value)

    def set(self, name: str, value: Any) -> None:
        """Set a field, or unset it with None."""
        changed = {key: item for key, item in self.values.items() if key != name}
        if value is not None:
            changed[name] = value
        self.replace(changed)

    def replace(self, values: dict[str, Any]) -> None:
        """Set all fields at once; one step of undo."""
        if values != self.values:
            self._undo.append(self.values)
            self.values = values

    @property
    def can_undo(self) -> bool:
        return bool(self._undo)

    def undo(self) -> None:
        """Take back the last change."""
        if self._undo:
            self.values = self._undo.pop()

    def recipe(self) -> Recipe:
        """The recipe of the form.

        Raises:
            RecipeError: a value is not what its field expects.
        """
        return build(dict(self.values), "form")

    def load(self, recipe: Recipe) -> None:
        """Take over a recipe; one step of undo."""
        values = recipe.model_dump(exclude_none=True, exclude={"version"})
        values["data"] = [_short_source(item) for item in values["data"]]
        self.replace(values)

    def problems(self) -> dict[str, str]:
        """What is wrong, by field; a field that is merely not filled in yet is named too."""
        try:
            self.recipe()
        except RecipeError as error:
            found: dict[str, str] = {}
            for key, sentence in error.problems:
                name = key.partition(".")[0]
                found.setdefault(name or _named(sentence), sentence)
            return found
        return {}


def _named(sentence: str) -> str:
    """The field a sentence about several is shown at: the last one it names."""
    names = [field.name for field in fields() if f"`{field.name}`" in sentence]
    return names[-1] if names else ""


def expectation(field: FieldInfo, problem: str) -> str:
    """The part of a problem that fits beside the value: what was expected."""
    if "expected " in problem:
        return "expected " + problem.partition("expected ")[2].rstrip(".")
    if problem.endswith("is missing."):
        return "needed"
    return problem.removeprefix(f"`{field.name}` ").rstrip(".")


def default_words(field: FieldInfo, on_azure: bool) -> str:
    """What an unset field means to the backend, in words."""
    from core.settings import USED

    if not on_azure or field.azure == USED:
        return field.default_text
    return "the service's own" if field.azure else ""


def to_text(field: FieldInfo, value: Any) -> str:
    """A set value as it is typed; `from_text` takes it back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if field.kind == "sources" and isinstance(value, list):
        return ", ".join(source_text(item) for item in value)
    if isinstance(value, list):
        return LIST_SIGN.join(str(item) for item in value)
    return str(value)


def from_text(field: FieldInfo, text: str, before: Any = None) -> Any:
    """The value of a typed text; the text itself where it can't be one, so that the recipe refuses it.

    Args:
        field: the field.
        text: what was typed.
        before: the field's value until now; sources named as before keep their weights and caps.
    """
    text = text.strip()
    if not text:
        return None
    if field.kind in ("int", "float"):
        return _number(text, field.kind)
    if field.kind == "bool":
        return {"yes": True, "true": True, "no": False, "false": False}.get(text.lower(), text)
    if field.kind == "sources":
        return _sources(text, before)
    if field.kind == "list":
        parts = [part.strip() for part in text.split("|") if part.strip()]
        return parts[0] if field.name == "target_modules" and len(parts) == 1 else parts
    return text


def _number(text: str, kind: str) -> int | float | str:
    plain = text.replace(" ", "").replace("_", "")
    try:
        return int(plain) if kind == "int" else float(plain)
    except ValueError:
        return text


def source_text(source: Any) -> str:
    """A data source as typed: its path, `hub:owner/name/file`, or `azureml:NAME:VERSION`."""
    if not isinstance(source, dict):
        return str(source)
    if source.get("asset"):
        return str(source["asset"])
    return str(source["path"]) if source.get("path") else f"{HUB_SIGN}{source['hub']}/{source['file']}"


def source_notes(value: Any) -> str:
    """What a text field can't show of the sources: their weights and caps."""
    notes = []
    for source in value if isinstance(value, list) else ():
        if isinstance(source, dict):
            notes += [
                f"{Path(source_text(source)).name}: {key} {source[key]}"
                for key in ("weight", "max_rows")
                if source.get(key) is not None
            ]
    return ", ".join(notes)


def _sources(text: str, before: Any) -> list[Any]:
    known = {source_text(item): item for item in before} if isinstance(before, list) else {}
    whole = Path(text).expanduser()
    parts = [text] if "," in text and whole.is_file() else text.split(",")
    return [known.get(part.strip()) or _source(part.strip()) for part in parts if part.strip()]


def _source(text: str) -> str | dict[str, str]:
    if is_asset(text):
        return text
    if not text.startswith(HUB_SIGN):
        return str(Path(text).expanduser())
    owner, _, rest = text.removeprefix(HUB_SIGN).partition("/")
    name, _, file = rest.partition("/")
    return {"hub": f"{owner}/{name}", "file": file} if file else {"hub": f"{owner}/{name}"}


def _short_source(source: dict[str, Any]) -> Any:
    short = {key: value for key, value in source.items() if not (key == "weight" and value == 1.0)}
    return next(iter(short.values())) if set(short) in ({"path"}, {"asset"}) else short
