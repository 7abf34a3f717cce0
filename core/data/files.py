"""Opening data files, and their errors in words."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from core.data.problems import DataError, Problem

MAX_LINE_BYTES = 64 << 20
BLANKS = b" \t\r\n"
"""The white space of JSON: a line of nothing else is no row."""


def raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, bytes with the line end). A line over 64 MiB gives its first 64 MiB.

    Raises:
        DataError: the file can't be opened or read.
    """
    try:
        with os.fdopen(open_file(path), "rb") as file:
            number = 0
            while piece := file.readline(MAX_LINE_BYTES):
                number += 1
                yield number, piece
                while not piece.endswith(b"\n") and (piece := file.readline(MAX_LINE_BYTES)):
                    pass
    except OSError as error:
        raise file_error(path, error) from error


def open_file(path: Path) -> int:
    """A descriptor to read a data file by. Pipes and devices are refused, which might be read for ever.

    Raises:
        DataError: this is no ordinary file.
        OSError: it can't be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for its writer
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    sentence, fix = "this is a pipe or a device, not a file.", "Write its rows to a file first."
    raise DataError(Problem("unreadable", "error", str(path), 0, None, sentence, fix))


def file_error(path: Path, error: OSError) -> DataError:
    """An operating system's error on a data file, in words."""
    if isinstance(error, FileNotFoundError):
        sentence, fix = "the file does not exist.", "Check the path; it is relative to the recipe's folder."
    elif isinstance(error, IsADirectoryError):
        sentence, fix = "this is a folder, not a file.", "Name one file in it."
    elif isinstance(error, PermissionError):
        sentence, fix = "the file can't be read by this user.", "Change its permissions (chmod u+r)."
    else:
        sentence, fix = "the file can't be read.", "Check the disk it is on, then try again."
    return DataError(
        Problem("unreadable", "error", str(path), 0, None, sentence, fix), error.strerror or str(error)
    )
