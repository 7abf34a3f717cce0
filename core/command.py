"""A recipe as the command that does the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

RECIPE_SUFFIXES = (".yaml", ".yml")
WITH_A_FILE = "finetui train RECIPE.yaml"


def flag(name: str) -> str:
    """The command-line flag of a setting: `learning_rate` is `--learning-rate`."""
    return "--" + name.replace("_", "-")


def command_line(values: dict[str, Any]) -> str:
    """`finetui train ...` for a recipe's set values, as `Recipe.model_dump(exclude_none=True)` gives them.

    What has no flag (weights, caps, hub data sets, an empty list) needs the recipe in a file, and the command says so.
    """
    sources = [{k: v for k, v in item.items() if k != "weight" or v != 1.0} for item in values["data"]]
    if any(set(source) != {"path"} for source in sources) or [] in values.values():
        return WITH_A_FILE
    paths = [str(source["path"]) for source in sources]
    if Path(paths[0]).suffix in RECIPE_SUFFIXES:  # it would be read as a recipe
        return WITH_A_FILE
    words = ["finetui", "train", *("./" + path if path.startswith("-") else path for path in paths)]
    for name, value in values.items():
        if name not in ("version", "data"):
            words += _words(name, value)
    return " ".join(shlex.quote(word) for word in words)


def _words(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag(name) if value else "--no-" + name.replace("_", "-")]
    if isinstance(value, list):
        return [word for item in value for word in (flag(name), str(item))]
    if isinstance(value, float) and float(f"{value:g}") == value:
        return [flag(name), f"{value:g}"]
    return [flag(name), str(value)]
