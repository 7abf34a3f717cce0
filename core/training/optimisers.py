"""Optimisers of a recipe: the Trainer's own by name, LoRA+'s groups, and Muon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

NAMES = {
    "adamw": "adamw_torch",
    "adamw_8bit": "adamw_8bit",
    "adafactor": "adafactor",
    "lion": "lion_32bit",
    "lion_8bit": "lion_8bit",
    "sgd": "sgd",
    "muon": "adamw_torch",
}
"""The Trainer's names. It has none for Muon, whose place `make_muon` takes."""

NOT_FOR_MUON = ("embed_tokens", "lm_head", "score")


def name(optimizer: str, cpu: bool) -> str:
    """The Trainer's name for a recipe's optimiser: on a GPU AdamW is one kernel, which makes no second moments anew."""
    return "adamw_torch_fused" if optimizer == "adamw" and not cpu else NAMES[optimizer]


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for hidden matrices and AdamW for all else, as Muon's authors have it (Jordan et al., 2024).

    Args:
        named: (name, parameter) of all that is trained.
        lr: AdamW's learning rate; Muon's steps are scaled to be as large (arXiv 2502.16982).
        weight_decay: of both.
    """

    def __init__(self, named: list[tuple[str, torch.nn.Parameter]], lr: float, weight_decay: float) -> None:
        matrices = [item for name, item in named if _is_for_muon(name, item)]
        others = [item for name, item in named if not _is_for_muon(name, item)]
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(
                torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            )
        if others:
            self._parts.append(torch.optim.AdamW(others, lr=lr, weight_decay=weight_decay))
        super().__init__([item for _, item in named], {"lr": lr})
        self._share_groups()

    def _share_groups(self) -> None:
        """The groups of the parts are this optimiser's own, so that a schedule reaches them."""
        self.param_groups = [group for part in self._parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of both."""
        loss = closure() if closure is not None else None
        for part in self._parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """What both remember."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what both remembered."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()


def _is_for_muon(name: str, parameter: torch.nn.Parameter) -> bool:
    return parameter.ndim == 2 and not any(part in name for part in NOT_FOR_MUON)


def make_muon(model: Any, lr: float, weight_decay: float) -> MuonWithAdamW:
    """Muon with AdamW over what a model trains."""
    named = [(name, item) for name, item in model.named_parameters() if item.requires_grad]
    return MuonWithAdamW(named, lr, weight_decay)


def make_lora_plus(
    model: Any, kind: type[torch.optim.Optimizer], options: dict[str, Any], ratio: float, weight_decay: float
) -> torch.optim.Optimizer:
    """An optimiser whose learning rate for LoRA's B is `ratio` times that for A (Hayou et al., 2024).

    Args:
        model: with a LoRA adapter.
        kind: class of the optimiser.
        options: its arguments, the learning rate `lr` of A among them.
        ratio: of the two learning rates.
        weight_decay: of both.
    """
    from peft.optimizers import create_loraplus_optimizer

    rest = {name: value for name, value in options.items() if name != "lr"}
    optimizer: torch.optim.Optimizer = create_loraplus_optimizer(
        model,
        kind,
        lr=options["lr"],
        loraplus_lr_ratio=ratio,
        loraplus_weight_decay=weight_decay,
        loraplus_lr_embedding=options["lr"],
        **rest,
    )
    return optimizer
