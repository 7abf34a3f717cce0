"""Evaluates runs in a process of its own, since measuring needs torch.

    python -P -m core.training.report_worker

Request: `evaluate` a run; the chunks say how far it is, the result is what was written into its report.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core import devices, pipes


def evaluate(
    _: pipes.Request, run: str, folder: str, file: str | None, rows: int, max_tokens: int
) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """See `report.Wanted` for the arguments and `report.Progress` for the chunks."""
    yield {"phase": "starting torch", "done": 0, "total": 0}
    from core.training.report import Wanted, evaluate_run

    other = None if file is None else Path(file)
    work = evaluate_run(Wanted(Path(run), Path(folder), other, rows, max_tokens))
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            evaluation: dict[str, Any] = end.value
            return evaluation
        yield asdict(progress)


if __name__ == "__main__":
    devices.prepare_to_compute()
    pipes.serve({"evaluate": evaluate})
