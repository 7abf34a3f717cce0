"""The memory planned for a GPU is what torch's fake tensors take in the very training step, to 15 %."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from core.recipe import build
from core.training.estimate import Measured, compute, peak_of
from core.training.memory import read_shape
from core.training.plan import choose_budget
from core.training.rows import Row
from tests.core.training import faked

SIZES: dict[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 3, "num_attention_heads": 16,
    "max_position_embeddings": 8192, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"vocab_size": 32_000, "num_key_value_heads": 4}),
    "phi3": (
        "Phi3",
        {"vocab_size": 32_064, "num_key_value_heads": 16, "original_max_position_embeddings": 8192},
    ),
    "phi4": (  # a large vocabulary, tied
        "Phi3",
        {"vocab_size": 200_064, "num_key_value_heads": 8, "original_max_position_embeddings": 8192,
         "tie_word_embeddings": True, "hidden_size": 768},
    ),
    "qwen3": (  # queries and keys have norms of their own
        "Qwen3", {"vocab_size": 50_000, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True}
    ),
}  # fmt: skip


def config_of(name: str) -> Any:
    kind, more = MODELS[name]
    return getattr(transformers, f"{kind}Config")(**{**SIZES, **more})


def rows_of(length: int, count: int, vocabulary: int) -> list[Row]:
    """Rows without common beginnings, of which the second half is learned."""
    draw = np.random.default_rng(length)
    trained = np.arange(length) >= length // 2
    return [Row(draw.integers(0, vocabulary, length).astype(np.int32), trained) for _ in range(count)]


QUICK: list[tuple[str, int, dict[str, Any]]] = [
    ("llama", 300, {}),
    ("llama", 300, {"method": "full"}),
    ("phi3", 300, {"target_modules": ["qkv_proj", "down_proj"]}),
    ("phi3", 300, {"quantization": "nf4", "gradient_checkpointing": True}),
    ("phi3", 2000, {"method": "full"}),
]
SLOW: list[tuple[str, int, dict[str, Any]]] = [
    ("llama", 2000, {"rank": 64}),
    ("llama", 2000, {"gradient_checkpointing": True}),
    ("llama", 2000, {"method": "full"}),
    ("llama", 2000, {"method": "full", "gradient_checkpointing": True}),
    ("llama", 2000, {"quantization": "nf4"}),
    ("phi3", 2000, {}),
    ("phi3", 4000, {"gradient_checkpointing": True}),
    ("phi3", 2000, {"last_layers": 1}),
    ("phi4", 1000, {}),
    ("phi4", 1000, {"method": "full"}),
    ("phi4", 2000, {"method": "full", "gradient_checkpointing": True}),
    ("qwen3", 1000, {}),
    ("qwen3", 1000, {"method": "full", "precision": "fp32"}),
]


@pytest.mark.parametrize(
    ("name", "length", "changes"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
    ids=str,
)
def test_the_peak_on_a_gpu_is_predicted_to_15_percent(
    name: str, length: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    config = config_of(name)
    recipe = build({"model": "m", "data": "d", "batch_size": 4, "max_steps": 2, **changes})
    rows = rows_of(length, 8, config.vocab_size)
    precision = recipe.precision or "bf16"
    taken = faked.train(config, recipe, rows, precision)
    shape = read_shape(faked.write_shape(tmp_path / "model", config))
    computed = compute(recipe, Measured(rows, len(rows), 0, 0), choose_budget(recipe, "cuda"))
    planned = peak_of(recipe, shape, computed, precision, "cuda:0")
    assert planned.weights == pytest.approx(taken.weights, rel=0.01)
    assert planned.total - planned.process == pytest.approx(taken.peak, rel=0.15)
