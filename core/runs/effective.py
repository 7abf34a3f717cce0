"""What a run's recipe means setting by setting: what is set, the backend's defaults, what an earlier model decides."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import paths
from core.runs import lineage
from core.runs.directory import RunDirectory

if TYPE_CHECKING:
    from core.recipe import Recipe
    from core.settings import FieldInfo

NOT_USED = "not used"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Value:
    """A setting in one recipe.

    Attributes:
        text: as people write it.
        set: it is set there; else it is the backend's default, or inherited.
        inherited: it is that of the model that `init_from` names.
    """

    text: str
    set: bool
    inherited: bool = False


class Effective:
    """A run's settings.

    Args:
        directory: of the run, in the trash or not.
        backend: it trains on.
        depth: how many runs back along `init_from` are still looked at.
    """

    def __init__(self, directory: Path, backend: str, depth: int = lineage.FARTHEST) -> None:
        from core.recipe import RecipeError, load

        self.run = RunDirectory(directory)
        self.values = lineage.recipe_values(self.run)
        self.backend = backend
        self.recipe: Recipe | None = None
        with contextlib.suppress(RecipeError):  # of another version: its set values can still be told
            self.recipe = load(self.run.recipe_path)
        self.inherits = bool(self.values.get(lineage.INIT_FROM))
        self._parent = self._earlier(depth) if self.inherits else None
        self._initial = self._initial_settings() if self.inherits and self._parent is None else {}

    def value(self, field: FieldInfo) -> Value:
        """One of its settings."""
        from core.recipe_rules import LORA_ONLY, OF_INITIAL

        set_value = self.values.get(field.name)
        if set_value is not None:
            return Value(text_of(set_value), True)
        if field.name == "backend":
            return Value(self.backend, False)
        if self.inherits and field.name in ("method", *OF_INITIAL):
            return Value(self._inherited(field), False, True)
        if field.name in LORA_ONLY and self.backend == "local" and self.method not in ("lora", UNKNOWN):
            return Value(NOT_USED, False)
        return Value(self._default(field), False)

    @property
    def method(self) -> str:
        """How it trains: lora, ia3 or full."""
        if set_value := self.values.get("method"):
            return str(set_value)
        if self._parent is not None:
            return self._parent.method
        return str(self._initial.get("method", UNKNOWN)) if self.inherits else "lora"

    def _inherited(self, field: FieldInfo) -> str:
        if self._parent is not None:
            return self._parent.value(field).text
        if field.name == "method":
            return self.method
        return text_of(self._initial[field.name]) if field.name in self._initial else UNKNOWN

    def _earlier(self, depth: int) -> Effective | None:
        """The run that was gone on from; None where its recipe isn't there any more."""
        link = lineage.parent_of(self.run)
        if link is None or link.gone or depth == 0:
            return None
        parent = paths.trash_dir() if link.trashed else paths.runs_dir()
        earlier = Effective(parent / link.id, "local", depth - 1)
        return earlier if earlier.values else None

    def _initial_settings(self) -> dict[str, Any]:
        """What the trained weights themselves tell: those that the run has frozen, else where its recipe has them."""
        from core.training.initial import InitialError, frozen, named

        reference = str(self.values[lineage.INIT_FROM])
        with contextlib.suppress(InitialError):  # then it is not known, which is said
            initial = frozen(self.run.data_dir, reference) or named(reference)
            return {**initial.settings, "method": initial.method}
        return {}

    def _default(self, field: FieldInfo) -> str:
        from core.settings import USED

        if self.backend != "local" and field.azure != USED:
            return "Azure's own" if field.azure else NOT_USED
        found = self.recipe.value(field.name) if self.recipe is not None else None
        return text_of(found) if found is not None else field.default_text or "none"


def text_of(value: Any) -> str:
    """A setting's value as people write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(text_of(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {text_of(item)}" for key, item in value.items())
    return str(value)
