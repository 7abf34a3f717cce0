"""Training on several machines: each starts its own processes, and all meet at one address of the first machine.

The first machine's worker owns the run and writes it; the others are told what to do through a store that it keeps
open at HOST:PORT. Run directory and rows must lie where every machine sees them (a shared home, as clusters have).
Whoever can reach the address can join: it belongs on a network of the machines' own.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import FinetuiError
from core.events import Event
from core.recipe import Recipe, dump, parse

if TYPE_CHECKING:
    from torch.distributed import TCPStore

    from core.training.base_model import BaseModel

RENDEZVOUS = "FINETUI_RENDEZVOUS"
"""Environment variable with the address where the machines meet."""
COME_S = 24 * 3600
"""How long a machine waits for the first one: a cluster may start it much later."""
LOOK_S = 0.5


class NodeError(FinetuiError):
    """The machines can't meet, or one of them can't do its part."""


@dataclass(frozen=True)
class Address:
    """Where the machines meet."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def address(text: str | None = None) -> Address:
    """The meeting place of a text, or of the environment.

    Raises:
        NodeError: there is none, or it is no HOST:PORT.
    """
    given = os.environ.get(RENDEZVOUS, "") if text is None else text
    host, _, port = given.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise NodeError(
            f"{given!r} is no address." if given else "Nothing says where the machines meet.",
            "It is HOST:PORT, an address of the first machine that all of them can reach.",
            "Run `finetui train RECIPE --rendezvous HOST:PORT` on each machine, with --go-on to resume.",
        )
    return Address(host.strip("[]"), int(port))


class Meeting:
    """The first machine's end: it keeps the store and waits for the others.

    Args:
        place: where to listen.
        nodes: machines in all.

    Raises:
        NodeError: it can't listen there.
    """

    def __init__(self, place: Address, nodes: int) -> None:
        from torch.distributed import DistNetworkError, TCPStore

        self.place = place
        self._nodes = nodes
        try:
            self._store = TCPStore(place.host, place.port, is_master=True, wait_for_workers=False)
        except (DistNetworkError, RuntimeError) as error:
            raise NodeError(
                f"This machine can't listen at {place}.",
                str(error).splitlines()[0],
                "Use an address of the first machine (the one with node rank 0) and a free port.",
            ) from error

    def tell(self, recipe: Recipe, directory: Path, resume_from: Path | None, base: BaseModel) -> None:
        """What the others are to do."""
        work = {
            "version": version("finetui"),
            "recipe": dump(recipe),
            "directory": str(directory),
            "resume_from": str(resume_from) if resume_from else "",
            "base": {**asdict(base), "folder": str(base.folder)},
        }
        self._store.set("work", json.dumps(work))

    def complete(self, leaving: Callable[[], bool]) -> bool:
        """Wait until all machines have come; False when the run is to end before that.

        Args:
            leaving: whether the run was told to end.
        """
        while self._store.add("here", 0) < self._nodes - 1:
            if leaving():
                return False
            time.sleep(LOOK_S)
        return True


class NodeRun:
    """A run as a machine sees it that is not the first one: it computes, and the first one writes.

    Args:
        directory: of the run, on the shared disk.
        resume_from: checkpoint to go on from, or None.
        devices: of this machine, one for each process.
    """

    ending_since: float | None = None

    def __init__(self, directory: Path, resume_from: Path | None, devices: tuple[str, ...]) -> None:
        self.directory = directory
        self.resume_from = resume_from
        self.devices = devices
        self.device = devices[0]

    def emit(self, event: Event) -> None:
        """A warning that concerns this machine alone: to its own output."""
        print(f"{platform.node()}: {event}", flush=True)  # noqa: T201 - the journal is the first machine's


@dataclass(frozen=True)
class Work:
    """What a machine is told."""

    recipe: Recipe
    directory: Path
    resume_from: Path | None
    base: BaseModel


def come(place: Address) -> Work:
    """Wait for the first machine and hear what is to be done.

    Raises:
        NodeError: it does not come, or this machine can't see the run.
    """
    from core.training.base_model import BaseModel

    store = _store(place, timedelta(seconds=COME_S))
    content: dict[str, Any] = json.loads(store.get("work"))
    if content["version"] != version("finetui"):
        raise NodeError(
            f"The first machine has finetui {content['version']}, this one {version('finetui')}.",
            "They have to compute the same.",
            "Install one version on all machines.",
        )
    base = BaseModel(**{**content["base"], "folder": Path(content["base"]["folder"])})
    directory = Path(content["directory"])
    for needed in (directory / "recipe.yaml", base.folder / "config.json"):
        if not needed.exists():
            raise NodeError(
                f"{platform.node()} does not see {needed.parent}.",
                "The first machine has its run and its model there.",
                "Set FINETUI_HOME to a folder on a disk that all machines share.",
            )
    store.add("here", 1)
    resume_from = Path(content["resume_from"]) if content["resume_from"] else None
    return Work(parse(content["recipe"]), directory, resume_from, base)


def _store(place: Address, patience: timedelta) -> TCPStore:
    from torch.distributed import DistNetworkError, DistStoreError, TCPStore

    try:
        return TCPStore(place.host, place.port, is_master=False, wait_for_workers=False, timeout=patience)
    except (DistNetworkError, DistStoreError) as error:
        raise NodeError(
            f"Nobody is at {place}.",
            str(error).splitlines()[0],
            "Start the first machine (node rank 0) with the same --rendezvous; see that no firewall is between.",
        ) from error
