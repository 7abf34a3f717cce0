"""Where a model computes and in which number format: the same for a chat's models and for those that are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core import devices

if TYPE_CHECKING:
    import torch

VALUE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""What torch calls them."""


def place() -> tuple[torch.device, str]:
    """The GPU with most free memory, else the CPU, and `fp32`, `bf16` or `fp16` for there. Loads torch.

    Raises:
        AdapterError: torch does not see the GPU.
    """
    devices.prepare_to_compute()
    from core.recipe import build
    from core.training.adapters import choose_precision, use_device

    free = [gpu for gpu in devices.gpus() if gpu.free_bytes > 0]
    device = use_device(max(free, key=lambda gpu: gpu.free_bytes).device if free else "cpu")
    return device, choose_precision(build({"model": "-", "data": "-"}), device)


def expected_precision() -> str:
    """What `place` will choose, without torch: every GPU that torch still supports computes in bf16."""
    return "bf16" if devices.gpus() else "fp32"
