"""Blocks through several processes, results in order. The processes end when this one does, however it ends."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from core.data.blocks import Block
from core.data.check.block import Job, Result, check_block, forget
from core.errors import FinetuiError

_AHEAD = 2
_BEHIND = 5
_GARBAGE = 200_000  # objects between two looks for cycles: a block makes many objects and no cycle


class CheckError(FinetuiError):
    """A check can't go on for a reason that is not the file's."""


def in_order(work: Iterable[tuple[Job, Block]], cores: int) -> Iterator[Result]:
    """The results of blocks in the order of the blocks; with one core without any process.

    Raises:
        DataError: a file can't be read.
        CheckError: a process was ended from outside.
    """
    if cores == 1:
        forget()
        yield from (check_block(job, block) for job, block in work)
        return
    executor = ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), _begin)
    waiting: deque[Future[Result]] = deque()
    try:
        for job, block in work:
            waiting.append(executor.submit(check_block, job, block))
            if len(waiting) > cores * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise CheckError(
            "The check was cut short.",
            "One of its processes was ended from outside; most often memory ran out.",
            "Free some memory and try again.",
        ) from error
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """Settle a new process: one thread of its own, no say over the terminal, an end with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_BEHIND)  # who looks at the rows meanwhile, and a run on this machine, come first
    gc.set_threshold(_GARBAGE)
    os.environ["RAYON_NUM_THREADS"] = "1"  # the cores are the processes'
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
