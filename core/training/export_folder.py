"""The folder an export goes to: written aside, then there under its name, complete or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from core.catalog.store import SPARE_BYTES, megabytes
from core.training.export_source import ExportError


def check_out(out: Path) -> None:
    """See that a folder can be made under this name.

    Raises:
        ExportError: something is there already, or its parent can't be written.
    """
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise ExportError(
            f"{out} exists already.",
            "An export makes a new folder; it never writes into a filled one.",
            "Choose another name, or remove it first.",
        )
    parent = next(folder for folder in out.parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ExportError(
            f"{out} can't be made.", f"{parent} is not a writable folder.", "Choose another place."
        )


@contextlib.contextmanager
def written_aside(out: Path, needed_bytes: int) -> Iterator[Path]:
    """A new folder beside `out` that becomes `out` when all went well, and is removed when it did not.

    What an export that was killed left there is removed first. Folders have the permissions of the user's umask.

    Args:
        out: checked with `check_out`; its parents are made.
        needed_bytes: what is going to be written.

    Raises:
        ExportError: too little space, another export writes there, or the folder can't be written.
    """
    aside = out.with_name(f".{out.name}.partial")
    descriptor = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _check_disk(out, needed_bytes)
        aside.mkdir(exist_ok=True)
        descriptor = os.open(aside, os.O_RDONLY)
        _lock(descriptor, out)
        _empty(aside)
        try:
            yield aside
            _open_up(aside)
            aside.rename(out)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    except OSError as error:
        raise ExportError(
            f"{out} can't be written.",
            f"{error.strerror or error}: {error.filename or aside}",
            "Free space or choose another folder, then export again.",
        ) from error
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _check_disk(out: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(out.parent).free
    if free < needed_bytes + SPARE_BYTES:
        raise ExportError(
            f"Not enough disk space for {out}.",
            f"It takes {megabytes(needed_bytes)} and {megabytes(free)} are free.",
            "Free some space, or choose a folder on a larger disk.",
        )


def _lock(descriptor: int, out: Path) -> None:
    """Hold the folder until this process ends; a killed export holds nothing."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ExportError(
            f"Another export is writing {out} just now.", "", "Wait for it, or choose another name."
        ) from None


def _open_up(folder: Path) -> None:
    """Give every file the permissions of the user's umask; some writers make theirs private."""
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def folder_bytes(folder: Path) -> int:
    """Size of all files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
