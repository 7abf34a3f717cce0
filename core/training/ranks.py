"""This process among those that train a model together, each on its own rows of every step.

A process alone is a rank too, of one: then nothing here does anything. Torch is not imported for that.
"""

from __future__ import annotations

import functools
import os
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store

    from core.training.nodes import Address
    from core.training.rows import AnyRow

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""How long a rank waits for the others. Evaluating and saving take time; one that dies ends all (`launch`)."""


@dataclass
class Ranks:
    """Which of the processes this is.

    Args:
        rank: its number; 0 reports, decides and writes.
        size: how many there are.
        sharded: the model's weights are spread over them (FSDP2), so that all take part whenever it computes.
    """

    rank: int = 0
    size: int = 1
    sharded: bool = False
    device: torch.device | None = None
    """This rank's; None for a process alone, which takes its own."""
    parted: bool = False
    """Rank 0 has left the others behind: its step was dropped, and it goes on alone to save."""

    @property
    def first(self) -> bool:
        """Whether this is the rank that reports, decides and writes."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others to agree with."""
        return self.size > 1 and not self.parted

    def part(self) -> None:
        """Rank 0 goes on alone where it can: with the whole model."""
        self.parted = self.size > 1 and not self.sharded

    def agree(self, value: T) -> T:
        """Rank 0's value, on every rank; each must call it at the same point."""
        if not self.several:
            return value
        from torch import distributed

        values = [value]
        distributed.broadcast_object_list(values, src=0, device=_cpu())
        return values[0]

    def most(self, count: int) -> int:
        """The highest count of all ranks."""
        import torch
        from torch import distributed

        highest = torch.tensor(count)
        distributed.all_reduce(highest, distributed.ReduceOp.MAX)
        return int(highest)

    def first_alone(self, work: Callable[[], T], when: bool) -> T:
        """Rank 0 works first and the others after it, where it makes a file that they read."""
        if not (when and self.several):
            return work()
        done = [work()] if self.first else []
        self.agree(None)
        return done[0] if done else work()

    def share(self, rows: Sequence[AnyRow]) -> list[AnyRow]:
        """This rank's rows of a step: about as many tokens as each other rank has, in the order they came."""
        if self.size == 1:
            return list(rows)
        tokens = [0] * self.size
        chosen: list[list[int]] = [[] for _ in range(self.size)]
        for number in sorted(range(len(rows)), key=lambda number: -rows[number].tokens):
            least = min(range(self.size), key=lambda rank: (tokens[rank], rank))
            tokens[least] += rows[number].tokens
            chosen[least].append(number)
        return [rows[number] for number in sorted(chosen[self.rank])]

    def seed_step(self, seed: int, step: int) -> None:
        """Every rank's own noise for a step; it follows from the seed, so that no rank's random state need be kept."""
        import torch

        drawn = int(np.random.SeedSequence([seed, step, self.rank]).generate_state(1)[0])
        random.seed(drawn)
        np.random.seed(drawn)
        torch.manual_seed(drawn)

    def add_up(self, model: Any, trained: Sequence[torch.nn.Parameter]) -> None:
        """Bring together the gradients of all ranks after their last pack, as DDP does: their mean on each.

        The packs before it ran past DDP's wrapper, which leaves their gradients where they are; a last pass through it
        that adds zero to every gradient has it send them. So ranks may have different numbers of packs, and one that
        runs out of memory begins its own packs anew without the others.

        Args:
            model: wrapped by DDP, with a `doorway` in it.
            trained: its trained parameters.
        """
        zero: torch.Tensor = model(work=lambda: sum(item.flatten()[:1].float().sum() * 0 for item in trained))
        zero.backward()


ALONE = Ranks()


def join(rank: int, size: int, sharded: bool, gpu: int | None, store: Store) -> Ranks:
    """Meet the other ranks.

    Args:
        rank: number of this process.
        size: how many there are.
        sharded: see `Ranks`.
        gpu: number of this process's GPU among those it may see; None for the CPU.
        store: through which they find each other.
    """
    import torch
    from torch import distributed

    device = torch.device("cpu") if gpu is None else torch.device("cuda", gpu)
    if gpu is not None:
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "gloo" if gpu is None else "cpu:gloo,cuda:nccl",
        store=store,
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    return Ranks(rank, size, sharded, device)


def file_store(meeting: Path, size: int) -> Store:
    """Where the ranks of one machine meet: a file in a private folder, so that nothing listens on the network."""
    from torch import distributed

    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo0" if sys.platform == "darwin" else "lo")
    return distributed.FileStore(str(meeting), size)


def net_store(place: Address) -> Store:
    """Where the ranks of several machines meet: the store that the first machine keeps open.

    Which network card they use is torch's choice, or GLOO_SOCKET_IFNAME's and NCCL_SOCKET_IFNAME's.
    """
    from torch import distributed

    store = distributed.TCPStore(
        place.host, place.port, is_master=False, wait_for_workers=False, timeout=PATIENCE
    )
    return distributed.PrefixStore("ranks", store)


def doorway(model: Any) -> None:
    """Let `model(work=...)` run something inside the model's own forward pass, where its wrappers want it to be."""
    own = model.forward

    @functools.wraps(own)  # whoever asks which arguments the model takes gets its own answer
    def forward(*given: Any, work: Callable[[], Any] | None = None, **named: Any) -> Any:
        return own(*given, **named) if work is None else work()

    model.forward = forward


def _cpu() -> torch.device:
    import torch

    return torch.device("cpu")
