"""A run's process: who it is, whether it lives, and how it is started so that it outlives its screen."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from core import paths
from core.runs import locks
from core.runs.directory import RunDirectory, RunError

WORKER_COMMAND: tuple[str, ...] = (sys.executable, "-P", "-u", "-m", "core.runs.worker")
"""Starts a worker when the run directory is appended."""

HEARTBEAT_S = 5.0
PROBE_TIMEOUT_S = 3.0

_LAUNCH = 'umask 077; "$@" >&2 & echo $!'
"""Starts the worker in the background and ends: the worker is nobody's child, so it can't become a zombie of the
app, and nothing that ends the app's children reaches it."""


@dataclass(frozen=True)
class Identity:
    """One process, told apart from every other: a pid alone lies after a reuse, a restart or on another host.

    `start` is ticks since boot on Linux, seconds since the epoch elsewhere; `boot` is empty where unknown.
    """

    host: str
    boot: str
    pid: int
    start: float

    @classmethod
    def current(cls) -> Identity:
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of a process of this host; its start is 0 when it is gone already."""
        return cls(platform.node(), _boot_id(), pid, _start_of(pid) or 0.0)

    def alive(self) -> bool | None:
        """Whether the process runs; None when it can't be known from this host. A zombie is dead."""
        if self.host != platform.node():
            return None
        if self.boot != _boot_id():
            return False
        start = _start_of(self.pid)
        return start is not None and abs(start - self.start) < 0.5


@dataclass(frozen=True)
class Worker:
    """`worker.json`: the process that works, or last worked, on a run.

    `journal_bytes` is the journal's size when the worker was launched: as long as the journal hasn't grown, what it
    says is of an earlier worker.
    """

    identity: Identity
    journal_bytes: int
    launched: float


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""  # not Linux: the start is a point in time there, so no two boots share it


def _start_of(pid: int) -> float | None:
    """When a living process started; None for one that is gone or a zombie."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        values = stat[stat.rindex(")") + 2 :].split()  # the name before it may hold spaces and brackets
        return None if values[0] in "ZXx" else float(values[19])
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def write_worker(run: RunDirectory, worker: Worker) -> None:
    paths.write_private(run.worker_path, orjson.dumps(asdict(worker)))


def read_worker(run: RunDirectory) -> Worker | None:
    """The run's present or last worker; None when none was ever started."""
    try:
        record: dict[str, Any] = orjson.loads(run.worker_path.read_bytes())
        return Worker(Identity(**record["identity"]), int(record["journal_bytes"]), float(record["launched"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def journal_bytes(run: RunDirectory) -> int:
    """Size of the run's journal; 0 when there is none yet."""
    try:
        return run.journal_path.stat().st_size
    except FileNotFoundError:
        return 0


def worker_alive(run: RunDirectory, worker: Worker | None) -> bool | None:
    """Whether a worker works on the run; None when only another host could tell.

    Dead is said only when the process is gone *and* nobody holds the run's lock: inside another container of the
    same host a pid means nothing, the lock does.
    """
    if locks.is_held(run.lock_path):
        return True
    return worker.identity.alive() if worker else False


# Heartbeat


class Heartbeat:
    """Touches a file every few seconds from a thread, so that other hosts too can see that the worker lives."""

    def __init__(self, path: Path, every_s: float = HEARTBEAT_S) -> None:
        self._path = path
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def _beat(self) -> None:
        while True:
            try:
                self._path.touch(mode=0o600)
            except OSError as error:  # a full disk or a network hiccup; the next beat tries again
                print(f"heartbeat: {error}", file=sys.stderr)  # noqa: T201 - goes to worker.log
            if self._over.wait(self._every_s):
                return

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


def heartbeat_age_s(run: RunDirectory) -> float | None:
    """Seconds since the last heartbeat; None when there was none."""
    try:
        return max(0.0, time.time() - run.heartbeat_path.stat().st_mtime)
    except FileNotFoundError:
        return None


# Starting a worker


def spawn(run: RunDirectory, command: tuple[str, ...] | None = None) -> Worker:
    """Start a run's worker, detached from this process, its terminal and, where possible, its login session.

    Args:
        run: the run's directory; becomes the worker's working directory.
        command: WORKER_COMMAND, unless a test brings its own.

    Raises:
        RunError: the worker's process can't be started.
    """
    launched, size = time.time(), journal_bytes(run)
    try:
        identity = detach((*(command or WORKER_COMMAND), str(run.path)), run.path, run.log_path)
        worker = Worker(identity, size, launched)
        write_worker(run, worker)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise RunError(
            f"The worker of {run.id} can't be started.",
            str(error),
            f"Free what is missing (disk, processes, memory), then `finetui resume {run.id}`.",
        ) from error
    return worker


def detach(command: tuple[str, ...], folder: Path, log_path: Path) -> Identity:
    """Start a process that outlives this one, its terminal and, where possible, its login session.

    Args:
        command: its words.
        folder: its working directory.
        log_path: what it prints is appended there; made with mode 0600.

    Raises:
        OSError, ValueError, SubprocessError: it can't be started.
    """
    descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        launcher = subprocess.run(
            ("/bin/sh", "-c", _LAUNCH, "finetui", *_scope(), *command),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            check=True,
        )
    return Identity.of(int(launcher.stdout))


def _scope() -> tuple[str, ...]:
    from core.runs.survival import user_scope_outlives_login

    if not user_scope_outlives_login():
        return ()
    return ("systemd-run", "--user", "--scope", "--quiet", "--collect", "--") if _scope_works() else ()


@functools.cache
def _scope_works() -> bool:
    """Whether this user's systemd answers, found by asking it for a scope that does nothing."""
    try:
        answer = subprocess.run(
            ("systemd-run", "--user", "--scope", "--quiet", "--collect", "--", "true"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0
