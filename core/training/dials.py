"""What can be changed while a run is going: the learning rate, how often it is measured, when it stops."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import FinetuiError
from core.paths import write_private
from core.recipe import RecipeError, build

FILE = "dials.json"
NAMES = ("learning_rate", "evaluate_every", "stop_after")


class DialError(FinetuiError):
    """A dial can't be set so."""


@dataclass(frozen=True)
class Dials:
    """The settings in force.

    Args:
        learning_rate: at its highest point; the schedule is scaled with it.
        evaluate_every: steps between two evaluations.
        stop_after: the step after which the run stops, or None for its plan's end.
        worse: evaluations in a row that have not lowered the validation loss.
    """

    learning_rate: float
    evaluate_every: int
    stop_after: int | None = None
    worse: int = 0

    def turned(self, name: str, value: Any) -> Dials:
        """The dials with one of them set.

        Raises:
            DialError: there is no such dial, or the value is none for it.
        """
        return replace(self, **{name: checked(name, value)})

    def is_past(self, step: int) -> bool:
        """Whether the step after which the run stops is reached."""
        return self.stop_after is not None and step >= self.stop_after

    def save(self, folder: Path) -> None:
        """Write them beside a checkpoint."""
        write_private(folder / FILE, json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, folder: Path) -> Dials | None:
        """Those of a checkpoint, or None where it is older than dials are."""
        path = folder / FILE
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def checked(name: str, value: Any) -> Any:
    """The value of a dial, as the recipe's table of settings takes it; `end` is the plan's own for `stop_after`.

    Raises:
        DialError: there is no such dial, or the value is none for it.
    """
    if name not in NAMES:
        raise DialError(
            f"{name!r} can't be changed while a run is going.", "", f"What can: {', '.join(NAMES)}."
        )
    if name == "stop_after" and value in (None, "end"):
        return None
    key = "max_steps" if name == "stop_after" else name
    try:
        recipe = build({"model": "-", "data": "-", key: value}, name)
    except RecipeError as error:
        sentence = error.problems[0][1].replace(f"`{key}`", f"`{name}`")
        raise DialError(sentence, "", "Give another value.") from error
    found = getattr(recipe, key)
    if found is None:
        raise DialError(f"`{name}` needs a value.", "", "Give a number.")
    return found


def refuse_past(stop_after: int, step: int) -> None:
    """Refuse a step to stop after that is not ahead.

    Args:
        stop_after: as it is to be set.
        step: finished ones.

    Raises:
        DialError: it is reached already.
    """
    if stop_after <= step:
        raise DialError(
            f"`stop_after` is {stop_after}, and step {step} is done already.",
            "",
            f"Give a step after {step}, or stop the run now.",
        )
