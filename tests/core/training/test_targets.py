"""Which layers an adapter is put on, in the families that people tune, at their published widths (two layers of each).

The models are made without weights; what the plan reads of their files is a header.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from core.recipe import build
from core.training import methods
from core.training.adapters import count_parameters
from core.training.fit import FitError
from core.training.memory import read_shape
from core.training.trainable import trainable_weights


class Family(NamedTuple):
    """Widths of a published model.

    Args:
        kind: of its config.
        hidden, intermediate, heads, keys, head: widths, and numbers of heads.
        vocabulary: tokens.
        tied: the head is the embedding.
        more: what else its config has.
    """

    kind: str
    hidden: int
    intermediate: int
    heads: int
    keys: int
    head: int
    vocabulary: int
    tied: bool
    more: dict[str, Any] = {}

    @property
    def layers(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of the linear layers of a decoder layer."""
        queries, keys = self.heads * self.head, self.keys * self.head
        if self.kind == "phi3":
            split = {
                "qkv_proj": (self.hidden, queries + 2 * keys),
                "gate_up_proj": (self.hidden, 2 * self.intermediate),
            }
        else:
            split = {
                "q_proj": (self.hidden, queries),
                "k_proj": (self.hidden, keys),
                "v_proj": (self.hidden, keys),
                "gate_proj": (self.hidden, self.intermediate),
                "up_proj": (self.hidden, self.intermediate),
            }
        return {
            **split,
            "o_proj": (queries, self.hidden),
            "down_proj": (self.intermediate, self.hidden),
        }


LONG = {"rope_type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
FAMILIES = {
    "Phi-3-mini-4k": Family("phi3", 3072, 8192, 32, 32, 96, 32064, False),
    "Phi-3.5-mini": Family(
        "phi3", 3072, 8192, 32, 32, 96, 32064, False,
        {"rope_parameters": {**LONG, "rope_theta": 10000.0, "original_max_position_embeddings": 4096},
         "max_position_embeddings": 131072},
    ),
    "Phi-4": Family("phi3", 5120, 17920, 40, 10, 128, 100352, False),
    "Phi-4-mini": Family(
        "phi3", 3072, 8192, 24, 8, 128, 200064, True,
        {"rope_parameters": {**LONG, "rope_theta": 10000.0, "original_max_position_embeddings": 4096,
                             "partial_rotary_factor": 0.75},
         "max_position_embeddings": 131072},
    ),
    "SmolLM2-135M": Family("llama", 576, 1536, 9, 3, 64, 49152, True),
    "Llama-3.2-1B": Family("llama", 2048, 8192, 32, 8, 64, 128256, True),
    "Qwen2.5-0.5B": Family("qwen2", 896, 4864, 14, 2, 64, 151936, True),
    "Qwen3-0.6B": Family("qwen3", 1024, 3072, 16, 8, 128, 151936, True, {"head_dim": 128}),
    "Mistral-7B": Family("mistral", 4096, 14336, 32, 8, 128, 32768, False),
    "Gemma-2-2B": Family("gemma2", 2304, 9216, 8, 4, 256, 256000, True, {"head_dim": 256}),
    "Gemma-3-1B": Family("gemma3_text", 1152, 6912, 4, 1, 256, 262144, True, {"head_dim": 256}),
}  # fmt: skip
RANK = 16
each_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))


def model_of(family: Family) -> Any:
    """The model, without weights."""
    config = AutoConfig.for_model(
        family.kind,
        hidden_size=family.hidden,
        intermediate_size=family.intermediate,
        num_attention_heads=family.heads,
        num_key_value_heads=family.keys,
        vocab_size=family.vocabulary,
        tie_word_embeddings=family.tied,
        num_hidden_layers=2,
        pad_token_id=0,
        **family.more,
    )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def put_on(model: Any) -> dict[str, list[str]]:
    """Layers with an adapter by their last name."""
    found: dict[str, list[str]] = {}
    for name, part in model.named_modules():
        if hasattr(part, "lora_A") or hasattr(part, "ia3_l"):
            found.setdefault(name.rpartition(".")[2], []).append(name)
    return found


@each_family
def test_all_linear_is_each_projection_of_each_layer_and_nothing_else(family: Family, tmp_path: Path) -> None:
    model = model_of(family)
    write_header(model, tmp_path)
    recipe = build({"model": "-", "data": "-", "rank": RANK})
    tuned = methods.prepare(model, recipe)
    places = put_on(tuned)
    assert {name: len(found) for name, found in places.items()} == dict.fromkeys(family.layers, 2)
    expected = 2 * RANK * sum(inputs + outputs for inputs, outputs in family.layers.values())
    assert count_parameters(tuned)[0] == expected
    assert trainable_weights(recipe, read_shape(tmp_path), 0) == expected


@each_family
def test_ia3_scales_keys_values_and_what_the_mlp_has_made(family: Family, tmp_path: Path) -> None:
    model = model_of(family)
    write_header(model, tmp_path)
    recipe = build({"model": "-", "data": "-", "method": "ia3"})
    tuned = methods.prepare(model, recipe)
    names = {"qkv_proj", "down_proj"} if family.kind == "phi3" else {"k_proj", "v_proj", "down_proj"}
    assert {name: len(found) for name, found in put_on(tuned).items()} == dict.fromkeys(names, 2)
    assert trainable_weights(recipe, read_shape(tmp_path), 0) == count_parameters(tuned)[0]


@each_family
def test_names_of_another_family_are_refused_with_those_there_are(family: Family) -> None:
    other = "q_proj" if family.kind == "phi3" else "qkv_proj"
    with pytest.raises(FitError, match="does not fit the model") as caught:
        methods.prepare(
            model_of(family), build({"model": "-", "data": "-", "rank": RANK, "target_modules": [other]})
        )
    assert all(name in caught.value.next_step for name in family.layers)


def write_header(model: Any, folder: Path) -> None:
    """A folder that says of the model what its files would; the weights themselves are a hole."""
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), default=str))
    tied = model.config.tie_word_embeddings
    entries, end = {}, 0
    for name, weight in model.named_parameters():
        if tied and name == "lm_head.weight":
            continue
        size = 2 * math.prod(weight.shape)
        entries[name] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
