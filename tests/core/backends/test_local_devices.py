"""Several devices in the plan: what is chosen, what stands against it, what each holds. The GPUs are made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core import devices
from core.backends.local import LocalBackend
from core.backends.local_devices import device_problems, planned_devices
from core.devices import Gpu, GpuProcess
from core.recipe import Recipe

MakeRecipe = Callable[..., Recipe]
GB = 1_000_000_000
GPUS = [Gpu(0, "GPU-aa", "A", 80 * GB, 10 * GB), Gpu(1, "GPU-bb", "B", 80 * GB, 70 * GB)]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {gpu.device: (gpu.free_bytes, gpu.total_bytes) for gpu in GPUS}
    busy = {"cuda:GPU-aa": [GpuProcess(77, "vllm", 69 * GB), GpuProcess(78, "", None)], "cuda:GPU-bb": []}
    monkeypatch.setattr(devices, "gpus", lambda: GPUS)
    monkeypatch.setattr(devices, "memory", free.__getitem__)
    monkeypatch.setattr(devices, "processes", busy.__getitem__)


def problems(recipe: Recipe) -> list[Any]:
    return device_problems(recipe, planned_devices(recipe))


@pytest.mark.usefixtures("two_gpus")
def test_others_on_a_chosen_gpu_are_named(make_recipe: MakeRecipe) -> None:
    assert problems(make_recipe()) == []  # the freer one is free of others
    (found,) = problems(make_recipe(device="cuda:0"))
    assert (found.severity, found.key) == ("warning", "device")
    assert "cuda:0 (A): pid 77 vllm, 69.0 GB, pid 78 (not to be seen from here)" in found.sentence
    assert "10.0 of 80.0 GB are free" in found.sentence
    assert problems(make_recipe(devices=2)) == [found]


@pytest.mark.usefixtures("two_gpus")
def test_more_gpus_than_there_are_is_an_error(make_recipe: MakeRecipe) -> None:
    found = next(item for item in problems(make_recipe(devices=3)) if item.severity == "error")
    assert (found.key, found.fix) == ("devices", "Set `devices` to 2 at most.")


@pytest.mark.usefixtures("two_gpus")
def test_each_gpu_has_to_hold_it_or_its_part(make_recipe: MakeRecipe) -> None:
    def sizes(**changes: Any) -> Any:
        found = LocalBackend().check(make_recipe(**changes)).estimate
        assert found is not None
        return found

    one, ddp, fsdp = sizes(), sizes(devices=2), sizes(devices=2, sharding="fsdp")
    assert (one.available_bytes, ddp.available_bytes, fsdp.available_bytes) == (70 * GB, 10 * GB, 10 * GB)
    assert ddp.weights_bytes == one.weights_bytes
    assert ddp.steps == one.steps
    assert ddp.tokens == pytest.approx(2 * one.tokens, rel=0.01)
    full = [sizes(method="full", devices=2, sharding=sharding) for sharding in ("ddp", "fsdp")]
    assert full[1].adapter_bytes == pytest.approx(full[0].adapter_bytes / 2, abs=1)
    assert full[1].peak_bytes < full[0].peak_bytes


def test_processes_that_share_a_cpu_are_warned_of_and_share_its_memory(make_recipe: MakeRecipe) -> None:
    (found,) = problems(make_recipe(device="cpu", devices=2))
    assert (found.severity, found.key) == ("warning", "devices")
    assert "no faster than one" in found.sentence
    alone, both = (
        LocalBackend().check(make_recipe(device="cpu", devices=count)).estimate for count in (1, 2)
    )
    assert alone is not None
    assert both is not None
    assert both.available_bytes == pytest.approx(alone.available_bytes / 2, rel=0.05)
