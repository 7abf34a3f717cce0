"""What a recipe says of other runs, with their whole ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.runs import supervisor
from core.runs.directory import RunError

if TYPE_CHECKING:
    from core.recipe import Recipe


def settled(recipe: Recipe) -> Recipe:
    """The recipe with the whole id of the run that its `init_from` names; as it is where that names none.

    What is wrong then is found by the backend's check.
    """
    reference, sign, step = (recipe.init_from or "").partition("@")
    if not reference or reference.startswith((".", "/", "~")):
        return recipe
    try:
        found = supervisor.get(reference)
    except RunError:
        return recipe
    return recipe.model_copy(update={"init_from": f"{found.id}{sign}{step}"})
