"""Deployments of this user: which there are, whether they answer, and starting, stopping and removing them.

Cheap to import (stdlib and orjson), synchronous, safe to call from threads. A deployment's directory is the truth.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from core import paths
from core.runs import locks
from core.runs.process import Identity, detach
from core.serving import sockets
from core.serving.settings import (
    DeploymentError,
    ServedModel,
    Settings,
    deployments_dir,
    directory_of,
    new_key,
    read_settings,
    write_settings,
)

__all__ = [
    "Deployment", "DeploymentError", "all_deployments", "find", "remove", "restart", "rotate_key", "start", "stop",
    "wait",
]  # fmt: skip

GATEWAY_COMMAND: tuple[str, ...] = (sys.executable, "-P", "-u", "-m", "core.serving.gateway")
PORTS = range(8100, 8200)
LAUNCH_S = 30.0
"""A gateway that has not taken its lock by then is not coming."""
POLL_S = 0.05
LOG_LINES = 5
LOG_BYTES = 1 << 14


@dataclass(frozen=True)
class Deployment:
    """A deployment as lists show it. Times are UTC seconds, 0 for never.

    Attributes:
        state: starting healthy unhealthy stopped failed.
        reason: why it is unhealthy or failed, or empty.
        next_step: what the user can do then.
        pid: of the gateway, 0 where none runs.
        socket: the gateway's Unix socket, for this user's own programs: no key is asked for there.
        started: when the gateway was started.
        upstreams: of each model its `state` (cold starting ready waiting), `pid`, `restarts` and `reason`.
        settings: all else.
    """

    name: str
    directory: Path
    models: tuple[ServedModel, ...]
    host: str
    port: int
    created: float
    state: str
    reason: str
    next_step: str
    pid: int
    socket: Path
    started: float
    upstreams: dict[str, dict[str, Any]]
    settings: Settings

    @property
    def running(self) -> bool:
        """Whether there is a gateway."""
        return self.state in ("starting", "healthy", "unhealthy")

    @property
    def url(self) -> str:
        """What OpenAI's clients take as `base_url`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    def as_data(self) -> dict[str, Any]:
        """For JSON; the key's hash is left out, and of the settings what is said beside them."""
        content = asdict(self)
        said = ("key_sha256", "sockets", "stopped")
        content["settings"] = {
            name: value
            for name, value in content["settings"].items()
            if name not in content and name not in said
        }
        return {**content, "directory": str(self.directory), "socket": str(self.socket), "url": self.url}


