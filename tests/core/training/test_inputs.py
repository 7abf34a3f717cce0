"""From files to rows: the same conversations whatever the file's form, and no others."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.backends.local import LocalBackend
from core.data.rendering import Renderer
from core.recipe import Recipe
from core.training.inputs import InputError, conversations, freeze_files, gather

MakeRecipe = Callable[..., Recipe]
PAIRS = [(f"What is {number} and {number}, please?", f"It is {2 * number}.") for number in range(12)]
COLUMNS = {"prompt": "ask", "completion": "reply"}


def write(path: Path, pairs: list[tuple[str, str]]) -> Path:
    """Question and answer in the columns `ask` and `reply`, in the form that the name tells."""
    rows = [{"ask": ask, "reply": reply} for ask, reply in pairs]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["ask", "reply"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    return path


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.jsonl", "rows.jsonl.gz"])
def test_columns_are_read_the_same_from_every_kind_of_file(
    name: str, make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / name, PAIRS)
    unmapped = make_recipe(data=[{"path": str(path)}], validation=None)
    assert any("ask" in problem.sentence for problem in LocalBackend().check(unmapped).errors)

    recipe = make_recipe(data=[{"path": str(path), "columns": COLUMNS}], validation=None)
    checked = LocalBackend().check(recipe)
    assert checked.errors == []
    assert checked.estimate is not None
    assert checked.estimate.rows == len(PAIRS)

    record = tmp_path / "sources.json"
    (file,) = freeze_files(recipe, record).training
    found = [[message.content for message in row.messages] for row in conversations(file, "chat")]
    assert found == [list(pair) for pair in PAIRS]
    path.unlink()  # what was frozen is enough to go on
    inputs = gather(recipe, freeze_files(recipe, record), Renderer.from_folder(tiny_model))
    assert len(inputs.training.rows) == len(PAIRS)


def test_validation_rows_have_the_columns_of_the_first_file(
    make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path
) -> None:
    train, held_out = write(tmp_path / "a.csv", PAIRS[:9]), write(tmp_path / "b.csv", PAIRS[9:])
    recipe = make_recipe(data=[{"path": str(train), "columns": COLUMNS}], validation=str(held_out))
    assert LocalBackend().check(recipe).errors == []
    inputs = gather(recipe, freeze_files(recipe, tmp_path / "s.json"), Renderer.from_folder(tiny_model))
    assert (len(inputs.training.rows), len(inputs.validation.rows)) == (9, 3)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "Once upon a time."}, "plain text"),
        ({"text": "Good.", "label": "yes"}, "a text with a label"),
        ({"prompt": "How?", "chosen": "So.", "rejected": "Not so."}, "a pair of answers"),
    ],
)
def test_rows_of_another_task_are_refused_before_the_start_and_by_the_run(
    row: dict[str, Any], words: str, make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps(row) + "\n") * 3)
    recipe = make_recipe(data=str(path), validation=None)
    (problem,) = LocalBackend().check(recipe).errors
    assert words in problem.sentence
    assert f"{path}:1" in problem.sentence
    with pytest.raises(InputError, match=words):
        gather(recipe, freeze_files(recipe, tmp_path / "s.json"), Renderer.from_folder(tiny_model))
