"""Between a run's worker and the ranks it has started: a private socket, on which Python objects go both ways.

Each rank says who it is and gets its `Assignment`. Rank 0 then sends events, calls the run's verbs and waits for their
answers, and ends with the `Outcome`; any rank may end with a `Failure`. The worker sends, beside answers, when it was
told to end. A rank whose worker is gone, or has let go of it, ends at once.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from core.errors import FinetuiError
from core.events import Event, Warned
from core.recipe import Recipe
from core.training.base_model import BaseModel
from core.training.nodes import Address
from core.work import Request

CALLS = (
    "requests",
    "worked_s",
    "partial_checkpoint",
    "publish_checkpoint",
    "prune_checkpoints",
    "partial_model",
    "publish_model",
)
"""Verbs of a run that rank 0 may call."""


@dataclass(frozen=True)
class Assignment:
    """What a rank is to do.

    Args:
        recipe: of the run.
        directory: of the run.
        resume_from: checkpoint to go on from, or None.
        device: this rank's: `cpu` or `cuda:<uuid>`.
        base: the model, on this machine.
        rank: number among all processes that train together.
        size: how many there are, on all machines.
        place: where several machines meet; None for one alone.
    """

    recipe: Recipe
    directory: Path
    resume_from: Path | None
    device: str
    base: BaseModel
    rank: int
    size: int
    place: Address | None


@dataclass(frozen=True)
class Failure:
    """Why a rank gave up, as a user is told it."""

    rank: int
    what: str
    cause: str
    next_step: str
    exit_code: int


class RankError(FinetuiError):
    """One of several processes that train together failed, and with it the run."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.what, failure.cause, failure.next_step)
        self.exit_code = failure.exit_code


class RankRun:
    """A run as one of its ranks sees it; satisfies `core.work.Run`.

    Args:
        address: of the worker's socket.
        local: number of this process among those of its machine.

    Attributes:
        assignment: what to do.
        rank: number of this process among all.
        ending_since: when the worker was told to end, by time.monotonic(); on rank 0 alone, which decides.
    """

    def __init__(self, address: str, local: int) -> None:
        self._link = Client(address, "AF_UNIX")
        self._link.send(("hello", local))
        self.assignment: Assignment = self._link.recv()[1]
        self.rank = self.assignment.rank
        self.directory = self.assignment.directory
        self.device = self.assignment.device
        self.devices: tuple[str, ...] = (self.assignment.device,)
        self.resume_from = self.assignment.resume_from
        self.ending_since: float | None = None
        self._answers: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._sending = threading.Lock()
        threading.Thread(target=self._listen, name="worker", daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                kind, value = self._link.recv()
                if kind == "ending":
                    self.ending_since = value
                else:
                    self._answers.put((kind, value))
        except (EOFError, OSError):
            os._exit(0)  # whether all is done or all is lost, the worker knows
        except BaseException:  # noqa: BLE001 - a message that can not be read
            traceback.print_exc()
            os._exit(1)  # nobody would hear an answer any more

    def _send(self, *message: Any) -> None:
        with self._sending:
            self._link.send(message)

    def _call(self, verb: str, *given: Any) -> Any:
        self._send("call", verb, given)
        kind, value = self._answers.get()
        if kind == "raised":
            raise RankError(value) if isinstance(value, Failure) else value
        return value

    def emit(self, event: Event) -> None:
        """Rank 0's go to the journal; the others would say the same."""
        if self.rank == 0:
            self._send("emit", event)

    def warn(self, event: Warned) -> None:
        """Tell what concerns this rank alone."""
        self._send("emit", event)

    def end(self, message: Any) -> None:
        """The last word: rank 0's `Outcome`, or anybody's `Failure`."""
        self._send("end", message)

    def requests(self) -> Sequence[Request]:
        """Of the user, for rank 0, which tells the others."""
        found: Sequence[Request] = self._call("requests") if self.rank == 0 else ()
        return found

    def worked_s(self) -> float:
        """See `Run`; called on rank 0 alone, as the rest."""
        seconds: float = self._call("worked_s")
        return seconds

    def partial_checkpoint(self, step: int) -> Path:
        """See `Run`."""
        path: Path = self._call("partial_checkpoint", step)
        return path

    def publish_checkpoint(self, partial: Path, step: int) -> Path:
        """See `Run`."""
        path: Path = self._call("publish_checkpoint", partial, step)
        return path

    def prune_checkpoints(self, keep: int, spare: int | None = None) -> None:
        """See `Run`."""
        self._call("prune_checkpoints", keep, spare)

    def partial_model(self) -> Path:
        """See `Run`."""
        path: Path = self._call("partial_model")
        return path

    def publish_model(self, partial: Path) -> Path:
        """See `Run`."""
        path: Path = self._call("publish_model", partial)
        return path


def answer(run: Any, link: Connection, verb: str, given: tuple[Any, ...]) -> None:
    """Call a verb of the run for a rank and send it what came of it.

    Args:
        run: the worker's.
        link: to the rank.
        verb: one of `CALLS`.
        given: its arguments.
    """
    assert verb in CALLS
    try:
        link.send(("done", getattr(run, verb)(*given)))
    except OSError as error:
        link.send(("raised", OSError(error.errno, error.strerror, error.filename)))
    except FinetuiError as error:
        link.send(("raised", Failure(0, error.what, error.cause, error.next_step, error.exit_code)))
