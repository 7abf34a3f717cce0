"""Exports and pushes in a process of their own, since merging needs torch and pushing the hub's client.

    python -P -m core.training.export_worker

Requests: `export` a run's model to a folder, `push` it to the hub. Chunks name what is being done.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core import devices, pipes
from core.training.export import To, export
from core.training.export_push import push

Chunks = Generator[dict[str, str], None, dict[str, Any]]


def _export(request: pipes.Request, run: str, folder: str, to: To, out: str, dtype: str = "auto") -> Chunks:
    return _phases(export(Path(run), Path(folder), to, Path(out), dtype))


def _push(request: pipes.Request, run: str, folder: str, to: To, repo: str, public: bool) -> Chunks:
    return _phases(push(Path(run), Path(folder), to, repo, public))


def _phases(work: Generator[str, None, Any]) -> Chunks:
    """The sentences of a piece of work as chunks, and its result as JSON can have it."""
    while True:
        try:
            phase = next(work)
        except StopIteration as end:
            return asdict(end.value)
        yield {"phase": phase}


if __name__ == "__main__":
    devices.prepare_to_compute()
    pipes.serve({"export": _export, "push": _push})
