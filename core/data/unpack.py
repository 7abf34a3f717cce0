"""Compressed and Parquet files as plain ones: unpacked once to a private copy, which then is browsed and read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from core.data.files import file_error, open_file
from core.data.formats import PACKED_ENDINGS, Format, format_of
from core.data.problems import DataError, Problem
from core.paths import cache_dir, make_private

KEPT_BYTES = 20 << 30
"""Copies beyond this many bytes are dropped, those longest unused first."""

_PIECE_BYTES = 1 << 20
_SPARE_BYTES = 256 << 20
_BATCH_ROWS = 4096


class Cancelled(Exception):  # noqa: N818 - a signal, not an error
    """Unpacking was given up."""


def unpacked(
    path: Path,
    on_progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """A plain file with the rows of `path`: itself, or a copy in the cache that is made when it isn't there.

    Args:
        path: any data file.
        on_progress: called with (bytes of the packed file read, bytes in all).
        cancelled: asked now and then.

    Raises:
        DataError: the file can't be read, is damaged, or the disk has no room for what is in it.
        Cancelled: as asked.
    """
    format = format_of(path)
    if not format.packed:
        return path
    copy = _place(path, format)
    if copy.exists():
        os.utime(copy.parent)
        return copy
    make_private(copy.parent.parent)
    make_private(copy.parent)
    aside = copy.with_name(f".{os.getpid()}.new")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:
            _unpack(path, format, target, on_progress, cancelled)
        aside.replace(copy)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _problem(path, "disk-full", "the disk has no room for what is in it.", _ROOM) from error
        raise file_error(path, error) from error
    finally:
        aside.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            copy.parent.rmdir()  # only if nothing came of it
    _drop_old(copy.parent)
    return copy


_ROOM = "Free some space, or set FINETUI_HOME to a larger disk."


def _place(path: Path, format: Format) -> Path:
    """Where the copy of a file as it is now lies; its name tells the format of what is inside."""
    facts = path.stat()
    key = f"{path.resolve()}\0{facts.st_ino}\0{facts.st_size}\0{facts.st_mtime_ns}"
    inner = path.with_suffix("").name if path.suffix.lower() in PACKED_ENDINGS else path.name
    if format.kind == "parquet":
        inner = f"{path.stem}.jsonl"
    return cache_dir() / "unpacked" / hashlib.sha256(key.encode()).hexdigest()[:24] / inner


def _unpack(
    path: Path,
    format: Format,
    target: IO[bytes],
    on_progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    file = os.fdopen(open_file(path), "rb")
    with file:
        total = os.fstat(file.fileno()).st_size
        pieces = _parquet(path, file) if format.kind == "parquet" else _decompressed(path, format, file)
        written = 0
        for piece in pieces:
            if cancelled and cancelled():
                raise Cancelled
            written += len(piece)
            if written > _PIECE_BYTES and shutil.disk_usage(cache_dir()).free < _SPARE_BYTES:
                raise _problem(path, "disk-full", "the disk has no room for what is in it.", _ROOM)
            target.write(piece)
            if on_progress:
                on_progress(min(file.tell(), total), total)


def _decompressed(path: Path, format: Format, file: IO[bytes]) -> Iterator[bytes]:
    """The bytes inside of gzip or Zstandard.

    Raises:
        DataError: the stream is damaged or cut off.
    """
    import pyarrow

    if format.compression == "gzip":
        yield from _gunzipped(path, file)
        return
    try:
        stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
        while piece := stream.read(_PIECE_BYTES):
            yield piece
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise _damaged(path, format, error) from error


def _gunzipped(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """Members of a gzip file one after the other."""
    engine, begun = zlib.decompressobj(31), False
    try:
        while raw := file.read(_PIECE_BYTES):
            while raw:
                begun = True
                piece = engine.decompress(raw, 8 * _PIECE_BYTES)
                if piece:
                    yield piece
                raw = engine.unconsumed_tail
                if engine.eof:
                    raw = engine.unused_data.lstrip(b"\0")
                    engine, begun = zlib.decompressobj(31), False
    except zlib.error as error:
        raise _damaged(path, Format("jsonl", "gzip"), error) from error
    if begun:
        raise _damaged(path, Format("jsonl", "gzip"), "it ends in the middle")


def _parquet(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """Rows of Parquet as JSON Lines, batch by batch."""
    import orjson
    import pyarrow
    from pyarrow import parquet

    try:
        for batch in parquet.ParquetFile(file).iter_batches(_BATCH_ROWS):
            rows = batch.to_pylist()
            yield b"".join(orjson.dumps(row, default=_plain) + b"\n" for row in rows)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise _damaged(path, Format("parquet"), error) from error


def _plain(value: Any) -> Any:
    """What JSON has no form for: bytes as text, times and decimals as they print."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _damaged(path: Path, format: Format, cause: object) -> DataError:
    return _problem(
        path,
        "unreadable",
        f"this {format.name} file is damaged: {str(cause).splitlines()[0]}.",
        "Fetch it again.",
    )


def _problem(path: Path, code: str, sentence: str, fix: str) -> DataError:
    return DataError(Problem(code, "error", str(path), 0, None, sentence, fix))


def _drop_old(newest: Path) -> None:
    """Keep the copies within their limit; the newest stays whatever its size."""
    folders = sorted(
        (item for item in newest.parent.iterdir() if item.is_dir() and item != newest),
        key=lambda item: item.stat().st_mtime,
        reverse=True,
    )
    used = _size(newest)
    for folder in folders:
        used += _size(folder)
        if used > KEPT_BYTES:
            shutil.rmtree(folder, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(item.stat().st_size for item in folder.iterdir())
