"""Completion of file names as a shell does it."""

from __future__ import annotations

import os


def complete_path(typed: str) -> str | None:
    """The typed name completed to the first entry that starts with it, or None. A folder ends in a slash.

    Names that start with a dot are offered only when a dot has been typed.
    """
    folder, start = os.path.split(typed)
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:  # noqa: PTH111 - keeps the text as typed
            names = sorted(
                entry.name + ("/" if entry.is_dir() else "")
                for entry in entries
                if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith("."))
            )
    except OSError:  # no such folder, or not ours to read: nothing to offer
        return None
    if not typed or not names:
        return None
    return typed[: len(typed) - len(start)] + names[0]
