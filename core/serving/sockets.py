"""Unix sockets of a deployment: in a short folder that is this user's alone. Stdlib only."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import tempfile
import time
from pathlib import Path

from core.runs import locks
from core.runs.survival import lingers
from core.serving.settings import DeploymentError

LONGEST_PATH = 103
"""Bytes of a socket's path: 107 on Linux, 103 on macOS."""
LONGEST_NAME = 16
BACKLOG = 128
OWNER = "owner"
"""In a folder of sockets: the path of the deployment they belong to."""
UNUSED_S = 24 * 3600.0


def make_folder(directory: Path) -> Path:
    """A private folder for the sockets of a deployment, the same each time.

    Under XDG_RUNTIME_DIR where this user lingers (without lingering it is emptied at logout), else under the folder
    for temporary files: the deployment's own directory may have a longer path than a socket may.

    Args:
        directory: the deployment's.

    Raises:
        DeploymentError: no folder is short enough and this user's alone.
    """
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:10]
    for place in _places():
        folder = place / digest
        if len(os.fsencode(folder)) + 1 + LONGEST_NAME > LONGEST_PATH:
            continue
        for part in (place, folder):
            _private(part)
        (folder / OWNER).write_bytes(os.fsencode(directory))
        return folder
    raise DeploymentError(
        "There is no place for the deployment's Unix sockets.",
        f"Their paths may have {LONGEST_PATH} bytes; {', '.join(map(str, _places()))} are longer.",
        "Set TMPDIR to a folder with a short path.",
    )


def _places() -> list[Path]:
    own = f"finetui-{os.getuid()}"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path(runtime) / "finetui"] if runtime and lingers() and Path(runtime).is_dir() else []
    return [*places, Path(tempfile.gettempdir()) / own, Path("/tmp") / own]


def _private(folder: Path) -> None:
    """Make a folder with mode 0700, or see that the one there is this user's alone.

    Raises:
        DeploymentError: somebody else made it, or it is a link.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise DeploymentError(
            f"{folder} can't be made.", str(error), "Set TMPDIR to a folder that is writable."
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise DeploymentError(
            f"{folder} belongs to somebody else.",
            "Sockets there could be theirs.",
            "Set TMPDIR to a folder of your own.",
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def sweep() -> None:
    """Take away folders of sockets that nobody owns: a process that is killed can't, nor one whose home was deleted.

    Those whose deployment is gone, and those unused for a day whose gateway doesn't run; a start makes them anew.
    """
    for place in _places():
        for folder in place.glob("*") if place.is_dir() and place.stat().st_uid == os.getuid() else ():
            try:
                directory = Path(os.fsdecode((folder / OWNER).read_bytes()))
                unused = time.time() - folder.stat().st_mtime > UNUSED_S
            except OSError:  # another process makes it just now, or takes it away
                continue
            if not directory.is_dir() or (unused and not locks.is_held(directory / "gateway.lock")):
                remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder of sockets; only one that looks as those made here."""
    if folder.parent in _places() and folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)


def bind_unix(path: Path) -> socket.socket:
    """A listening Unix socket with mode 0600, in place of one that a dead process left.

    Raises:
        OSError: it can't be bound.
    """
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        server.bind(str(path))
    except BaseException:
        server.close()
        raise
    finally:
        os.umask(mask)
    server.listen(BACKLOG)
    server.setblocking(False)
    return server


def bind_tcp(host: str, port: int) -> socket.socket:
    """A TCP socket bound to an address; port 0 lets the system choose.

    Raises:
        DeploymentError: the port is taken, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named asyncio turns Nagle's algorithm off, which would hold each reply back for 40 ms.
    server = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
        server.listen(BACKLOG)  # some systems tell only now that another listens there
    except (OSError, OverflowError) as error:
        server.close()
        raise DeploymentError(
            f"The gateway can't listen on {host} port {port}.",
            str(error),
            "Another program has the port, or the address is none of this machine's: choose others (--port, --listen).",
        ) from error
    server.setblocking(False)
    return server


def free_port(host: str, ports: range) -> int:
    """The first port of a range that nobody listens on.

    Raises:
        DeploymentError: all are taken, or the address is none of this machine's.
    """
    for port in ports[:-1]:
        try:
            bind_tcp(host, port).close()
        except DeploymentError:
            continue  # taken: the next one
        return port
    bind_tcp(host, ports[-1]).close()
    return ports[-1]
