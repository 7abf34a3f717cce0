"""Choosing a device as CUDA would see it. The GPUs here are made up: their listing has not been run on a GPU."""

from __future__ import annotations

import pytest

from core import devices
from core.devices import Gpu, visible
from core.runs import queue
from core.runs.devices import choose
from core.runs.directory import RunError

GPUS = [
    Gpu(0, "GPU-aaaa1111", "A", 80, 10),
    Gpu(1, "GPU-aaaa2222", "B", 80, 70),
    Gpu(2, "GPU-bbbb3333", "C", 80, 60),
]


@pytest.mark.parametrize(
    ("setting", "uuids"),
    [
        (None, ["GPU-aaaa1111", "GPU-aaaa2222", "GPU-bbbb3333"]),
        ("", []),
        ("-1", []),
        ("2,0", ["GPU-bbbb3333", "GPU-aaaa1111"]),
        ("0,-1,1", ["GPU-aaaa1111"]),
        ("0,7,1", ["GPU-aaaa1111"]),
        ("0,0", ["GPU-aaaa1111"]),
        ("GPU-bbbb", ["GPU-bbbb3333"]),
        ("GPU-aaaa", []),  # fits two
        ("GPU-aaaa2222, 0", ["GPU-aaaa2222", "GPU-aaaa1111"]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_does(setting: str | None, uuids: list[str]) -> None:
    seen = visible(GPUS, setting)
    assert [gpu.uuid for gpu in seen] == uuids
    assert [gpu.index for gpu in seen] == list(range(len(uuids)))


def test_the_best_device_is_the_freest_gpu_else_the_cpu() -> None:
    assert choose(None, available=lambda: GPUS) == ("cuda:GPU-aaaa2222",)
    assert choose("cuda", available=lambda: GPUS) == ("cuda:GPU-aaaa2222",)
    assert choose("cuda:2", available=lambda: GPUS) == ("cuda:GPU-bbbb3333",)
    assert choose("cuda:GPU-aaaa1111", available=lambda: GPUS) == ("cuda:GPU-aaaa1111",)
    assert choose("cpu", available=lambda: GPUS) == ("cpu",)
    assert choose(None, available=list) == ("cpu",)


def test_a_gpu_that_is_taken_comes_after_a_free_one() -> None:
    lock = queue.acquire("cuda:GPU-aaaa2222", "other", 1, lambda *_: None, lambda: False)
    assert lock is not None
    assert choose(None, available=lambda: GPUS) == ("cuda:GPU-bbbb3333",)
    lock.release()
    assert choose(None, available=lambda: GPUS) == ("cuda:GPU-aaaa2222",)


def test_several_gpus_come_in_one_order_whichever_are_freest() -> None:
    assert choose(None, 2, lambda: GPUS) == ("cuda:GPU-aaaa2222", "cuda:GPU-bbbb3333")
    freer = [Gpu(gpu.index, gpu.uuid, gpu.name, 80, 80 - gpu.free_bytes) for gpu in GPUS]
    assert choose("cuda", 2, lambda: freer) == ("cuda:GPU-aaaa1111", "cuda:GPU-bbbb3333")
    assert choose("cuda", 3, lambda: freer) == choose(None, 3, lambda: GPUS)
    assert choose("cpu", 2, lambda: GPUS) == choose(None, 2, list) == ("cpu", "cpu")


def test_more_gpus_than_there_are_is_refused() -> None:
    with pytest.raises(RunError, match="no 4 GPUs") as refused:
        choose(None, 4, lambda: GPUS)
    assert "`devices` to 3" in refused.value.next_step


@pytest.mark.parametrize("wanted", ["cuda:3", "cuda:GPU-none", "tpu"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(wanted: str) -> None:
    with pytest.raises(RunError, match="no device") as refused:
        choose(wanted, available=lambda: GPUS)
    assert "cuda:1 (B)" in refused.value.cause
    with pytest.raises(RunError) as refused:
        choose(wanted, available=list)
    assert "no GPU" in refused.value.cause


def test_listing_never_fails_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def no_driver() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert devices.gpus() == []
