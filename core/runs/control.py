"""Requests to a run's worker: small files dropped into its `control/` folder, taken in order.

A file appears whole (written aside, renamed), so a worker never reads half of one, and needs no socket that
would tie it to the app.
"""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from core import paths

VERBS = ("stop", "pause", "checkpoint", "sample", "change")

_COUNTER = itertools.count()


@dataclass(frozen=True)
class Request:
    """What a worker is asked: `stop`, `pause`, `checkpoint`, `sample` {prompt}, `change` {name, value}."""

    verb: str
    arguments: dict[str, Any] = field(default_factory=dict)


def send(control_dir: Path, verb: str, **arguments: Any) -> None:
    """Drop a request.

    Args:
        control_dir: the run's control folder.
        verb: one of VERBS.
        arguments: plain JSON values.

    Raises:
        OSError: the folder can't be written.
    """
    if verb not in VERBS:
        raise ValueError(f"no such request: {verb}")
    paths.make_private(control_dir)
    place = control_dir / f"{time.time_ns():020}-{os.getpid()}-{next(_COUNTER)}-{verb}.json"
    if arguments:
        paths.write_private(place, orjson.dumps({"verb": verb, "arguments": arguments}))
    else:  # the name says it all: an empty file can be made on a full disk, when a run most needs to be stopped
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def pending(control_dir: Path) -> list[str]:
    """Verbs of the requests not taken yet, oldest first."""
    return [_verb_of(name) for name in _names(control_dir)]


def clear(control_dir: Path) -> None:
    """Drop what was asked of an earlier worker."""
    for name in _names(control_dir):
        (control_dir / name).unlink(missing_ok=True)


class Inbox:
    """The worker's end; cheap enough to look into at every step (one `stat` when nothing is new)."""

    def __init__(self, control_dir: Path) -> None:
        self._folder = control_dir
        self._seen_ns = -1
        self._unsettled = True
        self._looked_at: set[str] = set()

    def take(self) -> list[Request]:
        """New requests, oldest first; each is given once and its file removed."""
        requests = self.look()
        self.settle()
        return requests

    def settle(self) -> None:
        """Remove the files of the requests given so far: from now on the journal tells of them."""
        for name in self._looked_at:
            (self._folder / name).unlink(missing_ok=True)
        self._looked_at.clear()

    def look(self) -> list[Request]:
        """New requests, oldest first; each is given once. Its file stays until `settle`, so that whoever looks
        from outside sees it as pending. Files that are no request are passed over."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if changed_ns == self._seen_ns and not self._unsettled:
            return []
        # Clocks of file systems are coarse: a change in the same tick as this look would go unseen,
        # so a folder that changed just now is looked into again.
        self._unsettled = time.time_ns() - changed_ns < 2_000_000_000
        self._seen_ns = changed_ns
        requests = []
        for name in _names(self._folder):
            if name in self._looked_at:
                continue
            self._looked_at.add(name)
            try:
                record = orjson.loads((self._folder / name).read_bytes() or _record_of(name))
                request = Request(str(record["verb"]), dict(record["arguments"]))
            except (FileNotFoundError, ValueError, TypeError, KeyError):
                continue
            if request.verb in VERBS:
                requests.append(request)
        return requests


def _verb_of(name: str) -> str:
    return name.removesuffix(".json").rsplit("-", 1)[-1]


def _record_of(name: str) -> bytes:
    """What an empty file of this name asks."""
    return orjson.dumps({"verb": _verb_of(name), "arguments": {}})


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return []
