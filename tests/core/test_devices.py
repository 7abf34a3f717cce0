"""Which GPUs and how much memory this process may use. The GPUs are made up; on a machine with one the last test
asks the real library."""

from __future__ import annotations

import os
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from core import devices
from core.devices import DeviceError, Gpu, GpuProcess, gpus, memory, processes, visible

GPUS = [Gpu(0, "GPU-aa11", "A", 80, 10), Gpu(1, "GPU-aa22", "B", 80, 70), Gpu(2, "GPU-bb33", "C", 80, 60)]
SLICE = Gpu(-1, "MIG-cc44", "C MIG 1g", 20, 15)


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        (None, "ABC"),
        ("0,1,2", "ABC"),
        ("2,0", "CA"),
        (" 1 , 2 ", "BC"),
        ("", ""),
        (" ", ""),
        ("-1", ""),
        ("NoDevFiles", ""),
        ("1,-1,0", "B"),
        ("1,9,0", "B"),
        ("1,,0", "B"),
        ("1,x,0", "B"),
        ("0,0,1", "A"),
        ("GPU-aa22", "B"),
        ("GPU-b", "C"),
        ("GPU-aa", ""),  # fits two
        ("GPU-zz,0", ""),
        ("gpu-aa22", ""),
        ("GPU-bb33,0", "CA"),
        ("GPU-aa11,0", "A"),
    ],
)
def test_the_setting_is_read_as_cuda_reads_it(setting: str | None, names: str) -> None:
    seen = visible(GPUS, setting)
    assert "".join(gpu.name for gpu in seen) == names
    assert [gpu.index for gpu in seen] == list(range(len(names)))  # numbered anew
    for gpu in seen:
        assert (gpu.uuid, gpu.free_bytes) in {(one.uuid, one.free_bytes) for one in GPUS}


def test_a_slice_of_a_gpu_is_named_by_its_uuid() -> None:
    (seen,) = visible([*GPUS, SLICE], "MIG-cc44")
    assert (seen.index, seen.device) == (0, "cuda:MIG-cc44")


class Library:
    """Stands for pynvml: as many GPUs as asked for, or an error at one of its calls."""

    NVMLError = pynvml.NVMLError

    def __init__(self, count: int = 2, fails: str = "") -> None:
        self.count, self.fails, self.open = count, fails, 0

    def _step(self, name: str) -> None:
        if name == self.fails:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)

    def nvmlInit(self) -> None:  # noqa: N802
        self._step("init")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        self._step("handle")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        self._step("uuid")
        return 100

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        self._step("memory")
        return SimpleNamespace(total=80, free=80 - handle)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        if self.fails == "silent":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        self._step("processes")
        return [
            SimpleNamespace(pid=2**22 + 1, usedGpuMemory=None),
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=1_500_000_000),
        ]

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}{handle}" if handle < 100 else "MIG-77"

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return f"number {handle}"


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> object:
    def use(made: Library) -> Library:
        for name in dir(made):
            if name.startswith("nvml"):
                monkeypatch.setattr(pynvml, name, getattr(made, name))
        return made

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return use


def test_gpus_are_listed_with_their_memory_and_the_library_is_closed(library: object) -> None:
    made = library(Library())  # type: ignore[operator]
    assert gpus() == [Gpu(0, "GPU-00", "number 0", 80, 80), Gpu(1, "GPU-11", "number 1", 80, 79)]
    assert memory("cuda:GPU-11") == (79, 80)
    assert made.open == 0


def test_the_environment_s_choice_is_honoured(library: object, monkeypatch: pytest.MonkeyPatch) -> None:
    library(Library())  # type: ignore[operator]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.device for gpu in gpus()] == ["cuda:GPU-11"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-77")
    assert [gpu.device for gpu in gpus()] == ["cuda:MIG-77"]


def test_without_a_driver_there_are_none(library: object) -> None:
    library(Library(fails="init"))  # type: ignore[operator]
    assert gpus() == []


@pytest.mark.parametrize("step", ["handle", "memory", "uuid"])
def test_a_driver_that_fails_is_told_in_three_parts(
    library: object, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    made = library(Library(fails=step))  # type: ignore[operator]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-77")
    with pytest.raises(DeviceError) as refused:
        gpus()
    assert refused.value.cause
    assert "nvidia-smi" in refused.value.next_step
    assert made.open == 0


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, (60, 100)), ((10, 50), (10, 50)), ((70, 90), (60, 90)), ((500, 1000), (60, 100))],
)
def test_a_container_s_limit_counts_when_it_is_lower(
    library: object,
    monkeypatch: pytest.MonkeyPatch,
    limit: tuple[int, int] | None,
    expected: tuple[int, int],
) -> None:
    library(Library(fails="init"))  # type: ignore[operator]
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=60, total=100))
    monkeypatch.setattr(devices, "_group_limit", lambda: limit)
    assert memory("cpu") == expected


def test_processes_on_a_gpu_are_named_with_what_they_hold(library: object) -> None:
    used = library(Library())  # type: ignore[operator]
    mine, other = processes("cuda:GPU-00")
    assert mine == GpuProcess(os.getpid(), psutil.Process().name(), 1_500_000_000)
    assert mine.words.endswith(f"{mine.name}, 1.5 GB")
    assert (other.name, other.bytes) == ("", None)
    assert "memory unknown" in other.words
    assert used.open == 0


@pytest.mark.parametrize("fails", ["silent", "init"])
def test_a_driver_that_does_not_tell_of_processes_is_no_error(fails: str, library: object) -> None:
    library(Library(fails=fails))  # type: ignore[operator]
    assert processes("cuda:GPU-00") == []


@pytest.mark.parametrize("fails", ["uuid", "processes"])
def test_a_driver_that_fails_to_list_processes_is_one(fails: str, library: object) -> None:
    used = library(Library(fails=fails))  # type: ignore[operator]
    with pytest.raises(DeviceError, match="can't be listed"):
        processes("cuda:GPU-00")
    assert used.open == 0


def test_this_machine_has_memory() -> None:
    free, total = memory("cpu")
    assert 0 < free <= total
    for gpu in gpus():
        assert 0 < gpu.free_bytes <= gpu.total_bytes
        assert gpu.uuid
