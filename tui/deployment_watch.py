"""What the deployments screen looks at: states, sums of the request logs, new requests, lines of the gateway's log.

Everything here reads files and may wait for a disk: it is called in threads, by one at a time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import FinetuiError
from core.serving import deployments, request_log, watch
from core.serving.deployments import Deployment
from core.serving.request_log import Entry
from core.serving.watch import Summary

LOG_FILES = (request_log.NAME, f"{request_log.NAME}-wal")
FIRST_REQUESTS = 200
"""Requests shown when a deployment is first looked at; later ones are added."""
MOST_REQUESTS = 1000
"""Taken in at a look."""
FIRST_LOG_BYTES, MOST_LOG_BYTES = 32 << 10, 256 << 10
SHARE = 0.02
"""Of the time that may go into summing up a log: a long one is summed up less often."""
STEPS = 360
"""A period that ends now is summed up anew so many times in its length."""


@dataclass(frozen=True)
class Period:
    """Requests of which time are counted; all of them when `seconds` is 0."""

    words: str
    seconds: float


PERIODS = (Period("the last day", 86400.0), Period("the last hour", 3600.0), Period("all time", 0.0))
"""The first is the usual one: summing up a month of requests may take seconds."""


@dataclass(frozen=True)
class Watched:
    """A deployment and what its log adds up to.

    Attributes:
        summary: of all its models; None while it is not known yet.
        models: of each model, where it has several.
        error: why the log can't be read, or None.
        check: what was found when the tuned models were compared with their base, a sentence each.
        bytes: size of its request log.
    """

    deployment: Deployment
    summary: Summary | None
    models: dict[str, Summary] = field(default_factory=dict)
    error: FinetuiError | None = None
    check: tuple[str, ...] = ()
    bytes: int = 0


Sums = tuple[Summary | None, dict[str, Summary], FinetuiError | None]
"""Of all models, of each, and why there are none."""


@dataclass
class _Kept:
    """A sum, and what it was made of."""

    signature: tuple[object, ...]
    found: Sums
    not_before: float


class Looker:
    """Lists the deployments with their sums; a log that has not changed is not read again."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Path, Period], _Kept] = {}
        self._checks: dict[tuple[Path, float], tuple[str, ...]] = {}

    def knows(self, period: Period) -> bool:
        """Whether requests of that time were ever summed up."""
        return any(kept is period for _, kept in self._kept)

    def look(self, period: Period, now: float, quick: bool = False) -> list[Watched]:
        """All deployments, newest first.

        Args:
            period: which requests are counted.
            now: UTC seconds.
            quick: sum nothing up: what was not summed up before stays unknown.
        """
        found = []
        for item in deployments.all_deployments():
            kept = self._kept.get((item.directory, period))
            sums: Sums = kept.found if kept is not None else (None, {}, None)
            summary, models, error = sums if quick else self._sums(item, period, now)
            found.append(Watched(item, summary, models, error, self._check(item), log_bytes(item.directory)))
        here = {item.deployment.directory for item in found}
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] in here}
        return found

    def _sums(self, item: Deployment, period: Period, now: float) -> Sums:
        step = int(now / (period.seconds / STEPS)) if period.seconds else 0
        signature = (*log_signature(item.directory), step, item.created, item.models)
        kept = self._kept.get((item.directory, period))
        began = time.monotonic()
        resting = item.running and kept is not None and began < kept.not_before
        if kept is not None and (kept.signature == signature or resting):
            return kept.found
        result = _summed(item, now - period.seconds if period.seconds else 0.0)
        ended = time.monotonic()
        self._kept[item.directory, period] = _Kept(signature, result, ended + (ended - began) / SHARE)
        return result

    def _check(self, item: Deployment) -> tuple[str, ...]:
        """The check's sentences; it was made once, before the deployment was started."""
        key = (item.directory, item.created)
        found = item.settings.regression
        if key not in self._checks and found:
            from core.serving.regression import sentence

            self._checks[key] = tuple(f"{model}: {sentence(result)}" for model, result in found.items())
        return self._checks.get(key, ())


def _summed(item: Deployment, since: float) -> Sums:
    try:
        whole, models = watch.summaries(item.directory, item.settings, since)
    except FinetuiError as error:
        return None, {}, error
    return whole, models if len(models) > 1 else {}, None


Signature = tuple[tuple[int, int, int], ...]


def log_signature(directory: Path) -> Signature:
    """What differs after each change of a deployment's request log, and costs no reading of it.

    Returns:
        Of each of its files the time of change in ns, size and inode; zeros for one that is missing or empty.
    """
    signs = []
    for name in LOG_FILES:
        try:
            found = (directory / name).stat()
        except FileNotFoundError:
            signs.append((0, 0, 0))
        else:  # a reader may leave an empty one behind: the same as none
            signs.append((found.st_mtime_ns, found.st_size, found.st_ino) if found.st_size else (0, 0, 0))
    return tuple(signs)


def log_bytes(directory: Path) -> int:
    """Size of a deployment's request log."""
    return sum(size for _, size, _ in log_signature(directory))


@dataclass(frozen=True)
class News:
    """What came since the last look: requests, and lines of the gateway's log."""

    requests: Sequence[Entry] = ()
    lines: Sequence[str] = ()


class Feed:
    """Follows one deployment's requests and its gateway's log, from their last ones on.

    Args:
        deployment: which one.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.name = deployment.name
        self.created = deployment.created
        self._directory = deployment.directory
        self._signature: Signature | None = None
        self._file = self._last = 0
        self._offset = -1

    def read(self) -> News:
        """What is new; of a damaged request log nothing, since `Watched.error` tells of it."""
        try:
            requests = self._requests()
        except FinetuiError:
            requests = []
        return News(requests, self._lines())

    def _requests(self) -> list[Entry]:
        signature = log_signature(self._directory)
        if signature == self._signature:
            return []
        file = signature[0][2]
        if file != self._file:  # another log, whose ids begin anew
            self._file, self._last = file, 0
        limit = MOST_REQUESTS if self._last else FIRST_REQUESTS
        found = request_log.entries(self._directory, self._last, limit, newest=True)
        self._signature = signature
        self._last = found[-1].id if found else self._last
        return found

    def _lines(self) -> list[str]:
        """Whole lines only; the first time no more than the log's end."""
        try:
            with (self._directory / "gateway.log").open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if self._offset < 0 or size < self._offset:  # another log
                    self._offset = max(0, size - FIRST_LOG_BYTES)
                    cut = self._offset > 0
                else:
                    cut = False
                file.seek(self._offset)
                piece = file.read(MOST_LOG_BYTES)
        except FileNotFoundError:
            return []
        end = piece.rfind(b"\n") + 1
        self._offset += end
        lines = piece[:end].decode("utf-8", "replace").splitlines()
        return lines[1:] if cut else lines


def write_requests(directory: Path, path: Path) -> int:
    """Write a deployment's whole request log to a file, a JSON object a line; returns how many.

    Args:
        directory: the deployment's.
        path: a file that is replaced, mode 0600.

    Raises:
        DeploymentError: the log is damaged.
        FinetuiError: the file can't be written.
    """
    import orjson

    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    number = last = 0
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            while found := request_log.entries(directory, last):
                file.writelines(orjson.dumps(entry) + b"\n" for entry in found)
                number, last = number + len(found), found[-1].id
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise FinetuiError(
            f"{path} can't be written.", str(error.strerror), "Choose another name or folder."
        ) from error
    except FinetuiError:
        aside.unlink(missing_ok=True)
        raise
    return number
