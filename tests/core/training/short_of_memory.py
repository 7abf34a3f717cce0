"""Train a recipe in a fresh process that the system gives less memory from some step on.

python -P -m tests.core.training.short_of_memory RECIPE.yaml FOLDER STEP SHARE

After step STEP the process may take only SHARE of the memory that the steps so far have taken beside what stays
between them; the system refuses more (RLIMIT_AS). 0 sets no limit. Prints the run's events as JSON lines.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path

from core.devices import prepare_to_compute
from core.events import Event
from core.recipe import load
from tests.core.training.conftest import FolderRun
from tests.core.training.memory_probe import status


class LimitedRun(FolderRun):
    """A run whose process is given less memory from a step on."""

    def __init__(self, folder: Path, step: int, share: float) -> None:
        super().__init__(folder)
        self._from = step
        self._share = share

    def emit(self, event: Event) -> None:
        super().emit(event)
        if event.kind == "step" and event.step == self._from:  # type: ignore[attr-defined]
            now, most = status("VmSize"), status("VmPeak")
            limit = now + round(self._share * (most - now))
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def main() -> None:
    """Train, then print."""
    prepare_to_compute()
    from core.backends.local import LocalBackend

    run = LimitedRun(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    LocalBackend().train(load(Path(sys.argv[1])), run)
    for event in run.events:
        print(json.dumps({"kind": event.kind, **asdict(event)}))  # noqa: T201


if __name__ == "__main__":
    main()