def all_deployments() -> list[Deployment]:
    """All deployments, newest first; damaged ones too, as failed."""
    try:
        folders = [entry for entry in deployments_dir().iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return []
    found = [_of(folder) for folder in folders if not folder.name.startswith(".")]
    return sorted(found, key=lambda item: (-item.created, item.name))


def find(name: str) -> Deployment:
    """One deployment.

    Raises:
        DeploymentError: there is none of that name.
    """
    directory = directory_of(name)
    if not directory.is_dir():
        if next(paths.removed_deployments_dir().glob(f"{name}@*"), None) is not None:
            raise DeploymentError(
                f"{name} is in the trash.",
                "It was removed in the last 30 days.",
                f"`finetui deployments restore {name}` brings it back.",
            )
        names = ", ".join(item.name for item in all_deployments())
        raise DeploymentError(
            f"There is no deployment {name!r}.",
            f"There are: {names}." if names else "There are none yet.",
            "`finetui deployments` lists them.",
        )
    return _of(directory)


def _of(directory: Path) -> Deployment:
    try:
        settings = read_settings(directory)
    except DeploymentError as error:
        nothing = Settings(directory.name, 0.0, "", 0, "", ())
        return _made(directory, nothing, "failed", f"{error.what} {error.cause}", error.next_step, {}, 0)
    status = _read(directory / "status.json")
    launched = _read(directory / "gateway.json")
    if locks.is_held(directory / "gateway.lock"):
        pid = int(launched.get("pid", 0))
        if status.get("keeper") != pid or status.get("state") not in ("starting", "healthy", "unhealthy"):
            return _made(directory, settings, "starting", "", "", {}, pid)  # said by an earlier one
        log = f"`finetui deployments show {settings.name}`; the logs are in {directory}."
        reason = str(status.get("reason", ""))
        return _made(directory, settings, status["state"], reason, log if reason else "", status, pid)
    if settings.stopped or not launched:
        return _made(directory, settings, "stopped", "", "", {}, 0)
    identity = Identity(**{name: launched[name] for name in ("host", "boot", "pid", "start")})
    if identity.alive() and time.time() - float(launched["launched"]) < LAUNCH_S:
        return _made(directory, settings, "starting", "", "", {}, identity.pid)
    reason, step = _why_failed(directory, settings, status, identity)
    return _made(directory, settings, "failed", reason, step, {}, 0)


def _why_failed(
    directory: Path, settings: Settings, status: dict[str, Any], identity: Identity
) -> tuple[str, str]:
    again = f"`finetui deployments start {settings.name}` starts it again."
    if identity.boot != Identity.current().boot:
        return "The machine was restarted.", again
    if status.get("state") == "failed" and status.get("keeper") == identity.pid:
        return str(status["reason"]), str(status.get("next_step") or again)
    tail = log_tail(directory / "gateway.log")
    said = " Its log ends: " + " / ".join(tail) if tail else ""
    return f"The gateway ended without a word.{said}", again


def _made(
    directory: Path,
    settings: Settings,
    state: str,
    reason: str,
    next_step: str,
    status: dict[str, Any],
    pid: int,
) -> Deployment:
    return Deployment(
        name=settings.name,
        directory=directory,
        models=settings.models,
        host=settings.host,
        port=settings.port,
        created=settings.created,
        state=state,
        reason=reason,
        next_step=next_step,
        pid=pid,
        socket=settings.socket,
        started=float(status.get("started", 0.0)) if pid else 0.0,
        upstreams=dict(status.get("upstreams", {})) if pid else {},
        settings=settings,
    )


def log_tail(path: Path, lines: int = LOG_LINES) -> list[str]:
    """The last lines of a log; none when it is not there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
            return file.read().decode("utf-8", "replace").rstrip().splitlines()[-lines:]
    except FileNotFoundError:
        return []


def _read(path: Path) -> dict[str, Any]:
    """The object of a small file that another process writes; empty when it is not there."""
    try:
        content = orjson.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


# Changing


@contextlib.contextmanager
def changing(name: str) -> Iterator[Deployment]:
    """The deployment as it is while nobody else changes it.

    Raises:
        DeploymentError: there is none, or another finetui changes it.
    """
    directory = find(name).directory
    lock = locks.take(directory / "change.lock", LAUNCH_S)
    if lock is None:
        raise DeploymentError(f"{name} is being changed by another finetui.", "", "Try again in a moment.")
    with lock:
        yield _of(directory)


def start(name: str, command: tuple[str, ...] | None = None) -> Deployment:
    """Start a deployment's gateway, detached; returns when it runs or has failed. Models may still be loading.

    Args:
        name: of the deployment.
        command: GATEWAY_COMMAND, unless a test brings its own.

    Raises:
        DeploymentError: it runs already, its port is taken, or its gateway can't be started.
    """
    with changing(name) as here:
        if here.running:
            raise DeploymentError(
                f"{name} is {here.state} already.", "", f"Restart it: `deployments restart {name}`."
            )
        settings = here.settings
        sockets.sweep()
        sockets.bind_tcp(settings.host, settings.port).close()
        settings = replace(settings, stopped=False, sockets=str(sockets.make_folder(here.directory)))
        write_settings(here.directory, settings)
        try:
            identity = detach(
                (*(command or GATEWAY_COMMAND), str(here.directory)),
                here.directory,
                here.directory / "gateway.log",
            )
            record_gateway(here.directory, identity)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise DeploymentError(
                f"The gateway of {name} can't be started.",
                str(error),
                "Free what is missing, then start it again.",
            ) from error
        return _until(name, lambda item: item.state != "starting" or item.started > 0, LAUNCH_S)


def record_gateway(directory: Path, identity: Identity) -> None:
    """Write down which process keeps the gateway."""
    content = {**asdict(identity), "launched": time.time()}
    paths.write_private(directory / "gateway.json", orjson.dumps(content))


def wait(name: str, timeout_s: float) -> Deployment:
    """Wait until a deployment is no longer starting, `timeout_s` seconds at most."""
    return _until(name, lambda item: item.state != "starting", timeout_s)


def _until(name: str, holds: Callable[[Deployment], bool], timeout_s: float) -> Deployment:
    end = time.monotonic() + timeout_s
    while not holds(here := find(name)) and time.monotonic() < end:
        time.sleep(POLL_S)
    return here


def stop(name: str) -> Deployment:
    """Stop a deployment's gateway and its models; what is being streamed may end first, for the grace it has.

    Raises:
        DeploymentError: it can't be stopped.
    """
    with changing(name) as here:
        _stop(here)
        return _of(here.directory)


def _stop(here: Deployment) -> None:
    if here.settings.name and here.settings.created:
        write_settings(here.directory, replace(here.settings, stopped=True))
    launched = _read(here.directory / "gateway.json")
    if not launched:
        return
    identity = Identity(**{name: launched[name] for name in ("host", "boot", "pid", "start")})
    if identity.alive() is None:
        raise DeploymentError(f"{here.name} runs on {identity.host}.", "", "Stop it there.")
    for number, patience_s in (
        (signal.SIGTERM, here.settings.limits.grace_s + 15.0),
        (signal.SIGKILL, 5.0),
    ):
        if not identity.alive():
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, number)
        end = time.monotonic() + patience_s
        while identity.alive() and time.monotonic() < end:
            time.sleep(POLL_S)
    if identity.alive() or locks.is_held(here.directory / "gateway.lock"):
        raise DeploymentError(
            f"The gateway of {here.name} doesn't end.", f"Its pid is {identity.pid}.", "End it."
        )


def restart(name: str) -> Deployment:
    """Stop a deployment and start it again.

    Raises:
        DeploymentError: see `stop` and `start`.
    """
    stop(name)
    return start(name)


def end(here: Deployment) -> None:
    """Stop the gateway of a deployment that is to go, and take its sockets away. Hold it with `changing`.

    Raises:
        DeploymentError: it can't be stopped.
    """
    _stop(here)
    for folder in (here.settings.sockets, sockets.make_folder(here.directory)):
        sockets.remove_folder(Path(folder))


def remove(name: str) -> int:
    """Stop a deployment and delete it for good; returns the bytes freed. core.serving.trash keeps it for a while.

    Raises:
        DeploymentError: it can't be stopped.
    """
    with changing(name) as here:
        end(here)
        freed = sum(path.lstat().st_size for path in here.directory.rglob("*") if not path.is_dir())
        aside = here.directory.with_name(f".removed-{here.directory.name}-{os.getpid()}")
        here.directory.rename(aside)
        shutil.rmtree(aside)
        return freed


def rotate_key(name: str) -> str:
    """Give a deployment another key and return it: the only time it is to be seen. A running gateway takes it at once.

    Raises:
        DeploymentError: there is no such deployment.
    """
    with changing(name) as here:
        key, sha256 = new_key()
        write_settings(here.directory, replace(here.settings, key_sha256=sha256))
        return key


def using_run(run_id: str) -> list[str]:
    """Names of the deployments that serve a model of a run."""
    return [item.name for item in all_deployments() if any(model.run == run_id for model in item.models)]
