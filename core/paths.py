"""Where finetui keeps its files. `FINETUI_HOME` moves everything under one folder.

Data (runs, store) live in the user's data directory, what can be fetched or computed again in the
cache directory. Every directory made here is private to the user (0700).
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import platformdirs

from core.errors import FinetuiError


class PathError(FinetuiError):
    """A directory of finetui's can't be made or written."""


def data_dir() -> Path:
    """Runs, trash and the store."""
    home = _home()
    return home / "data" if home else platformdirs.user_data_path("finetui")


def cache_dir() -> Path:
    """Models and copies of data rows: safe to delete while nothing runs."""
    home = _home()
    return home / "cache" if home else platformdirs.user_cache_path("finetui")


def settle_home() -> None:
    """Make FINETUI_HOME absolute for this process and those it starts: a run's worker has another working directory."""
    home = _home()
    if home:
        os.environ["FINETUI_HOME"] = str(home)


def _home() -> Path | None:
    home = os.environ.get("FINETUI_HOME")
    return Path(os.path.expanduser(home)).absolute() if home else None  # noqa: PTH111 - never fails, Path's does


def runs_dir() -> Path:
    return data_dir() / "runs"


def trash_dir() -> Path:
    return data_dir() / "trash"


def removed_deployments_dir() -> Path:
    """The trash of deployments, one folder each."""
    return data_dir() / "deployments" / ".trash"


def store_path() -> Path:
    return data_dir() / "store.db"


def devices_dir() -> Path:
    """Locks and queue tickets, one folder a device."""
    return data_dir() / "devices"


def models_dir() -> Path:
    return cache_dir() / "models"


def rows_dir() -> Path:
    """Content-addressed copies of data files, shared by runs."""
    return cache_dir() / "rows"


def make_private(directory: Path) -> Path:
    """Make a directory (and its parents), readable by this user alone, and return it.

    Raises:
        PathError: it can't be made or is not writable.
    """
    try:
        for folder in reversed([directory, *directory.parents]):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)  # `parents=True` would make the parents public
        if not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    except OSError as error:
        raise PathError(
            f"{directory} can't be made.",
            f"{error.strerror}: {error.filename}",
            "Make the folder writable, or set FINETUI_HOME to one that is.",
        ) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PathError(
            f"{directory} is not writable.",
            "Its permissions don't let this user write to it.",
            "Make the folder writable, or set FINETUI_HOME to one that is.",
        )
    return directory


def write_private(path: Path, content: bytes) -> None:
    """Replace a file in one step (written aside, fsynced, renamed), mode 0600.

    A reader sees the old content or the new, never half of it; on an error nothing is left behind.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def logs_dir() -> Path:
    """What the helper processes of the app write to stderr."""
    return data_dir() / "logs"
