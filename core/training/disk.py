"""Telling a full disk from other failures, whichever library reports it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT}
NEARLY_FULL_BYTES = 1 << 20


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Whether a failed write failed for want of space.

    Python's own writes carry an errno, safetensors names it in its message, and torch's zip writer says only
    that it failed: then the space left on the folder's disk decides.
    """
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    text = str(error)
    if "No space left on device" in text or "os error 28" in text or "Disk quota exceeded" in text:
        return True
    return "PytorchStreamWriter" in text and shutil.disk_usage(folder).free < NEARLY_FULL_BYTES
