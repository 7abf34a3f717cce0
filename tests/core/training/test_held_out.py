"""Which rows a run is measured on: those its training held back, chosen by the seed, read piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.data.rendering import Renderer
from core.recipe import Recipe
from core.training import held_out
from core.training.held_out import in_chunks
from core.training.inputs import freeze_files, gather
from tests.core.training import tiny

MakeRecipe = Callable[..., Recipe]


def test_chunks_are_drawn_only_when_they_are_asked_for() -> None:
    drawn = []
    chunks = in_chunks((drawn.append(number) or number for number in range(10)), 4)
    assert (next(chunks), drawn) == ([0, 1, 2, 3], [0, 1, 2, 3])
    assert list(chunks) == [[4, 5, 6, 7], [8, 9]]


def test_a_split_is_measured_on_exactly_the_rows_that_training_held_back(
    make_recipe: MakeRecipe, tmp_path: Path, tiny_model: Path
) -> None:
    more = tiny.make_rows(tmp_path / "more.jsonl", 13, seed=8)
    recipe = make_recipe(validation=None, validation_fraction=0.3, max_steps=2)
    recipe = recipe.model_copy(
        update={"data": [*recipe.data, recipe.data[0].model_copy(update={"path": str(more)})]}
    )
    files = freeze_files(recipe, tmp_path / "sources.json")
    held = held_out.held_out(recipe, files, None, 1000, 42)
    renderer = Renderer.from_folder(tiny_model)
    wanted = gather(recipe, files, renderer).validation.rows
    assert [list(renderer.render(row).ids) for row in held] == [list(row.ids) for row in wanted]
    assert (held.kind, held.available, len(held)) == ("split", 10, 10)

    few, fewer = (held_out.held_out(recipe, files, None, limit, 42) for limit in (6, 3))
    assert {row.where for row in fewer} < {row.where for row in few} < {row.where for row in held}
    assert len(few) == 6
