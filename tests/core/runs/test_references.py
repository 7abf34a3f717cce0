"""A recipe's `init_from` by name, or by the beginning of an id, becomes the whole id."""

from __future__ import annotations

from typing import Any

import pytest

from core.recipe import Recipe, build
from core.runs.directory import RunDirectory
from core.runs.references import settled


def recipe(**more: Any) -> Recipe:
    return build({"model": "phi-4", "data": "rows.jsonl", **more})


@pytest.mark.usefixtures("home")
def test_a_name_becomes_an_id_and_keeps_its_step() -> None:
    run = RunDirectory.create(recipe(), "lantern")
    for reference in ("lantern", run.id, run.id[:-2]):
        assert settled(recipe(init_from=reference)).init_from == run.id
        assert settled(recipe(init_from=f"{reference}@12")).init_from == f"{run.id}@12"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("reference", [None, "nobody", "/a/folder", "./folder"])
def test_what_names_no_run_stays(reference: str | None) -> None:
    assert settled(recipe(init_from=reference)).init_from == reference
