"""Memory that is truly refused by the system: less is computed at once, and what is learned stays the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.recipe import build, dump
from tests.core.training import tiny

GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""glibc gives freed tensors back to the system, so that a process holds what it uses and no more."""


def train(recipe: Path, folder: Path, step: int, share: float) -> list[dict[str, Any]]:
    command = [sys.executable, "-P", "-m", "tests.core.training.short_of_memory", str(recipe), str(folder)]
    done = subprocess.run(
        [*command, str(step), str(share)],
        cwd=Path(__file__).parents[3],
        env={**os.environ, **GIVEN_BACK},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["kind"] == kind]


@pytest.mark.slow
def test_memory_refused_by_the_system_halves_the_budget_and_changes_no_result(tmp_path: Path) -> None:
    model = tiny.make_model(
        tmp_path / "model", hidden_size=256, intermediate_size=768, num_hidden_layers=6, vocab_size=8000,
        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=512,
        original_max_position_embeddings=512,
    )  # fmt: skip
    recipe = build(
        {
            "model": str(model), "data": str(tiny.make_long_rows(tmp_path / "rows.jsonl", 64)),
            "validation": str(tiny.make_long_rows(tmp_path / "validation.jsonl", 12)), "sequence_length": 400,
            "batch_size": 16, "token_budget": 4096, "max_steps": 5, "evaluate_every": 5, "learning_rate": 1e-2,
            "sample_prompts": [],
        }
    )  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(dump(recipe))
    whole = train(tmp_path / "recipe.yaml", tmp_path / "whole", 0, 0)
    short = train(tmp_path / "recipe.yaml", tmp_path / "short", 2, 0.7)
    told = [event["text"] for event in of(short, "warned")]
    assert any("Memory ran out at step 3." in text for text in told), told
    assert not of(whole, "warned")
    assert [event["step"] for event in of(short, "step")] == [1, 2, 3, 4, 5]
    for one, two in zip(of(short, "step"), of(whole, "step"), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        assert (one["tokens"], one["trained_tokens"]) == (two["tokens"], two["trained_tokens"])
    assert of(short, "evaluated")[-1]["loss"] == pytest.approx(of(whole, "evaluated")[-1]["loss"], rel=1e-5)
    left, right = (
        load_file(tmp_path / name / "model/adapter_model.safetensors") for name in ("short", "whole")
    )
    assert all(torch.allclose(left[name], right[name], atol=1e-5) for name in right)
    assert any(value.abs().max() > 1e-2 for name, value in right.items() if "lora_B" in name)
