"""One recipe on both backends: only `backend:` differs, and the two runs stand side by side."""

# ruff: noqa: F811 - the fixtures are those of core.azure's tests

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core.catalog.reference import MANIFEST, resolve
from core.recipe import load
from core.runs import worker
from core.runs.directory import RunDirectory
from tests.azure_emulator.emulator import Emulator
from tests.core.azure.conftest import azure, loopback, rows  # noqa: F401
from tests.tui.verbs.conftest import Finetui
from tests.tui.verbs.test_azure import data

RECIPE = """\
name: both
model: phi-4-mini-instruct
data: rows.jsonl
validation_fraction: 0.25
learning_rate: 2e-5
epochs: 2
batch_size: 4
backend: {backend}
"""


def here(tiny_model: Path) -> None:
    """A small model in the place of the catalogue's: the real one is too large to train in a test."""
    folder = resolve("phi-4-mini-instruct").cache_folder / "small"
    shutil.copytree(tiny_model, folder)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    record = {
        "source": "hub",
        "revision": "small",
        "requested": None,
        "bytes": sizes,
        "sha256": {},
        "note": "",
    }
    (folder / MANIFEST).write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.slow
def test_the_same_recipe_trains_here_and_in_azure(
    azure: Emulator, finetui: Finetui, rows: Path, tiny_model: Path
) -> None:
    here(tiny_model)
    ids = []
    for backend in ("local", "azure"):
        path = rows.parent / f"{backend}.yaml"
        path.write_text(RECIPE.format(backend=backend), encoding="utf-8")
        assert finetui("train", path, "--check").exit_code == 0
        run = RunDirectory.create(load(path), "both")
        assert worker.run(run.path) == 0
        ids.append(run.id)
    listed = {row["id"]: row for row in data(finetui, "runs")}
    assert [listed[run]["backend"] for run in ids] == ["local", "azure"]
    assert {listed[run]["state"] for run in ids} == {"finished"}
    compared = data(finetui, "compare", *ids)
    set_apart = [item["field"] for item in compared["recipe"] if all(it["set"] for it in item["values"])]
    assert set_apart == ["backend"]
    side_by_side = finetui("compare", *ids).stdout
    assert "training rows  the same" in side_by_side
    assert "validation rows  the same" in side_by_side
