"""What is written of a model: its trained weights, and all that is needed to use them as they were trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from core.data.model_files import TOKENIZER_FILES
from core.data.rendering import Renderer
from core.paths import write_private
from core.training.adapters import is_adapter
from core.training.base_model import BaseModel
from core.training.first_values import FirstValues
from core.training.inputs import Inputs


class Keeper:
    """Writes a run's checkpoints and its model.

    Args:
        model: what is trained.
        base: what it was trained from.
        renderer: of the run.
        inputs: whose facts a chat needs.
        task: of the recipe.
        first: where the adapter began with values of its own.
    """

    def __init__(
        self,
        model: Any,
        base: BaseModel,
        renderer: Renderer,
        inputs: Inputs,
        task: str,
        first: FirstValues | None,
    ) -> None:
        self._model = model
        self._base = base
        self._renderer = renderer
        self._inputs = inputs
        self._task = task
        self._first = first

    def save(self, folder: Path, final: bool = False, state: dict[str, Any] | None = None) -> None:
        """Write weights, tokenizer, template and generation settings.

        Args:
            folder: there, and empty.
            final: the model itself, not a checkpoint: whole weights are written in the base's own number format.
            state: the weights, where the model's own are spread over several devices.
        """
        if hasattr(self._model, "peft_config"):
            self._model.save_pretrained(folder, safe_serialization=True, state_dict=state)
            (folder / "README.md").unlink()  # peft's empty form of a model card
        else:
            self._save_whole(folder, final, state)
        if self._first is not None:
            self._first.save(folder, final)
        self._add_facts(folder)

    def _save_whole(self, folder: Path, final: bool, state: dict[str, Any] | None) -> None:
        dtype = AutoConfig.from_pretrained(self._base.folder, trust_remote_code=False).dtype
        if not final:
            self._model.save_pretrained(folder, state_dict=state)
            return
        # rounded or gathered, a head that is the embedding would be a copy of it
        tied = self._model.all_tied_weights_keys
        whole = {
            name: value if dtype is None else value.to(dtype)
            for name, value in (state or self._model.state_dict()).items()
            if name not in tied
        }
        self._model.save_pretrained(folder, state_dict=whole)
        if dtype in (None, torch.float32):
            return
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["dtype"] = str(dtype).removeprefix("torch.")
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> bool:
        """Take up a checkpoint's weights where the Trainer can't; whether that was so."""
        if self._first is None:
            return False
        self._first.load(folder)
        return True

    def _add_facts(self, folder: Path) -> None:
        _copy_tokenizer(self._base.folder, folder)
        template = self._renderer.template_text
        if template is not None:  # the recipe may name another than the base's own
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        if self._task != "classification":
            _write_generation_config(self._base.folder, folder, self._renderer)
        facts = {
            "base": self._base.name,
            "base_revision": self._base.revision,
            "system": self._inputs.system,
            "task": self._task,
            "labels": list(self._inputs.labels),
            "whole": not is_adapter(folder),
        }
        write_private(folder / "finetui.json", json.dumps(facts, indent=2).encode())


def _copy_tokenizer(base: Path, folder: Path) -> None:
    for name in TOKENIZER_FILES:
        if (base / name).exists():
            shutil.copyfile(base / name, folder / name)


def _write_generation_config(base: Path, folder: Path, renderer: Renderer) -> None:
    """The base's generation settings with the turn-end tokens among the ends, so that replies stop."""
    config = (
        GenerationConfig.from_pretrained(base)
        if (base / "generation_config.json").exists()
        else GenerationConfig.from_model_config(_base_config(base))
    )
    ends = config.eos_token_id
    known = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    config.eos_token_id = [
        *renderer.turn_end_ids,
        *(end for end in known if end not in renderer.turn_end_ids),
    ]
    if config.pad_token_id is None:
        config.pad_token_id = renderer.pad_id
    config.save_pretrained(folder)


def _base_config(base: Path) -> Any:
    return AutoConfig.from_pretrained(base, trust_remote_code=False)
