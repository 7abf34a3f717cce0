"""The rows a run trains on: frozen copies of data files, files of hub data sets, caps and weights.

`freeze` and `fetch_hub_file` read whole files and the network: they run in workers, never in the app.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.data.files import BLANKS, file_error, open_file
from core.data.problems import DataError, Problem
from core.paths import cache_dir, make_private, rows_dir

_CHUNK_BYTES = 1 << 20
_SPARE_BYTES = 64 << 20


@dataclass(frozen=True)
class Frozen:
    """A read-only copy of a data file. `rows` counts its lines that are not blank."""

    sha256: str
    rows: int
    copy: Path


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does: inode, size and time of the last write; None when it isn't there."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def freeze(path: Path) -> Frozen:
    """Copy a data file to where later edits of it don't reach a run; a file copied before costs nothing more.

    Raises:
        DataError: the file can't be read, changes meanwhile, or the disk is full.
        PathError: the cache can't be written.
    """
    try:
        with os.fdopen(open_file(path), "rb") as source:
            sha256, rows, size = _digest(source, None)
            copy = make_private(rows_dir()) / f"{sha256}.jsonl"
            if not (copy.is_file() and copy.stat().st_size == size):
                _refuse_full_disk(path, copy.parent, size)
                source.seek(0)
                _copy(path, source, copy, sha256)
    except OSError as error:
        raise (
            _disk_full(path, rows_dir()) if error.errno == errno.ENOSPC else file_error(path, error)
        ) from error
    return Frozen(sha256, rows, copy)


def _copy(path: Path, source: BinaryIO, copy: Path, sha256: str) -> None:
    aside = copy.with_name(f".{sha256}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400), "wb") as target:
            copied, _, _ = _digest(source, target.write)
            target.flush()
            os.fsync(target.fileno())
        if copied != sha256:
            raise _error(
                path, "changing", "the file changes while it is copied.", "Try again when it is at rest."
            )
        aside.replace(copy)
    finally:
        aside.unlink(missing_ok=True)
    folder = os.open(copy.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _digest(source: BinaryIO, also: Callable[[bytes], int] | None) -> tuple[str, int, int]:
    """(sha256, rows, bytes) of an open file from where it stands; each piece is also given to `also`."""
    digest = hashlib.sha256()
    rows = size = 0
    in_row = False
    while piece := source.readline(_CHUNK_BYTES):
        digest.update(piece)
        size += len(piece)
        if also:
            also(piece)
        if not in_row and piece.strip(BLANKS):
            in_row = True
            rows += 1
        if piece.endswith(b"\n"):
            in_row = False
    return digest.hexdigest(), rows, size


def _refuse_full_disk(path: Path, folder: Path, size: int) -> None:
    if shutil.disk_usage(folder).free < size + _SPARE_BYTES:
        raise _disk_full(path, folder)


def _disk_full(path: Path, folder: Path) -> DataError:
    free = shutil.disk_usage(folder).free / 1e6
    return _error(
        path,
        "disk-full",
        f"no room for a copy of {path.stat().st_size / 1e6:.1f} MB: {folder} has {free:.1f} MB left.",
        "Free some space there, or set FINETUI_HOME to a larger disk.",
    )


def fetch_hub_file(hub_id: str, file: str, revision: str | None = None) -> Path:
    """A file of a Hugging Face data set, from the cache or the network; an interrupted download is taken up
    again.

    Args:
        hub_id: e.g. "owner/name".
        file: its path in the data set.
        revision: branch, tag or commit; the default branch when None.

    Raises:
        DataError: no such data set, file or revision, no access, or no network.
    """
    from huggingface_hub import errors, hf_hub_download

    place = Path(f"{hub_id}/{file}")
    page = f"https://huggingface.co/datasets/{hub_id}"
    folder = make_private(cache_dir() / "hub")
    try:
        return Path(hf_hub_download(hub_id, file, repo_type="dataset", revision=revision, cache_dir=folder))
    except errors.GatedRepoError as error:
        fix = f"Accept its terms at {page}, then sign in with `hf auth login` or set HF_TOKEN."
        raise _error(
            place, "gated", "the data set's owner asks for its terms to be accepted first.", fix
        ) from error
    except errors.RepositoryNotFoundError as error:
        fix = f"Check the id at {page}; for a private one set HF_TOKEN."
        raise _error(
            place, "unknown-data-set", f"the hub has no data set {hub_id!r} that you may see.", fix
        ) from error
    except errors.RevisionNotFoundError as error:
        fix = f"Choose one of {page}/commits."
        raise _error(place, "unknown-revision", f"the data set has no revision {revision!r}.", fix) from error
    except errors.RemoteEntryNotFoundError as error:
        fix = f"Choose one of {page}/tree/{revision or 'main'}."
        raise _error(place, "unknown-file", "the data set has no such file.", fix) from error
    except (
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
        errors.HfHubHTTPError,
        OSError,
    ) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise _error(
                place, "disk-full", f"{folder} is full.", "Free some space, then try again."
            ) from error
        fix = "Check the connection (and HF_HUB_OFFLINE), or download the file and name it with path:."
        cause = str(error).strip().split("\n")[0]
        raise DataError(
            Problem("unreachable", "error", str(place), 0, None, "the hub can't be reached.", fix), cause
        ) from error


def select(rows: int, weight: float = 1.0, max_rows: int | None = None, seed: int = 0) -> list[int]:
    """The row numbers (from 0) of one source in an epoch: first its cap, then its weight.

    Weight 2.0 takes every row twice, 0.5 a seeded half, 1.5 every row and a seeded half once more. The same
    arguments give the same rows, everywhere.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    numbers = np.arange(rows)
    if max_rows is not None and max_rows < rows:
        numbers = np.sort(generator.choice(rows, max_rows, replace=False))
    whole = int(weight)
    part = round((weight - whole) * len(numbers))
    extra = np.sort(generator.choice(numbers, part, replace=False)) if part else numbers[:0]
    return [int(number) for number in np.concatenate([*[numbers] * whole, extra])]


def _error(path: Path, code: str, sentence: str, fix: str) -> DataError:
    return DataError(Problem(code, "error", str(path), 0, None, sentence, fix))
