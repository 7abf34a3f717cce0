"""The model card of an export says what the model is, of what it was made and how it was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from core.runs.directory import RunDirectory
from tests.core.training.exported import export_now, make_run
from tests.core.training.test_export import adapter, run

__all__ = ["adapter", "run"]


def test_the_card_says_what_it_is_and_no_folder_of_this_machine(run: RunDirectory, tmp_path: Path) -> None:
    export_now(run, "merged", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    for words in ("library_name: transformers", "| 10 of 10 |", "| 2.2500 |", "| 0.5000 |", "name: lamp"):
        assert words in text
    record = json.loads((run.data_dir / "sources.json").read_text())
    for item, rows in ((record["training"][0], 20), (record["validation"], 6)):
        name = Path(item["title"]).name
        assert f"| `{name}` |" in text
        assert f"| {rows} | `{item['sha256']}` |" in text
    assert str(tmp_path.parent) not in text


def test_the_card_has_the_name_that_the_run_has_now(run: RunDirectory, tmp_path: Path) -> None:
    run.write_meta(replace(run.meta, name="lantern"))
    export_now(run, "adapter", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "# lantern" in text and "name: lantern" in text and "name: lamp" not in text


def test_the_card_counts_the_rows_that_were_held_out(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    run = make_run(tiny_model, adapter, validation=None, validation_fraction=0.25)
    record = json.loads((run.data_dir / "sources.json").read_text())
    (run.data_dir / "sources.json").write_text(json.dumps({**record, "validation": None}))
    export_now(run, "adapter", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| `train rows.jsonl` | training | 15 |" in text
    assert "| `train rows.jsonl` | validation | 5 |" in text


def test_the_card_says_what_its_data_were_made_of_and_what_was_evaluated(
    tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    run = make_run(tiny_model, adapter)
    record = json.loads((run.data_dir / "sources.json").read_text())
    training, validation = record["training"][0], record["validation"]
    steps = [
        {"repair": "drop", "codes": ["email", "duplicate"]},
        {"repair": "edit", "rows": [3], "value": {"text": "the secret"}},
    ]
    made = {"source": "/home/me/mine.jsonl", "source_sha256": "ab" * 32}
    for item, more in (
        (training, {"steps": steps, "target_sha256": training["sha256"]}),
        (validation, {"how": {"split": {"seed": 42}}, "target_sha256": "of another file"}),
    ):
        Path(item["title"] + ".lineage.json").write_text(json.dumps({**made, **more}))
    report = json.loads((run.path / "report.json").read_text())
    report["evaluation"] = {
        "model": "model",
        "rows": 14,
        "max_tokens": 8,
        "data": {"files": [{"title": "/home/me/held.jsonl"}]},
        "base": {"loss": 5.5, "accuracy": 0.25},
        "tuned": {"loss": 0.5, "accuracy": 0.75, "macro_f1": 0.7},
        "notes": ["2 rows were cut."],
    }
    (run.path / "report.json").write_text(json.dumps(report))
    export_now(run, "adapter", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert (
        f"was made of `mine.jsonl` (sha256 `{'ab' * 32}`) by `drop` of `email`, `duplicate`, `edit` in 1 rows"
        in text
    )
    assert "secret" not in text and "/home/me" not in text and 'seed": 42' not in text
    for line in (
        "| loss (nats) | 5.5000 | 0.5000 |",
        "| accuracy | 0.2500 | 0.7500 |",
        "| macro F1 | - | 0.7000 |",
    ):
        assert line in text
    assert "14 rows of `held.jsonl`" in text and "2 rows were cut." in text
