"""Summing up a long request log, as the page of deployments does while it is open.

python -m tests.benchmarks requests
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from core.serving import watch
from core.serving.request_log import COLUMNS, NAME, LogWriter
from core.serving.settings import ServedModel, Settings

REQUESTS = 300_000
OVER_S = 30 * 86400.0
PERIODS = {"all": OVER_S, "the last day": 86400.0, "the last hour": 3600.0}
TEXT = "a prompt that is kept, and its reply " * 10


def main() -> None:
    """Print seconds to sum up all requests and those of a day, with texts kept and without."""
    for text in (None, TEXT):
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder)
            write(directory, text)
            settings = Settings(
                "lamp", 1.0, "127.0.0.1", 0, "", tuple(_model(name) for name in ("lamp", "base"))
            )
            for words, seconds in PERIODS.items():
                took = []
                for _ in range(3):
                    began = time.perf_counter()
                    found, _ = watch.summaries(directory, settings, OVER_S - seconds)
                    took.append(time.perf_counter() - began)
                size = (directory / NAME).stat().st_size
                kept = "kept" if text else "not kept"
                print(  # noqa: T201
                    f"{size / 1e6:.0f} MB, texts {kept}: {found.requests} requests ({words}) summed up in "
                    f"{min(took) * 1000:.0f} ms"
                )


def write(directory: Path, text: str | None) -> None:
    """A month of requests to two models, in `directory`."""
    with LogWriter(directory / NAME, 1_000_000):
        pass  # makes the tables
    marks = ", ".join("?" * len(COLUMNS))
    with contextlib.closing(sqlite3.connect(directory / NAME)) as database, database:
        database.executemany(f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({marks})", _rows(text))


def _rows(text: str | None) -> Iterator[tuple[object, ...]]:
    chance = random.Random(0)
    for number in range(REQUESTS):
        values: dict[str, object] = dict.fromkeys(("error", "blocked", "category", "flags"), "")
        values |= dict.fromkeys(("prompt", "completion", "messages"), text)
        values |= {"kind": "chat", "bytes_in": 1000, "bytes_out": 2000, "streamed": 1, "duration_ms": 900.0}
        values |= {"at": number * OVER_S / REQUESTS, "model": "lamp" if number % 3 else "base", "status": 200}
        values |= {"prompt_tokens": 100, "completion_tokens": 20}
        values |= {
            "first_token_ms": chance.lognormvariate(4, 1),
            "per_token_ms": chance.lognormvariate(3, 0.5),
        }
        if number % 50 == 0:
            values |= {"status": 429, "error": "queue_full"}
        if number % 200 == 1:
            values |= {"blocked": "prompt", "category": "block list, line 2", "status": 400}
        if number % 30 == 2:
            values["flags"] = "long"
        yield tuple(values[name] for name in COLUMNS)


def _model(name: str) -> ServedModel:
    return ServedModel(name, "tuned", "lamp-1", None, "", "tiny", 1000)
