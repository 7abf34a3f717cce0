"""A cache of all runs in SQLite, so that a list of hundreds opens at once.

The run directories are the truth. The store keeps what their journals add up to and how far they were read;
deleting it costs nothing but the time to read them again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from core import paths
from core.runs import directory
from core.runs.directory import Meta, RunDirectory, RunError
from core.runs.journal import JournalReader
from core.runs.summary import RunSummary, fold

BUSY_TIMEOUT_MS = 5000
PIECE_BYTES = 1 << 20

MIGRATIONS = (
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        path TEXT NOT NULL,
        meta TEXT NOT NULL,
        trashed INTEGER NOT NULL,
        journal_offset INTEGER NOT NULL DEFAULT 0,
        journal_inode INTEGER NOT NULL DEFAULT 0,
        summary TEXT NOT NULL
    );
    """,
)
"""Each entry brings the schema one version further; `PRAGMA user_version` counts those done."""

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "9p", "afs", "ncpfs",
     "orangefs", "pvfs2", "panfs", "wekafs", "virtiofs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs",
     "fuse.gcsfuse", "fuse.rclone", "fuse.blobfuse", "fuse.blobfuse2", "fuse.juicefs", "fuse.mfs"}
)  # fmt: skip
"""Where SQLite's write-ahead log must not be used: its index is shared memory of one host."""


@dataclass(frozen=True)
class StoredRun:
    """A run as the store knows it, brought up to date with its journal."""

    meta: Meta
    path: Path
    trashed: bool
    summary: RunSummary
    journal_offset: int
    journal_inode: int

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(self.path)


