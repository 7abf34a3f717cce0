"""What to train, on what, how and where: one pydantic model, one YAML file.

A field that is not set means the backend's own default and is shown as such; a set field is used or refused
by name. The docstring under each field is its help; `fields()` is the one table from which the form, the
command line, the checks and the documentation are made.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from core import yamltext
from core.complaints import complaints
from core.errors import FinetuiError
from core.recipe_fields import RecipeFields
from core.recipe_rules import broken_rules, learning_rate
from core.settings import FieldInfo, field_info
from core.source import ASSET, Source, is_asset

TEMPLATE_SUFFIXES = (".jinja", ".jinja2", ".txt")


class RecipeError(FinetuiError):
    """A recipe that can't be used; `problems` lists (key, sentence) for a form to place them."""

    def __init__(self, problems: list[tuple[str, str]], origin: str = "recipe") -> None:
        named = "Change the named key. " if any(key for key, _ in problems) else ""
        super().__init__(
            "\n".join(f"{origin}: {sentence}" for _, sentence in problems),
            next_step=f"{named}`finetui recipe` lists every key with its range and meaning.",
        )
        self.problems = problems


class Recipe(RecipeFields):
    """Everything that decides a run."""

    @field_validator("data", mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        """Accept one file name or mapping, or a list that mixes them."""
        if isinstance(value, str | dict):
            value = [value]
        if isinstance(value, list):
            return [
                {"asset" if is_asset(item) else "path": item} if isinstance(item, str) else item
                for item in value
            ]
        return value

    @field_validator("target_modules")
    @classmethod
    def _names(cls, value: str | list[str] | None) -> str | list[str] | None:
        """One spelling for one meaning: `all-linear` is a word, everything else a list of names."""
        if value in (["all-linear"], "all-linear", None):
            return value and "all-linear"
        names = [value] if isinstance(value, str) else value
        if not names or not all(name.strip() for name in names or ()) or "all-linear" in names:
            raise PydanticCustomError("names", "names")
        return names

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[^\W_][\w .-]{0,79}", value):
            raise ValueError(
                "use up to 80 letters, digits, spaces, '.', '_' or '-', starting with a letter or digit"
            )
        return value

    @field_validator("validation")
    @classmethod
    def _named_asset(cls, value: str | None) -> str | None:
        if value is not None and is_asset(value) and not ASSET.fullmatch(value):
            raise ValueError(f"{value!r} names no data asset: write `azureml:NAME:VERSION`")
        return value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", value):
            raise ValueError("use `cpu`, `cuda` or `cuda:N`")
        return value

    @model_validator(mode="after")
    def _together(self) -> Recipe:
        broken = next(broken_rules(self), None)
        if broken is not None:
            raise ValueError(broken)
        return self

    def value(self, name: str) -> Any:
        """The set value of a field, or the local backend's default (None where that is a rule)."""
        value = getattr(self, name)
        if value is not None:
            return value
        if name == "learning_rate":
            return learning_rate(self)
        default = field(name).local
        return None if isinstance(default, str) and default.startswith("<") else default

    @property
    def title(self) -> str:
        """The run's name, made from model and data when none is set."""
        if self.name:
            return self.name
        return f"{Path(self.model).name}-{Path(self.data[0].title).stem}".lower()

    def absolute(self, base: Path) -> Recipe:
        """The same recipe with its relative files and folders taken from `base`."""

        def place(text: str) -> str:
            path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path's own fails for an unknown ~user
            return str(path if path.is_absolute() else (base / path).resolve())

        change: dict[str, Any] = {
            "data": [
                item.model_copy(update={"path": place(item.path)} if item.path else {}) for item in self.data
            ]
        }
        if self.validation and not is_asset(self.validation):
            change["validation"] = place(self.validation)
        if self.model.startswith((".", "/", "~")) or (base / self.model / "config.json").is_file():
            change["model"] = place(self.model)
        if self.init_from and self.init_from.startswith((".", "/", "~")):
            change["init_from"] = place(self.init_from)
        if self.chat_template and self.chat_template.endswith(TEMPLATE_SUFFIXES):
            change["chat_template"] = place(self.chat_template)
        return self.model_copy(update=change)


@functools.cache
def fields() -> tuple[FieldInfo, ...]:
    """The table of settings, in the order of the form."""
    return tuple(field_info(name, item) for name, item in Recipe.model_fields.items() if name != "version")


def field(name: str) -> FieldInfo:
    """One row of the table."""
    return next(item for item in fields() if item.name == name)


def load(path: Path) -> Recipe:
    """Read a recipe; its relative paths are taken from the recipe's own folder.

    Raises:
        RecipeError: unreadable, not YAML, or a key is wrong; names key, value and what was expected.
    """
    try:
        with path.open("rb") as file:
            text = file.read(4 * yamltext.MAX_CHARACTERS + 1).decode()
    except FileNotFoundError:
        raise RecipeError([("", "There is no such file.")], str(path)) from None
    except OSError as error:
        raise RecipeError([("", f"The file can't be read: {error.strerror}.")], str(path)) from error
    except UnicodeDecodeError as error:
        raise RecipeError([("", f"It is not UTF-8 text: byte {error.start + 1}.")], str(path)) from error
    return parse(text, str(path)).absolute(path.absolute().parent)


def parse(text: str, origin: str = "recipe") -> Recipe:
    """A recipe from YAML text.

    Raises:
        RecipeError: as in `load`.
    """
    try:
        content = yamltext.read(text)
    except ValueError as error:
        raise RecipeError([("", f"{error}.")], origin) from error
    if not isinstance(content, dict):
        raise RecipeError(
            [("", "A recipe is a mapping of keys to values, e.g. `model: smollm2-135m-instruct`.")], origin
        )
    return build(content, origin)


def build(content: dict[str, Any], origin: str = "recipe") -> Recipe:
    """A recipe from plain values.

    Raises:
        RecipeError: a key is unknown, or a value is not what its key expects.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        source = {name: field_info(name, item) for name, item in Source.model_fields.items()}
        recipe = {name: field_info(name, item) for name, item in Recipe.model_fields.items()}
        raise RecipeError(complaints(error.errors(), recipe, source), origin) from error


def dump(recipe: Recipe) -> str:
    """The recipe as YAML: the set keys only, in the order of the form."""
    content = recipe.model_dump(exclude_none=True, exclude_defaults=False)
    content["data"] = [_short_source(item) for item in content["data"]]
    if len(content["data"]) == 1 and isinstance(content["data"][0], str):
        content["data"] = content["data"][0]
    return yamltext.write(content)


def _short_source(source: dict[str, Any]) -> str | dict[str, Any]:
    short = {key: value for key, value in source.items() if not (key == "weight" and value == 1.0)}
    return str(next(iter(short.values()))) if set(short) in ({"path"}, {"asset"}) else short
