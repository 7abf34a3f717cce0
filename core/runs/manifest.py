"""A folder's manifest: the size and SHA-256 of each of its files, written last."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import orjson

from core import paths

NAME = "manifest.json"
VERSION = 1


def write(folder: Path, facts: dict[str, Any]) -> int:
    """Make a folder's files private, bring them to the disk and write their manifest.

    Args:
        folder: holds regular files and folders only.
        facts: further values for the manifest.

    Returns:
        The files' size in bytes, the manifest's included.

    Raises:
        OSError: e.g. the disk is full.
        ValueError: the folder holds a link or a device.
    """
    files: dict[str, dict[str, Any]] = {}
    folders = [folder]
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path} is neither a file nor a folder")
        if path.is_dir():
            path.chmod(0o700)
            folders.append(path)
        elif path != folder / NAME:
            path.chmod(0o600)
            fsync(path)
            files[path.relative_to(folder).as_posix()] = {
                "bytes": path.stat().st_size,
                "sha256": sha256(path),
            }
    content = orjson.dumps({"version": VERSION, **facts, "files": files}, option=orjson.OPT_INDENT_2) + b"\n"
    paths.write_private(folder / NAME, content)
    for path in folders:
        fsync(path)
    return sum(int(item["bytes"]) for item in files.values()) + len(content)


def read(folder: Path) -> dict[str, dict[str, Any]] | None:
    """The files of a folder's manifest by relative path, or None when there is no usable manifest."""
    try:
        files = orjson.loads((folder / NAME).read_bytes())["files"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return files if isinstance(files, dict) else None


def total_bytes(folder: Path) -> int | None:
    """Size of the files as the manifest tells it, the manifest included; None without a usable manifest."""
    files = read(folder)
    if files is None:
        return None
    return sum(int(item["bytes"]) for item in files.values()) + (folder / NAME).stat().st_size


def damage(folder: Path) -> str:
    """What is wrong with a folder by its manifest, one sentence; empty when nothing is."""
    files = read(folder)
    if files is None:
        return f"{folder.name} has no readable manifest."
    for name, facts in files.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            return f"{folder.name}'s manifest names {name!r}, which is outside of it."
        if path.is_symlink() or not path.is_file():
            return f"{folder.name}/{name} is missing."
        if path.stat().st_size != facts.get("bytes"):
            return f"{folder.name}/{name} has another size than when it was written."
        if sha256(path) != facts.get("sha256"):
            return f"{folder.name}/{name} has other content than when it was written."
    return ""


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Bring a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
