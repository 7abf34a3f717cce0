"""One run at a time on a device, first come first served.

A device's folder holds `lock`, flocked by the run that has the device, and one ticket a waiting run, flocked by its
owner. The kernel lets go of both when their process ends, however it ends, so a killed run never blocks the others.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from pathlib import Path

from core import paths
from core.runs import locks
from core.runs.locks import Lock

POLL_S = 0.5
_TICKET = re.compile(r"(\d{20})-(.+)")


def device_dir(device: str) -> Path:
    """The folder of a device's lock and tickets."""
    return paths.devices_dir() / re.sub(r"[^\w.-]", "-", device)


def acquire(
    device: str,
    run_id: str,
    submitted_ns: int,
    on_wait: Callable[[int, str], None],
    should_stop: Callable[[], bool],
) -> Lock | None:
    """Wait for a device, in the order of `submitted_ns`.

    Args:
        device: its name, e.g. `cpu` or `cuda:GPU-...`.
        run_id: who waits.
        submitted_ns: nanoseconds since the epoch; lower goes first.
        on_wait: called with the position (1 is next) and the id of the run in front, whenever they change.
        should_stop: asked twice a second while waiting.

    Returns:
        The device's lock, to be held as long as it is used; None when `should_stop` said so.

    Raises:
        PathError: the devices' directory can't be written.
    """
    folder = paths.make_private(device_dir(device))
    name = f"{submitted_ns:020}-{run_id}"
    with _ordered(folder):
        ticket = locks.take(folder / name, timeout_s=10.0)
    if ticket is None:
        raise RuntimeError(f"{run_id} waits for {device} in another process already")
    told: tuple[int, str] | None = None
    pause = threading.Event()
    try:
        while not should_stop():
            with _ordered(folder):
                waiting = _waiting(folder)
                ahead = waiting[: waiting.index(name)]
                lock = None if ahead else locks.take(folder / "lock", timeout_s=4 * locks.POLL_S)
            if lock is not None:
                lock.write(run_id.encode())
                return lock
            place = (len(ahead) + 1, ahead[-1][21:] if ahead else _holder(folder))
            if place != told:
                told = place
                on_wait(*place)
            pause.wait(POLL_S)
        return None
    finally:
        with _ordered(folder):
            (folder / name).unlink(missing_ok=True)
            ticket.release()


def waiting(device: str) -> list[str]:
    """Ids of the runs that wait for a device, the next one first."""
    folder = device_dir(device)
    return [name[21:] for name in _tickets(folder) if locks.is_held(folder / name)]


def holder(device: str) -> str:
    """Id of the run that has the device; empty when it is free."""
    folder = device_dir(device)
    return _holder(folder) if locks.is_held(folder / "lock") else ""


def _ordered(folder: Path) -> contextlib.AbstractContextManager[Lock]:
    """Tickets come and go one at a time, so that a dead one can't be mistaken for its run's next one."""
    lock = locks.take(folder / "tickets.lock", timeout_s=30.0)
    if lock is None:
        raise RuntimeError(f"{folder / 'tickets.lock'} stays locked")
    return lock


def _waiting(folder: Path) -> list[str]:
    """Names of the live tickets in order; the dead ones are removed."""
    alive = []
    for name in _tickets(folder):
        if locks.is_held(folder / name):
            alive.append(name)
        else:
            (folder / name).unlink(missing_ok=True)
    return alive


def _tickets(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if _TICKET.fullmatch(path.name))
    except FileNotFoundError:
        return []


def _holder(folder: Path) -> str:
    try:
        return (folder / "lock").read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""
