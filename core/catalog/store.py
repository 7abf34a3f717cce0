"""The folder of a cached model: a lock while it is made, its manifest, and the rename that publishes it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from core import paths
from core.catalog.reference import MANIFEST, ModelError

Progress = Callable[[str, int, int], None]
"""Called with a sentence, bytes done and bytes in all (0 when not known)."""

SPARE_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_POLL_S = 0.25


def sparse(progress: Progress) -> Progress:
    """The same, called only for a new sentence and for each 200th of the whole: a journal can take every call."""
    last = ("", -1)

    def call(text: str, done: int, total: int) -> None:
        nonlocal last
        now = (text, done * 200 // total if total else 0)
        if now != last:
            last = now
            progress(text, done, total)

    return call


@contextlib.contextmanager
def lock(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the model's lock: one process makes a model, the others wait. It ends with its holder."""
    paths.make_private(folder)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        told = False
        while not _locked(descriptor):
            if not told:
                progress("waiting: another process is fetching this model", 0, 0)
                told = True
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_disk(folder: Path, needed_bytes: int) -> None:
    """See that what is to be fetched fits, with a little to spare.

    Raises:
        ModelError: it doesn't.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + SPARE_BYTES:
        raise ModelError(
            f"Not enough disk space for the model in {folder}.",
            f"It takes {megabytes(needed_bytes)} and {megabytes(free)} are free.",
            "Free some space, or set FINETUI_HOME to a folder on a larger disk.",
        )


def megabytes(count: int) -> str:
    """A size for people: "269 MB"."""
    return f"{count / 1e6:,.0f} MB"


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def hashes(folder: Path, progress: Progress) -> dict[str, str]:
    """sha256 of each file at the top of a folder, hidden ones and the manifest left out."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and _belongs(path.name))
    total = sum(path.stat().st_size for path in files)
    done = 0
    result = {}
    for path in files:
        progress("checking the files", done, total)
        result[path.name] = sha256(path)
        done += path.stat().st_size
    progress("checking the files", done, total)
    return result


def _belongs(name: str) -> bool:
    return not name.startswith(".") and name != MANIFEST


def publish(folder: Path, target: Path, facts: dict[str, Any], progress: Progress) -> None:
    """Turn a finished folder into a cached model: manifest, fsync, rename. Readers see all of it or nothing.

    Args:
        folder: the finished files, on the same file system as `target`.
        target: <models>/<model>/<revision>; a damaged one that is there already is replaced.
        facts: what the manifest says besides the files: source, revision, requested, note.
        progress: told of bytes while the hashes are computed.

    Raises:
        ModelError: something that belongs in no model lies in the folder.
    """
    digests = hashes(folder, progress)
    for path in folder.iterdir():
        if path.is_dir() or not _belongs(path.name):
            raise ModelError(
                f"{path} does not belong in a model.", "", "Delete it and fetch the model again."
            )
        path.chmod(0o600)
        _fsync(path)
    sizes = {name: (folder / name).stat().st_size for name in digests}
    record = {"version": 1, **facts, "sha256": digests, "bytes": sizes}
    paths.write_private(folder / MANIFEST, json.dumps(record, indent=2).encode() + b"\n")
    folder.chmod(0o700)
    _fsync(folder)
    if target.exists():
        shutil.rmtree(target)
    folder.rename(target)
    _fsync(target.parent)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What finetui.json in a cached model's folder says."""
    record: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return record


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
