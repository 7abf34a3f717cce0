"""Training on several devices: the worker starts one process each and stays the only one that writes the journal."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import tempfile
import threading
from multiprocessing.connection import Connection, wait
from pathlib import Path

from core.recipe import Recipe
from core.training.base_model import BaseModel
from core.training.nodes import Address, NodeRun, Work
from core.training.plan import processes
from core.training.rank_link import Assignment, Failure, RankError, answer
from core.work import Outcome, Run

COMMAND: tuple[str, ...] = (sys.executable, "-P", "-u", "-m", "core.training.rank")
"""Starts a rank when the worker's socket is appended."""

LOOK_S = 0.2
"""How often the ranks are told that the worker is to end."""
LEAVE_S = 5
"""Seconds that the ranks have to leave once one has failed."""


def run_ranks(recipe: Recipe, run: Run, base: BaseModel, place: Address | None = None) -> Outcome:
    """Train on all devices of a run until done, stopped or paused.

    Args:
        recipe: checked; its `devices` are more than one.
        run: where to report and save; data and model are frozen in it already.
        base: the model to start from.
        place: where several machines meet, all of which have come; this is the first.

    Raises:
        RankError: one of the processes failed.
    """
    relay, exits = _work(recipe, run, base, place, node=0)
    if relay.outcome is not None:
        return relay.outcome
    raise _failure(relay, exits, len(run.devices))


def help_out(work: Work, devices: tuple[str, ...], place: Address, node: int) -> None:
    """Do a machine's part in training that another one leads, until it is over.

    Args:
        work: what that one has told.
        devices: of this machine.
        place: where they meet.
        node: number of this machine, from 1 on.

    Raises:
        RankError: one of the processes failed; also when the others went away.
    """
    run = NodeRun(work.directory, work.resume_from, devices)
    relay, exits = _work(work.recipe, run, work.base, place, node)
    if exits or relay.failures:
        raise _failure(relay, exits, len(devices))


def _work(
    recipe: Recipe, run: Run | NodeRun, base: BaseModel, place: Address | None, node: int
) -> tuple[_Relay, dict[int, int]]:
    """Start this machine's ranks and serve them until they have ended."""
    with tempfile.TemporaryDirectory(prefix="finetui-") as scratch:
        relay = _Relay(recipe, run, base, Path(scratch) / "worker", place, node)
        exits = _launch(len(run.devices), Path(scratch), relay.address)
        relay.close()
    if relay.error is not None:
        raise relay.error
    return relay, exits


def _failure(relay: _Relay, exits: dict[int, int], size: int) -> RankError:
    silent = [rank for rank, code in exits.items() if code < 0 and rank not in relay.failures]
    if silent or not relay.failures:  # what the others say then is that they have lost this one
        return RankError(_died(silent[0] if silent else 0, size, exits))
    return RankError(next(iter(relay.failures.values())))


def _launch(size: int, scratch: Path, address: str) -> dict[int, int]:
    """Start the ranks and wait for their end; the exit status of each that failed."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher import LaunchConfig, elastic_launch

    before = signal.getsignal(signal.SIGQUIT)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=size,
        run_id=scratch.name,
        rdzv_backend="c10d",
        rdzv_endpoint=str(scratch / "agents"),
        rdzv_configs={"store_type": "file"},  # nothing listens on the network
        local_addr="127.0.0.1",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(scratch)),
        signals_to_handle="SIGQUIT",  # SIGTERM and SIGINT stay the worker's own
        shutdown_timeout=LEAVE_S,
    )
    entry, *words = COMMAND
    try:
        elastic_launch(config, entry)(*words, address)
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    finally:
        signal.signal(signal.SIGQUIT, before)
    return {}


def _died(rank: int, size: int, exits: dict[int, int]) -> Failure:
    return Failure(
        rank,
        f"Process {rank + 1} of {size} ended without a word, with status {exits.get(rank, 0)}.",
        "-9 is what the kernel does when memory runs out; the end of worker.log may say more.",
        "`finetui resume` goes on from the last checkpoint.",
        1,
    )


class _Relay:
    """Serves the ranks of a run from a thread of its own.

    Args:
        recipe: of the run.
        run: whose verbs rank 0 calls.
        base: the model.
        address: where to listen.
        place: where several machines meet, or None.
        node: number of this machine among them.

    Attributes:
        outcome: rank 0's last word.
        failures: last words of ranks that failed, the first one first.
        error: what went wrong in the run itself while it was called.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: Run | NodeRun,
        base: BaseModel,
        address: Path,
        place: Address | None,
        node: int,
    ) -> None:
        self.outcome: Outcome | None = None
        self.failures: dict[int, Failure] = {}
        self.error: BaseException | None = None
        self.address = str(address)
        self._recipe, self._run, self._base = recipe, run, base
        self._place, self._node = place, node
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.address)
        self._socket.listen(len(run.devices))
        self._links: list[Connection] = []
        self._first: Connection | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="ranks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """All ranks have ended: read what they still have said."""
        self._over.set()
        self._thread.join()

    def _serve(self) -> None:
        try:
            while True:
                over = self._over.is_set()  # looked at first: what was said before that is read
                ready = wait([self._socket, *self._links], LOOK_S)
                for item in ready:
                    if isinstance(item, Connection):
                        self._hear(item)
                    else:
                        self._links.append(Connection(self._socket.accept()[0].detach()))
                if over and not ready:
                    return
                self._tell_of_the_end()
        except BaseException as error:  # noqa: BLE001 - raised again by the worker's own thread
            self.error = error
        finally:
            self._let_go()
            self._socket.close()

    def _hear(self, link: Connection) -> None:
        """One message of a rank."""
        try:
            kind, *rest = link.recv()
        except (EOFError, OSError):  # it has ended, the agent knows how; or was let go just now
            if link in self._links:
                self._links.remove(link)
            return
        with contextlib.suppress(ConnectionError):  # it ends while it is answered
            if kind == "hello":
                link.send(("work", self._assignment(*rest)))
                self._first = link if rest == [0] else self._first
            elif kind == "emit":
                self._run.emit(*rest)
            elif kind == "call":
                answer(self._run, link, *rest)
            else:
                self._end(*rest)

    def _assignment(self, local: int) -> Assignment:
        run = self._run
        return Assignment(
            self._recipe,
            run.directory,
            run.resume_from,
            run.devices[local],
            self._base,
            rank=self._node * len(run.devices) + local,
            size=processes(self._recipe),
            place=self._place,
        )

    def _end(self, last: Outcome | Failure) -> None:
        """Take a rank's last word and let the others go: they are done too, or can't go on without it."""
        if isinstance(last, Failure):
            self.failures.setdefault(last.rank, last)
        else:
            self.outcome = last
        self._let_go()

    def _let_go(self) -> None:
        for link in self._links:
            link.close()
        self._links = []

    def _tell_of_the_end(self) -> None:
        """Rank 0 is to know when the worker was told to end; it decides for all."""
        since = self._run.ending_since
        if since is not None and self._first is not None:
            with contextlib.suppress(OSError):
                self._first.send(("ending", since))
            self._first = None