class Store:
    """Open for one operation or a few, in one thread; a context manager.

    Args:
        path: the database; made when it is missing. One that can't be read is moved aside and made anew.

    Attributes:
        notices: what the user should be told, e.g. that the store was damaged and rebuilt.

    Raises:
        PathError: the data directory can't be written.
        RunError: a newer finetui wrote the store.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or paths.store_path()
        self.notices: list[str] = []
        paths.make_private(self.path.parent)
        try:
            self._database = self._open()
        except (sqlite3.OperationalError, OSError) as error:  # locked, or the disk is full: not damaged
            self.notices.append(
                f"The store of runs can't be used now ({error}); lists are read from the journals."
            )
            self._database = sqlite3.connect(":memory:", isolation_level=None)
            self._migrate(self._database)
        except sqlite3.DatabaseError as error:
            self._move_aside(error)
            self._database = self._open()

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection:
        self.path.touch(mode=0o600)
        database = sqlite3.connect(self.path, isolation_level=None)
        try:
            database.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            mode = "DELETE" if file_system(self.path) in NETWORK_FILE_SYSTEMS else "WAL"
            if database.execute("PRAGMA journal_mode").fetchone()[0].upper() != mode:
                database.execute(f"PRAGMA journal_mode = {mode}")
            database.execute("PRAGMA synchronous = NORMAL")
            self._migrate(database)
            database.execute("SELECT id FROM runs LIMIT 1").fetchone()
        except BaseException:
            database.close()
            raise
        return database

    def _migrate(self, database: sqlite3.Connection) -> None:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise RunError(
                f"{self.path} was written by a newer finetui.",
                f"Its schema is version {version}, this one knows {len(MIGRATIONS)}.",
                "Update finetui.",
            )
        if version == len(MIGRATIONS):
            return
        with _transaction(database):
            done = database.execute("PRAGMA user_version").fetchone()[
                0
            ]  # another process may have been faster
            for script in MIGRATIONS[done:]:
                for statement in script.split(";"):
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        self.path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.notices.append(
            f"The store of runs was damaged ({error}) and has been made anew from the run directories; "
            f"the old file is {aside}."
        )

    def refresh(self) -> list[StoredRun]:
        """All runs, in runs and in the trash, newest first, brought up to date with directories and journals.

        Reads what is new and nothing else. A store that can't be written now (disk full, locked by another) still
        gives the right answer; the next refresh tries again.
        """
        known = {run.meta.id: run for run in self._load()}
        found = {
            run.id: run
            for parent in (paths.trash_dir(), paths.runs_dir())
            for run in directory.all_in(parent)
        }
        for run_id in set(known) - set(found):  # moved between the two looks, or gone
            moved = directory.find(run_id)
            if moved is not None:
                found[run_id] = moved
        current: dict[str, StoredRun] = {}
        for run_id, run in found.items():
            stored = known.get(run_id)
            if stored is None or stored.path != run.path:
                stored = self._read(run, stored)
            if stored is not None:
                current[run_id] = caught_up(stored)
        self._save(
            [run for key, run in current.items() if run is not known.get(key)], set(known) - set(current)
        )
        return sorted(current.values(), key=lambda run: (-run.meta.created, run.meta.id))

    def refresh_one(self, run: RunDirectory) -> StoredRun:
        """One run brought up to date, its run.json read anew.

        Raises:
            RunError: it is no run directory.
        """
        stored = next((item for item in self._load() if item.meta.id == run.id), None)
        fresh = caught_up(_placed(run, run.meta, stored))
        if fresh != stored:
            self._save([fresh], set())
        return fresh

    def rebuild(self) -> list[StoredRun]:
        """Forget everything and read all run directories again."""
        self._database.execute("DELETE FROM runs")
        return self.refresh()

    def _read(self, run: RunDirectory, stored: StoredRun | None) -> StoredRun | None:
        """A run that is new here, or has moved; None for a folder that is no run."""
        try:
            return _placed(run, run.meta, stored)
        except RunError as error:
            if run.path.exists():
                self.notices.append(f"{error.what} {error.cause}")
            return None

    def _load(self) -> list[StoredRun]:
        runs = []
        query = "SELECT path, meta, trashed, summary, journal_offset, journal_inode FROM runs"
        for path, meta, trashed, summary, offset, inode in self._database.execute(query):
            folded = RunSummary.from_dict(orjson.loads(summary))
            seen = (folded, offset, inode) if folded is not None else (RunSummary(), 0, 0)
            runs.append(StoredRun(Meta(**orjson.loads(meta)), Path(path), bool(trashed), *seen))
        return runs

    def _save(self, runs: list[StoredRun], gone: set[str]) -> None:
        if not runs and not gone:
            return
        try:
            with _transaction(self._database):
                self._database.executemany("DELETE FROM runs WHERE id = ?", [(run_id,) for run_id in gone])
                self._database.executemany(
                    "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", [_record(run) for run in runs]
                )
        except sqlite3.OperationalError as error:
            self.notices.append(
                f"The store of runs can't be written now ({error}); lists are read from the journals."
            )


def _placed(run: RunDirectory, meta: Meta, stored: StoredRun | None) -> StoredRun:
    trashed = run.path.parent == paths.trash_dir()
    if stored is None:
        return StoredRun(meta, run.path, trashed, RunSummary(), 0, 0)
    return replace(stored, meta=meta, path=run.path, trashed=trashed)


def _record(run: StoredRun) -> tuple[str, str, str, int, int, int, str]:
    return (
        run.meta.id,
        str(run.path),
        orjson.dumps(run.meta).decode(),
        int(run.trashed),
        run.journal_offset,
        run.journal_inode,
        orjson.dumps(run.summary.as_dict()).decode(),
    )


def caught_up(stored: StoredRun) -> StoredRun:
    """The run with what its journal has got since; the same object when that is nothing."""
    try:
        status = (stored.path / "journal.jsonl").stat()
    except FileNotFoundError:
        status = None
    if status is None or (status.st_size, status.st_ino) == (stored.journal_offset, stored.journal_inode):
        return stored
    reader = JournalReader(stored.directory.journal_path, stored.journal_offset, stored.journal_inode)
    summary, before = stored.summary, -1
    while reader.offset != before:
        before = reader.offset
        events = reader.read(PIECE_BYTES)
        if reader.restarted:
            summary = RunSummary()
        summary = fold(summary, events)
    if (reader.offset, reader.inode) == (stored.journal_offset, stored.journal_inode):
        return stored  # half a line more
    return replace(stored, summary=summary, journal_offset=reader.offset, journal_inode=reader.inode)


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Type of the file system a path is on, e.g. `ext4` or `nfs4`; empty where it can't be known."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    place, best, kind = path.resolve(), -1, ""
    for line in lines:
        words = line.split(" ")
        point = Path(words[1].encode().decode("unicode_escape"))
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), words[2]
    return kind
