"""LoRA that begins with values of its own, PiSSA's or LoftQ's, where plain LoRA adds nothing at first.

What is saved is a plain LoRA adapter for the exact, unchanged base: the difference between the products now and at
first, which has twice the rank. With PiSSA that is what was trained; with LoftQ it is what was learned beyond making
up for the 4-bit weights, for a base that has no need of that. LoftQ's adapter as it was trained stands in a folder
beside it, a plain one too, for the base in 4 bits.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.training import pissa
from core.training.saved import ADAPTER_FILES, ADAPTER_WEIGHTS, ON_NF4

VALUES = "pissa.safetensors"
"""Of a checkpoint: what to go on from."""


class FirstValues:
    """The first values of a model's adapter.

    Args:
        model: with a fresh LoRA adapter; PiSSA changes its base.
        init: as the recipe has it; with loftq the base is in 4 bits.
        base: folder of its exact weights.
        record: file of the run with the first values, written at its first start and read when it is resumed.

    Raises:
        AdapterError: LoftQ can't find the exact weights.
    """

    def __init__(self, model: Any, init: Literal["pissa", "loftq"], base: Path, record: Path) -> None:
        self._model = model
        self._init = init
        layers = [part for part in model.modules() if isinstance(part, LoraLayer)]
        if not record.exists():
            if init == "pissa":
                pissa.decompose(layers)
            else:
                from core.training import loftq

                loftq.decompose(model, base)
            partial = record.with_suffix(".part")
            save_file(self._values(), partial)
            partial.chmod(0o600)
            partial.rename(record)
        self.first = load_file(record)
        set_peft_model_state_dict(model, self.first)
        if init == "pissa":
            pissa.take_out(layers)

    def _values(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = get_peft_model_state_dict(self._model)
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def save(self, folder: Path, final: bool) -> None:
        """Put the adapter for the exact base in place of the one that peft has saved to a folder.

        Args:
            folder: of the adapter.
            final: nobody will go on training from it.
        """
        from peft import PeftConfig

        now = self._values()
        config = PeftConfig.from_pretrained(str(folder))
        if self._init == "loftq":
            (folder / ON_NF4).mkdir(mode=0o700)
            for name in ADAPTER_FILES:
                (folder / name).rename(folder / ON_NF4 / name)
        elif not final:
            save_file(now, folder / VALUES)
        plain = {name: _difference(name, value, self.first.get(name)) for name, value in now.items()}
        save_file(plain, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        config.r *= 2
        config.lora_alpha *= math.sqrt(2) if config.use_rslora else 2
        config.save_pretrained(str(folder))

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint's values."""
        values = folder / ON_NF4 / ADAPTER_WEIGHTS if self._init == "loftq" else folder / VALUES
        set_peft_model_state_dict(self._model, load_file(values))


def _difference(name: str, now: Tensor, first: Tensor | None) -> Tensor:
    """[A; A0] and [B, -B0]: their product is that of now less that of first. Other weights stay."""
    if first is None:
        return now
    if "lora_A" in name:
        return torch.cat([now, first], dim=0)
    return torch.cat([now, -first], dim=1) if "lora_B" in name else now
