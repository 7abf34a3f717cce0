"""The log of a deployment's requests: SQLite, one row a request. Texts are in it only where that was asked for.

Of those turned away at the door, which may come by the thousand, a row is written for one a second and reason; the
others are counted by second and reason.

Written by the gateway alone, read by everybody of this user at the same time. Stdlib only.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import Any

from core.runs.store import NETWORK_FILE_SYSTEMS, file_system
from core.serving.settings import DeploymentError

NAME = "requests.db"
BUSY_S = 5.0
PRUNE_EVERY_S = 3600.0
MOST_WAITING = 10_000
COUNTS_EVERY_S = 1.0
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
    """
    CREATE TABLE refusals (
        second INTEGER NOT NULL,
        status INTEGER NOT NULL,
        error TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (second, status, error)
    ) WITHOUT ROWID;
    DROP INDEX requests_at;
    CREATE INDEX requests_figures ON requests
        (model, at, prompt_tokens, completion_tokens, first_token_ms, per_token_ms);
    CREATE INDEX requests_odd ON requests (model, at, kind, status, error, blocked, category, flags)
        WHERE status != 200 OR blocked != '' OR flags != '';
    ALTER TABLE requests ADD COLUMN messages TEXT
    """,
)
"""Each entry brings the schema one version further; `PRAGMA user_version` counts those done."""


@dataclass(frozen=True)
class Entry:
    """One request.

    Attributes:
        at: when it came, UTC seconds.
        model: as it was named; of one that is not served, empty.
        kind: `chat` or `completion`; empty of a request that was turned away at the door.
        status: of HTTP; 499 when the client left before the end.
        error: code of the error, or empty.
        blocked: `prompt` or `completion` where safety found something, else empty.
        category: what it found.
        prompt_tokens, completion_tokens: as the model counted; of a reply that broke off the pieces that came.
        first_token_ms: from the request's last byte to the reply's first.
        per_token_ms: between the tokens after the first, on average.
        duration_ms: from the request's last byte to the reply's last.
        flags: what makes the prompt unlike the training data, words with commas between.
        prompt, completion: the user's last words and the reply, where texts are kept.
        messages: all messages of a chat, as JSON, where texts are kept and they are not too long.
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
    messages: str | None = None
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


_Waiting = tuple[Entry, Callable[[], str] | None]


def _row(entry: Entry, flags: Callable[[], str] | None) -> tuple[Any, ...]:
    return astuple(replace(entry, flags=flags()) if flags is not None else entry)[:-1]


class _Sign(Enum):
    """What the writing thread is told beside entries."""

    COUNTED = "there are counts to write"
    END = "no more comes"


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
        self._waiting: queue.Queue[_Waiting | _Sign] = queue.Queue(MOST_WAITING)
        self._counts: Counter[tuple[int, int, str]] = Counter()
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="request log", daemon=True)
        self._thread.start()

    def add(self, entry: Entry, flags: Callable[[], str] | None = None) -> None:
        """Have an entry written; when the disk can't keep up for thousands of requests it is lost and that is said.

        Args:
            entry: what became of a request.
            flags: gives those of the entry; it is called in the writing thread, since it may take milliseconds.
        """
        try:
            self._waiting.put_nowait((entry, flags))
        except queue.Full:
            print("The request log can't keep up; an entry is lost.", file=sys.stderr)  # noqa: T201

    def count(self, at: float, status: int, error: str) -> None:
        """Count a request that was turned away and gets no entry.

        Args:
            at: when it came, UTC seconds.
            status: of HTTP.
            error: code of the error.
        """
        with self._counting:
            first = not self._counts
            self._counts[int(at), status, error] += 1
        if first:
            with contextlib.suppress(queue.Full):  # then the thread is awake
                self._waiting.put_nowait(_Sign.COUNTED)

    def close(self) -> None:
        """Write what waits, and end."""
        self._waiting.put(_Sign.END)
        self._thread.join()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        marks = ", ".join("?" * len(COLUMNS))
        insert = f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({marks})"
        prune_at = count_at = time.monotonic()
        with contextlib.closing(self._database):
            while True:
                if time.monotonic() >= prune_at:
                    prune_at = time.monotonic() + PRUNE_EVERY_S
                    self._prune(time.time() - self._keep_s)
                until = min(prune_at, count_at) if self._counts else prune_at
                found = self._wait(until - time.monotonic())
                rows = [_row(*item) for item in found if not isinstance(item, _Sign)]
                if rows and not self._write(insert, rows):
                    print(f"{len(rows)} entries of the request log are lost.", file=sys.stderr)  # noqa: T201
                if time.monotonic() >= count_at or _Sign.END in found:
                    count_at = time.monotonic() + COUNTS_EVERY_S
                    self._write_counts()
                if _Sign.END in found:
                    return

    def _wait(self, timeout_s: float) -> list[_Waiting | _Sign]:
        """What there is to write; empty when nothing came in time."""
        found: list[_Waiting | _Sign] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._waiting.get(timeout=max(0.0, timeout_s)))
            while True:
                found.append(self._waiting.get_nowait())
        return found

    def _prune(self, before: float) -> None:
        self._write("DELETE FROM requests WHERE at < ?", [(before,)])
        self._write("DELETE FROM refusals WHERE second < ?", [(before,)])

    def _write_counts(self) -> None:
        with self._counting:
            counts, self._counts = self._counts, Counter()
        upsert = (
            "INSERT INTO refusals (second, status, error, count) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET count = count + excluded.count"
        )
        if counts and not self._write(upsert, [(*key, number) for key, number in counts.items()]):
            print(f"{counts.total()} refusals are not counted.", file=sys.stderr)  # noqa: T201

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
    with reading(directory) as database:
        return [] if database is None else _entries(database, "id > ?", (after,), limit, newest)


def kept_chats(directory: Path, limit: int = 1000, ids: Sequence[int] | None = None) -> list[Entry]:
    """Chats that were answered to their end and whose texts are kept whole, in the order they were written.

    Args:
        directory: the deployment's.
        limit: how many, the last ones, at most.
        ids: only these.

    Raises:
        DeploymentError: the log is damaged.
    """
    whole = f"length(completion) BETWEEN 1 AND {MOST_TEXT - 1}"
    where = f"messages IS NOT NULL AND status = 200 AND blocked = '' AND {whole}"
    if ids is not None:
        where += f" AND id IN ({', '.join('?' * len(ids))})"
    with reading(directory) as database:
        if database is None or "messages" not in _columns(database):
            return []
        return _entries(database, where, tuple(ids or ()), limit, newest=True)


def _columns(database: sqlite3.Connection) -> list[str]:
    """Those of an entry that the log has: an older gateway's has fewer."""
    there = {row[1] for row in database.execute("PRAGMA table_info(requests)")}
    return [name for name in COLUMNS if name in there]


def _entries(
    database: sqlite3.Connection, where: str, values: Sequence[Any], limit: int, newest: bool
) -> list[Entry]:
    names = [*_columns(database), "id"]
    rows = database.execute(
        f"SELECT {', '.join(names)} FROM requests WHERE {where} ORDER BY id {'DESC' if newest else 'ASC'} LIMIT ?",
        (*values, limit),
    ).fetchall()
    found = [Entry(**dict(zip(names, row, strict=True))) for row in rows]
    return found[::-1] if newest else found
