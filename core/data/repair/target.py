"""A file of rows that is being made: private, complete or not there at all, with its lineage beside it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from core.data.problems import DataError, Problem
from core.data.repair.steps import RepairError
from core.paths import write_private

LINEAGE = ".lineage.json"


class Target:
    """A file written aside and put in its place by `finish`; gone where that is never called.

    Args:
        path: where it is to be.
        sources: what it is made of; it can't be one of these.
        overwrite: replace what is there.

    Raises:
        RepairError: it is a source, or is there already.
        DataError: it can't be written.
    """

    def __init__(self, path: Path, sources: Sequence[Path], overwrite: bool) -> None:
        self.path = path
        self.rows = 0
        self._digest = hashlib.sha256()
        self._aside = path.with_name(f".{path.name}.{os.getpid()}.new")
        if any(path.exists() and path.samefile(source) for source in sources):
            raise RepairError(f"{path} is the source, which is never written.", "", "Name another file.")
        if path.exists() and not overwrite:
            raise RepairError(f"{path} is there already.", "", "Name another file, or say --overwrite.")

    def __enter__(self) -> Target:
        try:
            file = os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise self._error(error) from error
        self._file = os.fdopen(file, "wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._aside.unlink(missing_ok=True)

    def write(self, raw: bytes) -> None:
        """Add bytes.

        Raises:
            DataError: the disk is full, or worse.
        """
        self._digest.update(raw)
        try:
            self._file.write(raw)
        except OSError as error:
            raise self._error(error) from error

    def add(self, line: bytes) -> None:
        """Add a row."""
        self.rows += 1
        self.write(line)

    def finish(self, lineage: dict[str, Any]) -> None:
        """Put the file in its place, and write what it was made of beside it.

        Raises:
            DataError: it can't be written.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._aside.replace(self.path)
            record = {**lineage, "target_sha256": self._digest.hexdigest()}
            text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
            write_private(self.path.with_name(self.path.name + LINEAGE), text.encode("utf-8", "replace"))
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> DataError:
        full = error.errno == errno.ENOSPC
        sentence = f"the file can't be written: {error.strerror}."
        fix = "Free some space." if full else "Choose another name or folder."
        return DataError(Problem("unreadable", "error", str(self.path), 0, None, sentence, fix))
