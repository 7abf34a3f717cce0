"""`python -m tests.benchmarks [NAME ...]`: run all, or the named ones."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks import cores, data, engine, gateway, growing, journal, lines, paint, plan, requests

ALL: dict[str, Callable[[], None]] = {
    "paint": paint.main,
    "lines": lines.main,
    "journal": journal.main,
    "cores": cores.main,
    "data": data.main,
    "gateway": gateway.main,
    "requests": requests.main,
    "engine": engine.main,
    "growing": growing.main,
    "plan": plan.main,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or ALL:
        print(f"== {name}", flush=True)  # noqa: T201
        ALL[name]()
