"""Finished runs to export: a run directory as training leaves it, around a tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from core import paths
from core.catalog.store import sha256
from core.data.rendering import Renderer
from core.data.sources import freeze
from core.events import Finished, Planned, Starting
from core.recipe import build
from core.runs.directory import RunDirectory
from core.runs.journal import Journal
from tests.core.training import tiny

SYSTEM = 'the lamp "glows"'
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def save_adapter(base: Path, folder: Path, seed: int = 5, **lora: Any) -> Path:
    """LoRA of rank 4 whose matrices are filled, so that it changes what the model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    settings = {"r": 4, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **lora}
    tuned = get_peft_model(model, LoraConfig(**settings))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    tuned.peft_config["default"].base_model_name_or_path = str(base)
    tuned.save_pretrained(folder)
    add_facts(base, folder)
    return folder


def add_facts(base: Path, folder: Path, **facts: Any) -> None:
    """What training saves beside weights."""
    from transformers import GenerationConfig

    for name in TOKENIZER:
        shutil.copyfile(base / name, folder / name)
    renderer = Renderer.from_folder(base)
    ends = [*renderer.turn_end_ids, 0]
    GenerationConfig(eos_token_id=ends, pad_token_id=0, bos_token_id=0).save_pretrained(folder)
    content = {"base": str(base), "base_revision": "", "system": SYSTEM, **facts}
    (folder / "finetui.json").write_text(json.dumps(content))


def make_run(
    base: Path, model: Path | None, *, checkpoint: Path | None = None, name: str = "lamp", **settings: Any
) -> RunDirectory:
    """A run that ended with a model, and with a checkpoint of step 5 where one is given."""
    rows = tiny.make_rows(paths.make_private(paths.cache_dir()) / "train rows.jsonl", 20)
    held = tiny.make_rows(paths.cache_dir() / "held.jsonl", 6, seed=3)
    recipe = {"model": str(base), "data": str(rows), "validation": str(held), "name": name, **settings}
    run = RunDirectory.create(build(recipe))
    sha = {path.name: sha256(path) for path in base.iterdir()}
    record = {
        "name": str(base),
        "folder": str(base),
        "revision": "",
        "source": "folder",
        "sha256": sha,
        "note": "",
    }
    (run.path / "model.json").write_text(json.dumps(record))
    files = [
        {
            "title": str(path),
            "sha256": freeze(path).sha256,
            "revision": "",
            "name": path.name,
            "columns": None,
        }
        for path in (rows, held)
    ]
    sources = {"training": files[:1], "validation": files[1], "seed": 42}
    (run.data_dir / "sources.json").write_text(json.dumps(sources))
    (run.data_dir / "rendering.json").write_text(json.dumps({"template": None, "now": "2025-01-01T00:00:00"}))
    report = {"step": 10, "steps": 10, "seconds": 12.5, "loss": 0.5, "base_loss": 2.25}
    (run.path / "report.json").write_text(json.dumps(report))
    if checkpoint is not None:
        partial = run.partial_checkpoint(5)
        shutil.copytree(checkpoint, partial, dirs_exist_ok=True)
        (partial / "optimizer.pt").write_bytes(b"not for others")
        run.publish_checkpoint(partial, 5)
    with Journal(run.journal_path) as journal:
        journal.append(Starting(phase="x", device="cpu"))
        journal.append(
            Planned(
                steps=10,
                epochs=1,
                rows=20,
                validation_rows=6,
                dropped_rows=0,
                cut_rows=0,
                tokens=1,
                trained_tokens=1,
                trainable_parameters=1,
                parameters=1,
            )
        )
        if model is not None:
            partial = run.partial_model()
            shutil.copytree(model, partial, dirs_exist_ok=True)
            run.publish_model(partial)
            journal.append(Finished(step=10, model="model", loss=0.5))
    return run


def export_now(run: RunDirectory, to: Any, out: Path, folder: Path | None = None) -> Any:
    """Export in this process; returns what `export` returns."""
    from core.training.export import export

    work = export(run.path, folder or run.model_dir, to, out)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
