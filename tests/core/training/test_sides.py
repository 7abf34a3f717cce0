"""A run's model is measured as its training measured it."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import recipe as recipes
from tests.core.training.conftest import FolderRun
from tests.core.training.test_report import closed_rows, evaluated, trained


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_is_measured_in_the_number_format_it_computed_with(
    method: str, tiny_model: Path, tmp_path: Path
) -> None:
    recipe = recipes.build(
        {
            "model": str(tiny_model),
            "data": str(closed_rows(tmp_path / "train.jsonl", 12)),
            "validation": str(closed_rows(tmp_path / "held.jsonl", 6)),
            "method": method,
            "precision": "bf16",
            "max_steps": 4,
            "learning_rate": 1e-3,
            "sample_prompts": [],
        }
    )
    run = FolderRun(tmp_path / "run")
    found, _ = evaluated(trained(recipe, run))
    assert found["tuned"]["loss"] == pytest.approx(run.of("evaluated")[-1].loss, rel=1e-5)
