"""Tasks other than chat on a real model and real rows."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from core.backends.local import LocalBackend
from core.data.samples import train_path, validation_path
from core.recipe import build
from tests.core.training.conftest import FolderRun

DATA = Path(__file__).parents[4] / "shared" / "data"
pytestmark = pytest.mark.slow


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return path


def train(folder: Path, **content: Any) -> FolderRun:
    run = FolderRun(folder)
    assert LocalBackend().train(build(content), run).kind == "finished"
    return run


def test_reviews_are_told_apart_far_better_than_by_the_commoner_label(
    embedded_model: Path, tmp_path: Path
) -> None:
    """192 short reviews to learn from, 80 to be measured on."""
    with real("yelp_sentiment.csv").open(encoding="utf-8") as file:
        rows = [{"text": text, "label": label} for text, label in list(csv.reader(file))[1:]]
    random.Random(0).shuffle(rows)
    parts = {"train": rows[:192], "held": rows[192:272]}
    for name, part in parts.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    run = train(
        tmp_path / "run",
        model=str(embedded_model),
        task="classification",
        data=str(tmp_path / "train.jsonl"),
        validation=str(tmp_path / "held.jsonl"),
        batch_size=16,
        epochs=2,
        learning_rate=5e-4,
        evaluate_every=1000,
    )
    held = [row["label"] for row in parts["held"]]
    commoner = max(held.count(label) for label in set(held)) / len(held)
    last = run.of("evaluated")[-1].metrics
    assert last["accuracy"] > commoner + 0.2
    assert last["macro_f1"] > 0.75


def test_dpo_raises_the_margin_of_chosen_over_rejected(embedded_model: Path, tmp_path: Path) -> None:
    rows = [
        row
        for row in json.loads(real("dpo_en_demo.json").read_text(encoding="utf-8"))
        if len(json.dumps(row)) < 1500
    ]
    parts = {"train": rows[:16], "held": rows[16:24]}
    for name, part in parts.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    run = train(
        tmp_path / "run",
        model=str(embedded_model),
        task="dpo",
        data=str(tmp_path / "train.jsonl"),
        validation=str(tmp_path / "held.jsonl"),
        batch_size=8,
        epochs=2,
        learning_rate=3e-4,
        sequence_length=512,
        evaluate_every=1000,
        sample_prompts=[],
    )
    before, after = run.of("evaluated")[0], run.of("evaluated")[-1]
    assert before.metrics["margin"] == pytest.approx(0, abs=1e-3)
    assert before.loss == pytest.approx(0.6931, abs=1e-3)
    assert after.metrics["margin"] > 0.02
    assert after.loss < before.loss
    steps = [step.loss for step in run.of("step")]
    assert steps[-1] < steps[0] - 0.05


def test_qlora_learns_on_a_cpu_and_loftq_begins_nearer_to_the_exact_model(
    embedded_model: Path, tmp_path: Path
) -> None:
    """The demo's rows; 5 steps of 8."""
    first, last = {}, {}
    for name, changes in {
        "exact": {},
        "nf4": {"quantization": "nf4"},
        "loftq": {"quantization": "nf4", "init": "loftq"},
    }.items():
        run = train(
            tmp_path / name,
            model=str(embedded_model),
            data=str(train_path()),
            validation=str(validation_path()),
            max_steps=5,
            evaluate_every=5,
            sample_prompts=[],
            **changes,
        )
        first[name], last[name] = (event.loss for event in run.of("evaluated"))
    assert first["exact"] < first["loftq"] < first["nf4"] - 0.05
    assert all(last[name] < first[name] - 0.1 for name in first)
