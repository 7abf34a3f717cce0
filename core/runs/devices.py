"""Which device a run gets: the one its recipe names, else the one that is free soonest."""

from __future__ import annotations

from collections.abc import Callable

from core.devices import Gpu, gpus
from core.runs import queue
from core.runs.directory import RunError


def choose(wanted: str | None, available: Callable[[], list[Gpu]] = gpus) -> str:
    """The device for a recipe's `device`.

    Args:
        wanted: `cpu`, `cuda`, `cuda:N`, `cuda:<uuid>`, or None for the best there is. Without a number the GPU with
            the fewest runs before this one is taken, then the one with the most free memory.
        available: lists the GPUs.

    Raises:
        RunError: there is no such device here.
    """
    if wanted == "cpu":
        return "cpu"
    here = available()
    if wanted in (None, "auto", "cuda") and here:
        return min(here, key=lambda gpu: (_runs_before(gpu.device), -gpu.free_bytes)).device
    if wanted in (None, "auto"):
        return "cpu"
    for gpu in here:
        if wanted in (f"cuda:{gpu.index}", gpu.device):
            return gpu.device
    listed = ", ".join(f"cuda:{gpu.index} ({gpu.name})" for gpu in here)
    raise RunError(
        f"There is no device {wanted!r} here.",
        f"This machine offers cpu{', ' + listed if listed else ' and no GPU that finetui can see'}.",
        "Change `device` in the recipe, or leave it out to take the best there is.",
    )


def _runs_before(device: str) -> int:
    return len(queue.waiting(device)) + bool(queue.holder(device))
