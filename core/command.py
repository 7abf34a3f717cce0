"""A recipe as the command that does the same."""

from __future__ import annotations

import shlex
from typing import Any


def flag(name: str) -> str:
    """The command-line flag of a setting: `learning_rate` is `--learning-rate`."""
    return "--" + name.replace("_", "-")


def command_line(values: dict[str, Any]) -> str:
    """`finetui train ...` for a recipe's set values, as `Recipe.model_dump(exclude_none=True)` gives them.

    Data sources that are more than a path (weights, caps, hub data sets) have no flag: then the recipe must be
    written to a file, and the command says so.
    """
    sources = [{k: v for k, v in item.items() if k != "weight" or v != 1.0} for item in values["data"]]
    if any(set(source) != {"path"} for source in sources):
        return "finetui train RECIPE.yaml"
    words = ["finetui", "train", *(str(source["path"]) for source in sources)]
    for name, value in values.items():
        if name not in ("version", "data"):
            words += _words(name, value)
    return " ".join(shlex.quote(word) for word in words)


def _words(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag(name) if value else "--no-" + name.replace("_", "-")]
    if isinstance(value, list):
        return [word for item in value for word in (flag(name), str(item))]
    return [flag(name), f"{value:g}" if isinstance(value, float) else str(value)]
