"""A model whose weights are spread over several devices (FSDP2: Zhao et al., 2023), computed, saved and loaded.

Each layer's weights come together only while it computes. Every rank has to take part in whatever the model does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from transformers import Trainer
from transformers.modeling_layers import GradientCheckpointingLayer

from core.training.cutting import AnyPack
from core.training.loss import bare_model
from core.training.objectives import Objective

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)
OPTIMIZER, SCHEDULER = "optimizer.pt", "scheduler.pt"


def shard(model: Any, device: torch.device, size: int) -> None:
    """Spread a model's weights over all ranks, layer by layer; those of a rank go to its device.

    Args:
        model: whole and the same on every rank, on the CPU; with a `ranks.doorway`.
        device: of this rank.
        size: ranks.
    """
    mesh = init_device_mesh(device.type, (size,))
    for part in model.modules():
        if isinstance(part, GradientCheckpointingLayer):
            fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "generate")
    bare = bare_model(model)
    bare._is_fsdp_managed_module = True  # so that all ranks generate equally many tokens
    bare._is_distributed_loading_by_transformers = True  # the Trainer's word for: leave it as it is


class Inside:
    """An objective that is computed inside the forward pass of a sharded model; an `Objective` itself.

    Args:
        model: sharded.
        objective: of the model.
    """

    def __init__(self, model: Any, objective: Objective) -> None:
        self._model = model
        self._objective = objective

    def tensors(self, pack: AnyPack, device: torch.device | None = None) -> dict[str, Any]:
        """As the objective's."""
        return self._objective.tensors(pack, device)

    def summed(self, batch: dict[str, Any]) -> torch.Tensor:
        """As the objective's."""
        loss: torch.Tensor = self._model(work=partial(self._objective.summed, batch))
        return loss

    def measure(self, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
        """As the objective's."""
        found: dict[str, float] = self._model(work=partial(self._objective.measure, batches))
        return found


def whole_weights(model: Any) -> dict[str, torch.Tensor]:
    """The weights that are saved, by name, on the CPU: an adapter's, or all. All ranks must call it."""
    adapter = hasattr(model, "peft_config")
    trained = {name for name, item in model.named_parameters() if item.requires_grad}
    return {
        name: _whole(value)
        for name, value in model.state_dict().items()
        if not adapter or name in trained  # the base is not saved with its adapter
    }


def _whole(value: torch.Tensor) -> torch.Tensor:
    full = value.full_tensor() if isinstance(value, DTensor) else value
    return full.detach().cpu()


def load_weights(model: Any, folder: Path) -> None:
    """Take up a checkpoint's weights, each rank its own parts."""
    if hasattr(model, "peft_config"):
        saved = load_file(folder / "adapter_model.safetensors")
        state = {name: saved[key] for key, name in _saved_names(model).items()}
    else:
        state = {
            key: value for file in folder.glob("*.safetensors") for key, value in load_file(file).items()
        }
    set_model_state_dict(model, state, options=WHOLE)


def _saved_names(model: Any) -> dict[str, str]:
    """peft's name of each adapter weight in a file -> the model's own; told apart by numbers that peft renames."""
    from peft.utils import get_peft_model_state_dict

    names = [name for name, item in model.named_parameters() if item.requires_grad]
    numbers = {name: torch.tensor([number]) for number, name in enumerate(names)}
    renamed = get_peft_model_state_dict(model, state_dict=numbers)
    return {key: names[int(number)] for key, number in renamed.items()}


@dataclass(frozen=True)
class Parts:
    """What of a sharded training is put together for a checkpoint, whole on rank 0.

    Args:
        weights: those that are saved, by name.
        optimizer: what the optimiser remembers.
        scheduler: where the schedule is.
    """

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]

    @classmethod
    def of(cls, trainer: Trainer) -> Parts:
        """Put them together; all ranks must."""
        remembered = get_optimizer_state_dict(trainer.model, trainer.optimizer, options=WHOLE)
        return cls(whole_weights(trainer.model), remembered, trainer.lr_scheduler.state_dict())

    def save(self, folder: Path) -> None:
        """Write them but for the weights."""
        torch.save(self.optimizer, folder / OPTIMIZER)
        torch.save(self.scheduler, folder / SCHEDULER)

    @staticmethod
    def load(trainer: Trainer, folder: Path) -> None:
        """Take them up, each rank its own parts."""
        state = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
        set_optimizer_state_dict(trainer.model, trainer.optimizer, state, options=WHOLE)
        trainer.lr_scheduler.load_state_dict(torch.load(folder / SCHEDULER, weights_only=True))
