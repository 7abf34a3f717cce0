"""Which rows a run is measured on: those its training held back, chosen by the seed, read piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.data.rendering import Renderer
from core.recipe import Recipe
from core.training import held_out
from core.training.held_out import HeldOutError, in_chunks
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


@pytest.mark.parametrize(
    ("fraction", "cause"),
    [(0.1, "`validation_fraction` 0.1 held none back"), (None, "has neither `validation` nor")],
)
def test_why_no_rows_were_held_back_is_told_as_it_is(
    fraction: float | None, cause: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    one = tiny.make_rows(tmp_path / "one.jsonl", 1)
    recipe = make_recipe(data=str(one), validation=None, validation_fraction=fraction)
    files = freeze_files(recipe, tmp_path / "sources.json")
    with pytest.raises(HeldOutError) as caught:
        held_out.held_out(recipe, files, None, 10, 42)
    assert cause in caught.value.cause


@pytest.mark.parametrize(
    ("content", "shown", "next_step"),
    [
        ('{"text": "the lamp"}\n', "this is plain text", "Name a file of conversations"),
        ('{"messages": [\n', "JSON", "`finetui data check"),
    ],
)
def test_rows_that_can_t_be_measured_on_are_told_with_what_helps(
    content: str, shown: str, next_step: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    other = tmp_path / "my rows.jsonl"
    other.write_text(content * 7)
    recipe = make_recipe()
    files = freeze_files(recipe, tmp_path / "sources.json")
    with pytest.raises(HeldOutError) as caught:
        held_out.held_out(recipe, files, other, 10, 42)
    lines = caught.value.what.splitlines()
    assert len(lines) == 5 and all(f"{other}:{number}" in line for number, line in enumerate(lines, 1))
    assert shown in lines[0]
    assert next_step in caught.value.next_step
    if "check" in next_step:
        assert f"'{other}'" in caught.value.next_step
    else:
        assert "data check" not in caught.value.next_step
