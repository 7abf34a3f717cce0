"""Removed deployments: kept whole for 30 days, brought back in that time, then gone for good.

A removed deployment's directory lies in `.trash` beside the others as `NAME@SECONDS`, the UTC seconds of its removal:
another of the same name may be made meanwhile. Cheap to import (stdlib and orjson).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import paths
from core.runs import locks
from core.runs.trash import GONE, KEPT_S, folder_bytes
from core.serving import deployments, sockets
from core.serving.chats import Chats
from core.serving.deployments import Deployment
from core.serving.settings import DeploymentError, directory_of, read_settings

LOCK_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Removed:
    """A deployment in the trash.

    Attributes:
        id: `NAME@SECONDS`, the name of its directory.
        removed: when, UTC seconds.
        models: what it served; none where its record is damaged.
        bytes: that its directory takes.
    """

    id: str
    name: str
    directory: Path
    removed: float
    models: tuple[str, ...]
    bytes: int

    @property
    def left_s(self) -> float:
        """Seconds until it goes by itself."""
        return max(0.0, self.removed + KEPT_S - time.time())

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "directory": str(self.directory)}


@dataclass(frozen=True)
class Dependents:
    """What would miss a deployment.

    Attributes:
        guarded: deployments that ask one of its models about each text, and refuse everything without it.
        chats: titles of kept chats with it.
    """

    guarded: tuple[str, ...]
    chats: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def dependents(name: str) -> Dependents:
    """What depends on a deployment.

    Raises:
        ChatError: the kept chats can't be read.
    """
    guarded = (
        item.name
        for item in deployments.all_deployments()
        if item.name != name
        and item.settings.safety.get("kind") == "guard"
        and item.settings.safety.get("deployment") == name
    )
    chats = Chats()
    kept = chats.all() if chats.path.exists() else []  # looking would make the file
    titles = (
        chat.title
        for chat in kept
        if any(side.startswith(f"deployment:{name}/") for side in (chat.a, chat.b))
    )
    return Dependents(tuple(guarded), tuple(titles))


def remove(name: str) -> Removed:
    """Stop a deployment and move it to the trash; nothing of it is freed yet.

    Raises:
        DeploymentError: there is none, or it can't be stopped.
    """
    with deployments.changing(name) as here:
        deployments.end(here)
        place = paths.make_private(paths.removed_deployments_dir())
        moment = int(time.time())
        while (target := place / f"{name}@{moment}").exists():
            moment += 1  # removed, made and removed again within a second
        here.directory.rename(target)
    return _of(target)


def all_removed() -> list[Removed]:
    """All of the trash, the one removed last first."""
    place = paths.removed_deployments_dir()
    found = [_of(folder) for folder in place.glob("[!.]*@*") if folder.name.rpartition("@")[2].isdigit()]
    return sorted(found, key=lambda item: (-item.removed, item.name))


def find(ref: str) -> Removed:
    """One of the trash.

    Args:
        ref: its name (of several of that name the one removed last), or its id.

    Raises:
        DeploymentError: there is none.
    """
    there = all_removed()
    found = next((item for item in there if ref in (item.id, item.name)), None)
    if found is None:
        names = ", ".join(dict.fromkeys(item.name for item in there))
        raise DeploymentError(
            f"There is no removed deployment {ref!r}.",
            f"There are: {names}." if names else "There are none.",
            "`finetui deployments --trash` lists them.",
        )
    return found


def restore(ref: str) -> Deployment:
    """Bring a deployment back, stopped, with its key, its weights and its request log.

    Raises:
        DeploymentError: there is none, another has its name by now, or weights that it serves are gone.
    """
    found = find(ref)
    directory = directory_of(found.name)
    with _held(found):
        if directory.exists():
            raise DeploymentError(
                f"There is a deployment {found.name!r} by now.",
                "Two can't have one name.",
                f"`finetui undeploy {found.name}` removes that one; then `finetui deployments restore {found.id}`.",
            )
        _check_weights(found, directory)
        found.directory.rename(directory)
    return deployments.find(found.name)


def _check_weights(found: Removed, directory: Path) -> None:
    """Raise where a model that lies outside the deployment is gone, e.g. a base that was cleaned away."""
    for model in read_settings(found.directory).models:
        for folder in filter(None, (model.folder, model.adapter_on)):
            if not Path(folder).is_relative_to(directory) and not Path(folder).is_dir():
                raise DeploymentError(
                    f"{found.name} can't be brought back: the weights of {model.name} are gone.",
                    f"{folder} is not there any more.",
                    f"`finetui models fetch` gets a model again ({model.base}).",
                )


@contextmanager
def _held(found: Removed) -> Iterator[None]:
    """While nobody else brings it back or takes it away."""
    try:
        lock = locks.take(found.directory / "change.lock", LOCK_TIMEOUT_S)
    except FileNotFoundError:
        lock = None
    if lock is None:
        raise DeploymentError(
            f"{found.id} is being changed by another finetui.", "", "Try again in a moment."
        )
    with lock:
        yield


def purge(ref: str) -> int:
    """Take a deployment in the trash away for good; returns the bytes freed.

    Raises:
        DeploymentError: there is none, or it can't be removed.
    """
    found = find(ref)
    with _held(found):
        aside = found.directory.with_name(f"{GONE}{found.id}")
        try:
            found.directory.rename(aside)
            shutil.rmtree(aside)
        except OSError as error:
            raise DeploymentError(
                f"{found.id} can't be removed.", str(error), f"See who owns {aside}, then try again."
            ) from error
    return found.bytes


def sweep(older_than_s: float = KEPT_S) -> dict[str, int]:
    """Take away what has been in the trash for longer, and what an interrupted removal left; also sockets nobody owns.

    Returns:
        The bytes freed, by id.
    """
    for left in paths.removed_deployments_dir().glob(f"{GONE}*"):
        shutil.rmtree(left, ignore_errors=True)  # another process may be at it
    sockets.sweep()
    return {item.id: purge(item.id) for item in all_removed() if time.time() - item.removed >= older_than_s}


def _of(directory: Path) -> Removed:
    name, _, moment = directory.name.rpartition("@")
    try:
        models = tuple(model.name for model in read_settings(directory).models)
    except DeploymentError:
        models = ()
    return Removed(directory.name, name, directory, float(moment), models, folder_bytes(directory))
