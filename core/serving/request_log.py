"""The log of a deployment's requests: SQLite, one row a request. Texts are in it only where that was asked for.

Written by the gateway alone, read by everybody of this user at the same time. Stdlib only.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from core.runs.store import NETWORK_FILE_SYSTEMS, file_system
from core.serving.settings import DeploymentError

NAME = "requests.db"
BUSY_S = 5.0
PRUNE_EVERY_S = 3600.0
MOST_WAITING = 10_000
MOST_TEXT = 100_000
"""Characters of a text that is kept."""
DAY_S = 24 * 3600.0

MIGRATIONS = (
    """
    CREATE TABLE requests (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        model TEXT NOT NULL,
        kind TEXT NOT NULL,
        status INTEGER NOT NULL,
        error TEXT NOT NULL,
        blocked TEXT NOT NULL,
        category TEXT NOT NULL,
        prompt_tokens INTEGER,
        completion_tokens INTEGER,
        first_token_ms REAL,
        per_token_ms REAL,
        duration_ms REAL NOT NULL,
        bytes_in INTEGER NOT NULL,
        bytes_out INTEGER NOT NULL,
        streamed INTEGER NOT NULL,
        flags TEXT NOT NULL,
        prompt TEXT,
        completion TEXT
    );
    CREATE INDEX requests_at ON requests (at)
    """,
)
"""Each entry brings the schema one version further; `PRAGMA user_version` counts those done."""


@dataclass(frozen=True)
class Entry:
    """One request.

    Attributes:
        at: when it came, UTC seconds.
        model: as it was named; of one that is not served, empty.
        kind: `chat` or `completion`.
        status: of HTTP; 499 when the client left before the end.
        error: code of the error, or empty.
        blocked: `prompt` or `completion` where safety found something, else empty.
        category: what it found.
        prompt_tokens, completion_tokens: as the model counted; of a reply that broke off the pieces that came.
        first_token_ms: from the request's last byte to the reply's first.
        per_token_ms: between the tokens after the first, on average.
        duration_ms: from the request's last byte to the reply's last.
        flags: what makes the prompt unlike the training data, words with commas between.
        prompt, completion: the texts, where they are kept.
    """

    at: float
    model: str
    kind: str
    status: int
    error: str = ""
    blocked: str = ""
    category: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_token_ms: float | None = None
    per_token_ms: float | None = None
    duration_ms: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    streamed: bool = False
    flags: str = ""
    prompt: str | None = None
    completion: str | None = None
    id: int = 0

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


COLUMNS = tuple(item.name for item in fields(Entry) if item.name != "id")


def _open(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        mode = "DELETE" if file_system(path) in NETWORK_FILE_SYSTEMS else "WAL"
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA secure_delete = ON")  # what is pruned is gone from the file too
        version = database.execute("PRAGMA user_version").fetchone()[0]
        for done, script in enumerate(MIGRATIONS[version:], version + 1):
            database.executescript(f"BEGIN; {script}; PRAGMA user_version = {done}; COMMIT")
    except BaseException:
        database.close()
        raise
    return database


class LogWriter:
    """Writes entries from a thread of its own, so that no reply waits for the disk. A context manager.

    Args:
        path: the database; made when it is missing.
        retention_days: older entries are deleted, at the start and every hour.

    Raises:
        sqlite3.Error, OSError: it can't be opened.
    """

    def __init__(self, path: Path, retention_days: int) -> None:
        self._database = _open(path)
        self._keep_s = retention_days * DAY_S
        self._waiting: queue.Queue[Entry | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="request log", daemon=True)
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Have an entry written; when the disk can't keep up for thousands of requests it is lost and that is said."""
        try:
            self._waiting.put_nowait(entry)
        except queue.Full:
            print("The request log can't keep up; an entry is lost.", file=sys.stderr)  # noqa: T201

    def close(self) -> None:
        """Write what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        marks = ", ".join("?" * len(COLUMNS))
        insert = f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({marks})"
        prune_at = time.monotonic()
        with contextlib.closing(self._database):
            while True:
                if time.monotonic() >= prune_at:
                    prune_at = time.monotonic() + PRUNE_EVERY_S
                    self._write("DELETE FROM requests WHERE at < ?", [(time.time() - self._keep_s,)])
                found = self._wait(prune_at - time.monotonic())
                rows = [astuple(entry)[:-1] for entry in found if entry is not None]
                if rows and not self._write(insert, rows):
                    print(f"{len(rows)} entries of the request log are lost.", file=sys.stderr)  # noqa: T201
                if None in found:
                    return

    def _wait(self, timeout_s: float) -> list[Entry | None]:
        """What there is to write; empty when nothing came in time."""
        found: list[Entry | None] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._waiting.get(timeout=max(0.0, timeout_s)))
            while True:
                found.append(self._waiting.get_nowait())
        return found

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> bool:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(statement, rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:  # e.g. a full disk: serving goes on
            print(f"The request log: {error}.", file=sys.stderr)  # noqa: T201
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            return False
        return True


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[sqlite3.Connection | None]:
    """A deployment's log, to be read; None where there is none yet.

    Raises:
        DeploymentError: it is damaged.
    """
    path = directory / NAME
    if not path.exists():
        yield None
        return
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        ) as database:
            yield database
    except sqlite3.Error as error:
        raise DeploymentError(
            f"The request log of {directory.name} can't be read.",
            f"{path}: {error}",
            "Stop the deployment, move the file away, and start it again.",
        ) from error


def entries(directory: Path, after: int = 0, limit: int = 1000, newest: bool = False) -> list[Entry]:
    """Entries in the order they were written.

    Args:
        directory: the deployment's.
        after: only those with a greater id.
        limit: how many, at most.
        newest: the last ones where there are more, instead of the first.

    Raises:
        DeploymentError: the log is damaged.
    """
    order = "DESC" if newest else "ASC"
    with reading(directory) as database:
        if database is None:
            return []
        rows = database.execute(
            f"SELECT {', '.join(COLUMNS)}, id FROM requests WHERE id > ? ORDER BY id {order} LIMIT ?",
            (after, limit),
        ).fetchall()
    found = [Entry(**dict(zip((*COLUMNS, "id"), row, strict=True))) for row in rows]
    return found[::-1] if newest else found
