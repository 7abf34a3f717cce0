"""Indexing the lines of a large file, against reading it and nothing else."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from core.data.index import LineIndex

ROWS = 1_000_000
LINE = b'{"messages":[{"role":"user","content":"%07d"},{"role":"assistant","content":"yes, as often as you like"}]}\n'


def main() -> None:
    """Print seconds for each, warm, three times in turn."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        with path.open("wb") as file:
            for row in range(ROWS):
                file.write(LINE % row)
        for _ in range(3):
            started = time.perf_counter()
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass
            read_s = time.perf_counter() - started
            started = time.perf_counter()
            index = LineIndex(path)
            index.scan()
            index_s = time.perf_counter() - started
            assert len(index) == ROWS
            index.close()
            size_mb = path.stat().st_size / 1e6
            print(f"{size_mb:.0f} MB, {ROWS} lines: read {read_s:.2f} s, index {index_s:.2f} s")  # noqa: T201
