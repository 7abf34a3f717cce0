"""Reading a long journal back: a monitor that is opened on an old run waits for this."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from core.events import Step, encode
from core.runs.journal import JournalReader
from core.runs.summary import RunSummary, fold

EVENTS = 100_000


def main() -> None:
    """Print seconds to read, and to read and sum up."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        step = Step(
            step=1, epoch=0.1, loss=1.0, learning_rate=1e-3, grad_norm=0.5, tokens=400, trained_tokens=100,
            tokens_per_s=90.0, memory_bytes=10**9, duration_s=4.0,
        )  # fmt: skip
        path.write_bytes(encode(step) * EVENTS)
        started = time.perf_counter()
        events = JournalReader(path).read()
        read_s = time.perf_counter() - started
        fold(RunSummary(), events)
        both_s = time.perf_counter() - started
        print(f"{EVENTS} events: read {read_s:.2f} s, read and summed up {both_s:.2f} s")  # noqa: T201
