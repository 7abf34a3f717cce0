"""PiSSA (Meng et al., 2024): LoRA that begins with the weights' own main directions, taken out of the base.

Since the base is changed, what is saved is a plain LoRA adapter for the unchanged base: the difference between the
products now and at first, which has twice the rank. A checkpoint holds the values themselves too, to go on from.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

VALUES = "pissa.safetensors"
ITERATIONS = 16
"""Of the randomised decomposition, which its authors found as good as the exact one from 16 on."""


class Pissa:
    """The first values of a model's adapter.

    Args:
        model: with a fresh LoRA adapter; its base is changed.
        record: file of the run with the first values, written at its first start and read when it is resumed.
    """

    def __init__(self, model: Any, record: Path) -> None:
        self._model = model
        layers = {name: part for name, part in model.named_modules() if isinstance(part, LoraLayer)}
        if not record.exists():
            for layer in layers.values():
                _decompose(layer)
            partial = record.with_suffix(".part")
            save_file(self._values(), partial)
            partial.chmod(0o600)
            partial.rename(record)
        self.first = load_file(record)
        set_peft_model_state_dict(model, self.first)
        for layer in layers.values():
            _take_out(layer)

    def _values(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = get_peft_model_state_dict(self._model)
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def save(self, folder: Path, final: bool) -> None:
        """Put the plain adapter in place of the one that peft has saved to a folder.

        Args:
            folder: of the adapter.
            final: nobody will go on training from it; else the values stand beside it.
        """
        from peft import PeftConfig

        now = self._values()
        if not final:
            save_file(now, folder / VALUES)
        plain = {name: _difference(name, value, self.first.get(name)) for name, value in now.items()}
        save_file(plain, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = PeftConfig.from_pretrained(str(folder))
        config.r *= 2
        config.lora_alpha *= math.sqrt(2) if config.use_rslora else 2
        config.save_pretrained(str(folder))

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint's values."""
        set_peft_model_state_dict(self._model, load_file(folder / VALUES))


def _parts(layer: Any) -> tuple[torch.nn.Linear, Tensor, Tensor, float]:
    (name,) = layer.active_adapters
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return layer.get_base_layer(), a, b, layer.scaling[name]


def _decompose(layer: Any) -> None:
    """The main directions of a layer's weights as its A and B."""
    base, a, b, scaling = _parts(layer)
    left, sizes, right = torch.svd_lowrank(base.weight.detach().float(), len(a), niter=ITERATIONS)
    roots = (sizes / scaling).sqrt()
    with torch.no_grad():
        a.copy_(roots[:, None] * right.T)
        b.copy_(left * roots)


def _take_out(layer: Any) -> None:
    """Subtract from the base what the adapter adds."""
    base, a, b, scaling = _parts(layer)
    with torch.no_grad():
        base.weight -= (scaling * (b.float() @ a.float())).to(base.weight.dtype)


def _difference(name: str, now: Tensor, first: Tensor | None) -> Tensor:
    """[A; A0] and [B, -B0]: their product is that of now less that of first. Other weights stay."""
    if first is None:
        return now
    if "lora_A" in name:
        return torch.cat([now, first], dim=0)
    return torch.cat([now, -first], dim=1) if "lora_B" in name else now
