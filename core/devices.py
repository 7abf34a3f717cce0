"""What this machine computes on, asked of NVIDIA's management library and psutil, so that torch is not needed to know.

A device is named `cpu` or `cuda:<uuid>`; the uuid stays the same whatever CUDA_VISIBLE_DEVICES makes of the numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import FinetuiError


class DeviceError(FinetuiError):
    """The GPUs can't be listed."""


@dataclass(frozen=True)
class Gpu:
    """A GPU this process may use; `index` is its number among those it may use, as `cuda:N` counts. Sizes in bytes."""

    index: int
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int

    @property
    def device(self) -> str:
        return f"cuda:{self.uuid}"


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU.

    Args:
        pid: its number on this machine; in a container it may be another one than here.
        name: of its program; empty where it can't be seen from here.
        bytes: of the GPU's memory that it holds; None where the driver doesn't say.
    """

    pid: int
    name: str
    bytes: int | None

    @property
    def words(self) -> str:
        """`pid 7 python, 1.5 GB`."""
        held = "memory unknown" if self.bytes is None else f"{self.bytes / 1e9:.1f} GB"
        return f"pid {self.pid} {self.name or '(not to be seen from here)'}, {held}"


@contextmanager
def _library() -> Iterator[Any]:
    """NVIDIA's management library, or None where there is no driver.

    Raises:
        DeviceError: it fails while it is used.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise DeviceError(
            "The GPUs can't be listed.",
            f"NVIDIA's management library says: {error}.",
            "Check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or set `device: cpu` in the recipe.",
        ) from error
    finally:
        pynvml.nvmlShutdown()


def gpus() -> list[Gpu]:
    """The GPUs this process may use, in CUDA's order; none where there is no NVIDIA driver.

    CUDA_VISIBLE_DEVICES is honoured as CUDA reads it: numbers or uuids (their beginnings too), the list ends at
    the first entry that names no GPU.

    Raises:
        DeviceError: the driver is there and can't list them.
    """
    with _library() as pynvml:
        if pynvml is None:
            return []
        setting = os.environ.get("CUDA_VISIBLE_DEVICES")
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        found = [_gpu(pynvml, index, handle) for index, handle in enumerate(handles)]
        for word in (setting or "").split(","):
            if word.strip().startswith("MIG-"):  # a slice of a GPU has no number, only its uuid
                found.append(_gpu(pynvml, -1, pynvml.nvmlDeviceGetHandleByUUID(word.strip())))
    return visible(found, setting)


def processes(device: str) -> list[GpuProcess]:
    """The processes that compute on a GPU, the one that holds most first; none where the driver doesn't tell.

    Args:
        device: `cuda:<uuid>`.

    Raises:
        DeviceError: there is no such GPU.
    """
    with _library() as pynvml:
        if pynvml is None:
            return []
        handle = pynvml.nvmlDeviceGetHandleByUUID(device.removeprefix("cuda:"))
        try:
            running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_NoPermission):
            return []
    found = [GpuProcess(item.pid, _program(item.pid), item.usedGpuMemory) for item in running]
    return sorted(found, key=lambda item: -(item.bytes or 0))


def _program(pid: int) -> str:
    import psutil

    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return ""


def _gpu(pynvml: Any, index: int, handle: Any) -> Gpu:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        index, pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle), memory.total, memory.free
    )


def visible(found: list[Gpu], setting: str | None) -> list[Gpu]:
    """The GPUs that a value of CUDA_VISIBLE_DEVICES leaves, numbered anew; all when it is None."""
    if setting is None:
        return found
    chosen: list[Gpu] = []
    for word in (word.strip() for word in setting.split(",")):
        if word.isdigit():
            match = [gpu for gpu in found if gpu.index == int(word)]
        else:
            match = [gpu for gpu in found if word and gpu.uuid.startswith(word)]
        if len(match) != 1 or match[0].uuid in {gpu.uuid for gpu in chosen}:
            break
        gpu = match[0]
        chosen.append(Gpu(len(chosen), gpu.uuid, gpu.name, gpu.total_bytes, gpu.free_bytes))
    return chosen


def memory(device: str) -> tuple[int, int]:
    """(free, total) bytes of a device's memory; for the CPU what this machine can still give to a process.

    In a container the limit of its memory control group counts when it is lower than the machine's.
    """
    for gpu in gpus():
        if gpu.device == device:
            return gpu.free_bytes, gpu.total_bytes
    import psutil

    machine = psutil.virtual_memory()
    free, total = int(machine.available), int(machine.total)
    limit = _group_limit()
    if limit is not None and limit[1] < total:
        return min(free, limit[0]), limit[1]
    return free, total


def _group_limit() -> tuple[int, int] | None:
    """(free, limit) bytes of this process's control group, version 2; None where there is no limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except OSError:
        return None
    return (int(limit) - used, int(limit)) if limit.isdigit() else None


def prepare_to_compute() -> None:
    """Settings of the libraries below torch that make training faster. Call before torch is imported.

    Values set by the user stay. OpenMP's threads wait for each other by spinning, by default for milliseconds:
    where other processes want the same cores (a chat beside a training, two runs), that takes the cores from the
    very threads that are waited for. They spin briefly, then sleep (`python -m tests.benchmarks cores`). Memory of
    freed tensors is kept for the next ones (tests/benchmarks/LOG.md).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Have glibc take large tensors from its heap and not give the heap's end back after each (mallopt(3)).

    Other C libraries stay as they are.
    """
    import ctypes
    import platform

    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_threshold = -1, -3
    library = ctypes.CDLL(None)
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        library.mallopt(mmap_threshold, 32 << 20)  # the most that glibc takes
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        library.mallopt(trim_threshold, 2**31 - 1)
