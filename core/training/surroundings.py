"""What makes two computations the same bit for bit: the random state, and the machine and versions they run on."""

from __future__ import annotations

import json
import platform
import random
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.paths import write_private

FILE = "surroundings.json"
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "numpy")


@dataclass(frozen=True)
class RandomState:
    """The state of every generator that training draws from."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: torch.Tensor | None

    @classmethod
    def now(cls) -> RandomState:
        """The state at this moment."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Go back to it."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)


def surroundings(device: torch.device) -> dict[str, str]:
    """What a number depends on beside the recipe: versions, processor, threads."""
    found = {name: version(name) for name in LIBRARIES}
    if device.type == "cuda":
        return found | {"GPU": torch.cuda.get_device_name(device)}
    return found | {"processor": _processor(), "threads": str(torch.get_num_threads())}


def write_surroundings(folder: Path, device: torch.device, budget: int) -> None:
    """Put them, and the tokens computed at once, beside a checkpoint."""
    record = {"token_budget": budget, "surroundings": surroundings(device)}
    write_private(folder / FILE, json.dumps(record, indent=2).encode())


def read_budget(checkpoint: Path) -> int | None:
    """The tokens computed at once when a checkpoint was written; None in one from before that was kept."""
    budget = _record(checkpoint).get("token_budget")
    return int(budget) if budget is not None else None


def differences(checkpoint: Path, device: torch.device) -> list[str]:
    """How the surroundings differ from those of a checkpoint, in words."""
    before, now = _record(checkpoint).get("surroundings", {}), surroundings(device)
    names = [name for name in before if now.get(name) != before[name]]
    return [f"{name} {now.get(name, 'none')} instead of {before[name]}" for name in names]


def _record(checkpoint: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((checkpoint / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
