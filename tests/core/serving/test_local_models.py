"""What a chat holds in memory: what can be shared is loaded once, and what is said does not depend on it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from core import devices
from core.data.conversation import Message
from core.serving.local_models import LocalSide, ModelError, Models
from core.training.streaming import stream
from tests.core.training import tiny


def save(base: Path, folder: Path, seed: int, **options: Any) -> Path:
    """An adapter that changes what the model says, with the tokenizer's files beside it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(
        **{"r": 4, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **options}
    )
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    tuned.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(base / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two adapters of different rank and layers on one base."""
    folder = tmp_path_factory.mktemp("adapters")
    one = save(tiny_model, folder / "one", 1)
    return one, save(tiny_model, folder / "two", 2, r=8, target_modules=["o_proj"])


class Counting(Models):
    """Counts the weights that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[Path] = []

    def _read(self, folder: Path, precision: str) -> Any:
        self.read.append(folder)
        return super()._read(folder, precision)


def load(models: Models, sides: Sequence[LocalSide]) -> list[str]:
    return list(models.load(sides))


def says(models: Models, side: LocalSide) -> str:
    """A greedy reply."""
    _, ids = models.renderer(side).render_prompt((Message("user", "the lamp glows"),))
    with models.model(side) as model:
        pieces = stream(
            model, models.renderer(side), ids, models.device, max_tokens=24, temperature=0.0, top_p=1.0
        )
        return "".join(piece.text for piece in pieces)


def alone(side: LocalSide) -> str:
    models = Models()
    load(models, [side])
    return says(models, side)


def test_two_runs_and_their_base_share_one_set_of_weights(
    tiny_model: Path, adapters: tuple[Path, Path]
) -> None:
    sides = [LocalSide(tiny_model, item, adapters[0]) for item in (*adapters, None)]
    expected = [alone(side) for side in sides]
    assert len(set(expected)) == 3
    models = Counting()
    load(models, sides)
    assert models.read == [tiny_model]
    for _ in range(2):  # no side leaves anything behind that another would feel
        assert [says(models, side) for side in sides] == expected
    told = load(models, sides[1:])
    assert models.read == [tiny_model] and told == ["starting torch"]  # nothing is read twice
    assert [says(models, side) for side in sides[1:]] == expected[1:]
    (weights,) = models._all
    assert len(weights.loaded) == 1  # the first one's adapter was freed


def test_an_adapter_that_changes_the_base_s_own_weights_gets_weights_of_its_own(
    tiny_model: Path, adapters: tuple[Path, Path], tmp_path: Path
) -> None:
    other = save(tiny_model, tmp_path / "saves", 3, modules_to_save=["lm_head"])
    sides = [
        LocalSide(tiny_model, item, adapters[0]) for item in (adapters[0], other)
    ]  # fmt: skip
    expected = [alone(side) for side in sides]
    models = Counting()
    load(models, sides)
    assert models.read == [tiny_model, tiny_model]
    assert [says(models, side) for side in sides] == expected
    load(models, [sides[0]])
    assert len(models._all) == 1
    load(models, [LocalSide(tiny_model, adapters[1], adapters[1])])
    assert len(models.read) == 2


def test_a_model_written_anew_is_read_anew(
    tiny_model: Path, adapters: tuple[Path, Path], tmp_path: Path
) -> None:
    here = shutil.copytree(adapters[0], tmp_path / "run")
    side = LocalSide(tiny_model, here, here)
    models = Counting()
    load(models, [side])
    before = says(models, side)
    shutil.copytree(save(tiny_model, tmp_path / "later", 9), here, dirs_exist_ok=True)
    os.utime(here / "adapter_model.safetensors", ns=(1, 1))
    load(models, [side])
    assert says(models, side) != before
    assert models.read == [tiny_model]


def test_different_bases_are_loaded_beside_each_other_if_they_fit(
    tiny_model: Path, adapters: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tiny.make_model(tmp_path / "second", seed=8)
    sides = [LocalSide(tiny_model, adapters[0], adapters[0]), LocalSide(second, None, second)]
    models = Counting()
    load(models, sides)
    assert models.read == [tiny_model, second]
    assert all(says(models, side) for side in sides)
    load(models, sides[:1])
    assert len(models._all) == 1
    monkeypatch.setattr(devices, "memory", lambda device: (1000, 10**9))
    with pytest.raises(ModelError, match="don't fit into memory") as refused:
        load(models, sides)
    assert refused.value.next_step
    assert models._all == []
    monkeypatch.undo()
    load(models, sides)
    assert all(says(models, side) for side in sides)


def test_a_damaged_model_is_an_error_and_leaves_nothing_behind(
    tiny_model: Path, adapters: tuple[Path, Path], tmp_path: Path
) -> None:
    bad = shutil.copytree(adapters[0], tmp_path / "bad")
    config = json.loads((bad / "adapter_config.json").read_text())
    (bad / "adapter_config.json").write_text(json.dumps({**config, "r": 2}))
    models = Models()
    with pytest.raises(RuntimeError, match="size mismatch"):
        load(models, [LocalSide(tiny_model, bad, bad)])
    assert models._all == []
