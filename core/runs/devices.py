"""Which devices a run gets: the one its recipe names, else those that are free soonest."""

from __future__ import annotations

from collections.abc import Callable

from core.devices import Gpu, gpus
from core.runs import queue
from core.runs.directory import RunError


def choose(wanted: str | None, count: int = 1, available: Callable[[], list[Gpu]] = gpus) -> tuple[str, ...]:
    """The devices for a recipe's `device` and `devices`, one for each process that trains.

    Args:
        wanted: `cpu`, `cuda`, `cuda:N`, `cuda:<uuid>`, or None for the best there is. Without a number the GPUs with
            the fewest runs before this one are taken, then those with the most free memory.
        count: how many; on the CPU all are the same one.
        available: lists the GPUs.

    Returns:
        In the order in which their locks are to be taken, which is the same for every run, so that no two runs wait
        for each other.

    Raises:
        RunError: there is no such device here, or there are not so many.
    """
    if wanted == "cpu":
        return ("cpu",) * count
    here = available()
    if wanted in (None, "auto", "cuda") and here:
        best = sorted(here, key=lambda gpu: (_runs_before(gpu.device), -gpu.free_bytes))[:count]
        if len(best) < count:
            raise _too_few(count, here)
        return tuple(sorted(gpu.device for gpu in best))
    if wanted in (None, "auto"):
        return ("cpu",) * count
    for gpu in here:
        if wanted in (f"cuda:{gpu.index}", gpu.device):
            return (gpu.device,)
    raise RunError(
        f"There is no device {wanted!r} here.",
        f"This machine offers cpu{', ' + _listed(here) if here else ' and no GPU that finetui can see'}.",
        "Change `device` in the recipe, or leave it out to take the best there is.",
    )


def _too_few(count: int, here: list[Gpu]) -> RunError:
    return RunError(
        f"There are no {count} GPUs here.",
        f"This machine offers {_listed(here)}.",
        f"Set `devices` to {len(here)} at most.",
    )


def _listed(here: list[Gpu]) -> str:
    return ", ".join(f"cuda:{gpu.index} ({gpu.name})" for gpu in here)


def _runs_before(device: str) -> int:
    return len(queue.waiting(device)) + bool(queue.holder(device))
