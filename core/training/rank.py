"""One of several processes that train a model together, started by `launch` through torch's elastic agent.

    python -P -u -m core.training.rank SOCKET

Its number on this machine and how many there are here come in the environment, as torchrun has it: RANK, WORLD_SIZE.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from pathlib import Path

from core import devices
from core.errors import FinetuiError
from core.training.rank_link import Failure, RankRun

MEETING = "meeting"
"""Name of the file beside the socket through which the ranks find each other."""


def main() -> int:
    """The command line: one argument, the worker's socket."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the worker hears them and decides what the ranks do
    run = RankRun(sys.argv[1], int(os.environ["RANK"]))
    try:
        _work(run, Path(sys.argv[1]).with_name(MEETING))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the worker tells it
        traceback.print_exc()
        with contextlib.suppress(OSError):  # the worker has let go already: another one's error came first
            run.end(_failure(run.rank, error))
        return 1
    return 0


def _work(run: RankRun, meeting: Path) -> None:
    recipe, base = run.assignment.recipe, run.assignment.base
    local, size = int(os.environ["RANK"]), run.assignment.size
    if run.device == "cpu":
        share_cores(int(os.environ["WORLD_SIZE"]))
    devices.prepare_to_compute()
    from core.training.base_model import frozen_renderer
    from core.training.inputs import freeze_files, gather
    from core.training.job import run_job
    from core.training.ranks import file_store, join, net_store

    data = run.directory / "data"
    renderer = frozen_renderer(recipe, base, data)
    inputs = gather(recipe, freeze_files(recipe, data / "sources.json"), renderer)
    place = run.assignment.place
    store = file_store(meeting, size) if place is None else net_store(place)
    gpu = None if run.device == "cpu" else local
    ranks = join(run.rank, size, recipe.value("sharding") == "fsdp", gpu, store)
    outcome = run_job(recipe, run, base, renderer, inputs, ranks)
    if run.rank == 0:
        run.end(outcome)


def share_cores(size: int) -> None:
    """Give this process its part of the cores, before torch counts them; what the user has set stays."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // size)))


def _failure(rank: int, error: BaseException) -> Failure:
    if isinstance(error, FinetuiError):
        return Failure(rank, error.what, error.cause, error.next_step, error.exit_code)
    text = " ".join(str(error).split())[:300]
    return Failure(
        rank,
        f"The process of device {rank + 1} failed: {type(error).__name__}: {text}",
        "The end of worker.log has the details.",
        "`finetui resume` goes on from the last checkpoint.",
        1,
    )


if __name__ == "__main__":
    STATUS = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(STATUS)  # threads of torch's that are still at work may abort the interpreter's own way out
