"""Train a recipe in a fresh process and print how much memory it took above what the imports took, as JSON.

python -P -m tests.core.training.memory_probe RECIPE.yaml FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from core.devices import prepare_to_compute
from core.recipe import load


def status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    raise KeyError(name)


def main() -> None:
    """Train, then print."""
    prepare_to_compute()
    import core.training.job  # noqa: F401 - what a worker imports
    from core.backends.local import LocalBackend
    from tests.core.training.conftest import FolderRun

    before = status("VmHWM")
    run = FolderRun(Path(sys.argv[2]))
    LocalBackend().train(load(Path(sys.argv[1])), run)
    print(json.dumps({"imports": before, "above": status("VmHWM") - before}))  # noqa: T201


if __name__ == "__main__":
    main()
