"""The devices a recipe would get now, what stands against them, and what each of several has to hold."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from core import devices
from core.backends.base import RecipeProblem
from core.devices import Gpu
from core.recipe import Recipe
from core.work import Estimate

SHOWN_PROCESSES = 3


def planned_devices(recipe: Recipe) -> tuple[str, ...]:
    """The devices that would be taken now, one for each process; the worker decides anew when it starts.

    A GPU that is not there is named all the same: `device_problems` refuses it.
    """
    here = devices.gpus()
    count: int = recipe.value("devices")
    if recipe.device == "cpu" or (recipe.device is None and not here):
        return ("cpu",) * count
    if recipe.device is None or recipe.device == "cuda":
        freest = sorted(here, key=lambda gpu: -gpu.free_bytes)[:count]
        return tuple(gpu.device for gpu in freest) or ("cuda",)
    number = int(recipe.device.partition(":")[2])
    return (here[number].device if number < len(here) else recipe.device,)


def device_problems(recipe: Recipe, chosen: tuple[str, ...]) -> list[RecipeProblem]:
    """What stands against a recipe's devices.

    Args:
        recipe: with its `device` and `devices`.
        chosen: as `planned_devices` gives them.
    """
    problems = []
    here = devices.gpus()
    count = recipe.value("devices")
    listed = ", ".join(f"cuda:{gpu.index} ({gpu.name})" for gpu in here) or "no GPU"
    if chosen[0] == "cpu":
        problems += _cpu_problems(recipe, count)
    elif not set(chosen) <= {gpu.device for gpu in here}:
        problems.append(
            RecipeProblem(
                "error",
                "device",
                f"There is no `{recipe.device}` here; this machine has {listed}.",
                "Change `device`, or leave it out to take the best there is.",
            )
        )
    elif len(chosen) < count:
        problems.append(
            RecipeProblem(
                "error",
                "devices",
                f"There are no {count} GPUs here; this machine has {listed}.",
                f"Set `devices` to {len(chosen)} at most.",
            )
        )
    if recipe.value("nodes") > 1:
        problems += _meeting_problems()
    return problems + [_company(gpu, busy) for gpu, busy in _busy(here, chosen)]


def _cpu_problems(recipe: Recipe, count: int) -> list[RecipeProblem]:
    problems = []
    if recipe.precision == "fp16":
        problems.append(
            RecipeProblem("error", "precision", "fp16 does not train on a CPU.", "Use fp32, or leave it out.")
        )
    if count > 1:
        problems.append(
            RecipeProblem(
                "warning",
                "devices",
                f"{count} processes share this machine's CPU: no faster than one, and each holds its own model.",
                "Leave `devices` out, unless you want to try how several work together.",
            )
        )
    return problems


def _meeting_problems() -> list[RecipeProblem]:
    from core.training.nodes import NodeError, address

    try:
        address()
    except NodeError as error:
        return [RecipeProblem("error", "nodes", f"{error.what} {error.cause}", error.next_step)]
    return []


def _busy(here: list[Gpu], chosen: tuple[str, ...]) -> list[tuple[Gpu, list[devices.GpuProcess]]]:
    """Those of the chosen GPUs on which others compute, and who they are."""
    found = [(gpu, devices.processes(gpu.device)) for gpu in here if gpu.device in chosen]
    return [(gpu, busy) for gpu, busy in found if busy]


def _company(gpu: Gpu, busy: list[devices.GpuProcess]) -> RecipeProblem:
    shown = ", ".join(process.words for process in busy[:SHOWN_PROCESSES])
    rest = f" and {len(busy) - SHOWN_PROCESSES} more" if len(busy) > SHOWN_PROCESSES else ""
    return RecipeProblem(
        "warning",
        "device",
        f"Others compute on cuda:{gpu.index} ({gpu.name}): {shown}{rest}. "
        f"{gpu.free_bytes / 1e9:.1f} of {gpu.total_bytes / 1e9:.1f} GB are free.",
        "What they hold this run can't have, and they slow each other down; end them, or name another `device`.",
    )


def on_each(sizes: Estimate, recipe: Recipe, chosen: tuple[str, ...], folder: Path) -> Estimate:
    """An estimate as it is for each of several devices: the least that one has free, and with `fsdp` its part.

    With `fsdp` a device holds its part of every layer and of the optimiser, and whole what is outside the layers and
    two layers at a time. On a CPU all processes draw on one memory, and each loads the whole model first.

    Args:
        sizes: for one device.
        recipe: with its `devices` and `sharding`.
        chosen: the devices.
        folder: of the base model.
    """
    count = len(chosen)
    if count == 1:
        return sizes
    on_cpu = chosen[0] == "cpu"
    free = sizes.available_bytes // count if on_cpu else min(devices.memory(one)[0] for one in chosen)
    if recipe.value("sharding") != "fsdp":
        return replace(sizes, available_bytes=free)
    from core.training.memory import read_shape

    shape = read_shape(folder)
    layers = sizes.weights_bytes * shape.linear_weights // shape.parameters
    weights = sizes.weights_bytes - layers + math.ceil(layers / count) + 2 * layers // shape.layers
    weights, adapter = min(weights, sizes.weights_bytes), math.ceil(sizes.adapter_bytes / count)
    computing = sizes.process_bytes + weights + adapter + sizes.activation_bytes + sizes.head_bytes
    loading = sizes.loading_bytes if on_cpu else 0
    return replace(
        sizes,
        available_bytes=free,
        weights_bytes=weights,
        adapter_bytes=adapter,
        loading_bytes=loading,
        peak_bytes=max(computing, sizes.process_bytes + loading),
    )
