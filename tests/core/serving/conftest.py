"""A tiny base model and an adapter that changes what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.serving import deployments, sockets
from tests.core.training import tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model(tmp_path_factory.mktemp("tiny") / "phi3")


@pytest.fixture(scope="session")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA of rank 4 with both of its matrices filled, and what a run saves beside it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter") / "model"
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tuned = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    tuned.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tiny_model / name, folder / name)
    (folder / "finetui.json").write_text(
        json.dumps({"base": "tiny", "base_revision": "", "system": "the lamp"})
    )
    return folder


@pytest.fixture(autouse=True, scope="session")
def sockets_swept() -> None:
    """Those that a session left which was killed."""
    sockets.sweep()


@pytest.fixture(autouse=True)
def sockets_removed() -> Iterator[None]:
    """The folders of Unix sockets lie outside a test's own folder; they go with it."""
    yield
    for item in deployments.all_deployments():
        if item.settings.sockets:
            sockets.remove_folder(Path(item.settings.sockets))
