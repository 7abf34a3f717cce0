"""Ranks for tests without waiting for imports: python -P -m tests.core.training.rank_server SOCKET

Imports the engine once, computes nothing, and forks a rank for every client that asks (`rank_client`). RANK_TROUBLE in
a client's environment makes trouble: `kill:1:3` kills rank 1 in step 3, `memory:1:3` lets its memory run out there,
`slow:1:3` makes each of its packs take a second; `writes:1:PATH` fails it as soon as it writes anything below a folder.
Ends with its standard input.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection, Listener
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import safetensors.torch
import torch

import core.training.job
from core.training import rank
from core.training.loss import PackLoss
from core.training.trainer import StepTrainer

CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate", "os.chmod")


def main() -> None:
    """Serve until the test that started it is gone."""
    threading.Thread(target=leave_with_parent, daemon=True).start()
    with Listener(sys.argv[1], "AF_UNIX", backlog=16) as listener:
        print("ready", flush=True)  # noqa: T201
        while True:
            client = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()


def leave_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def serve(client: Connection) -> None:
    """Fork a rank, tell the client how it ended."""
    environment, address = client.recv()
    child = os.fork()
    if not child:
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["rank", address]
        os._exit(work())
    client.send(os.waitpid(child, 0)[1])


def work() -> int:
    kind, _, where = os.environ.get("RANK_TROUBLE", "").partition(":")
    who, _, step = where.partition(":")
    if kind and who == os.environ["RANK"]:
        if kind == "writes":
            forbid_writing(step)
        else:
            make_trouble(kind, int(step))
    try:
        return rank.main()
    finally:
        sys.stderr.flush()


def forbid_writing(folder: str) -> None:
    """Python tells of files that it opens, makes and moves; what writes files by itself is taken away."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("this rank writes")

    def heard(event: str, given: tuple[Any, ...]) -> None:
        if event not in CHANGES or not str(given[0]).startswith(folder):
            return
        if event != "open" or given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            refuse()

    sys.addaudithook(heard)
    safetensors.torch.serialize_file = refuse
    torch.save = refuse


def make_trouble(kind: str, step: int) -> None:
    begin, summed = StepTrainer.training_step, PackLoss.summed
    here = [0, 0]

    def counted(self: StepTrainer, *given: Any, **named: Any) -> Any:
        here[0] = self.state.global_step + 1
        if kind == "kill" and here[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return begin(self, *given, **named)

    def limited(self: PackLoss, batch: dict[str, Any]) -> Any:
        if kind == "memory" and here[0] == step and batch["rows"] > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes.")
        if kind == "slow" and here[0] == step:
            time.sleep(1.0)
        return summed(self, batch)

    StepTrainer.training_step = counted  # type: ignore[method-assign]
    PackLoss.summed = limited  # type: ignore[method-assign]


if __name__ == "__main__":
    assert core.training.job
    main()
