"""Tokens computed at once, fewer as soon as memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from accelerate.utils.memory import clear_device_cache

from core.training.fused_math import SCRATCH
from core.training.memory import give_back_freed, is_out_of_memory

SMALLEST_BUDGET = 64
"""With less at once than a row has, nothing is won."""

Result = TypeVar("Result")


def free_memory() -> None:
    """Give back what was kept for computing more at once: scratch tensors, caches of the device, the freed heap."""
    SCRATCH.clear()
    clear_device_cache(garbage_collection=True)
    give_back_freed()


class Budget:
    """Tokens computed at once by work that can be begun anew.

    Args:
        tokens: at first.
        tell: told of a new number of tokens before it is tried.
    """

    def __init__(self, tokens: int, tell: Callable[[int], None] = lambda _: None) -> None:
        self.tokens = tokens
        self._tell = tell

    def spend(self, work: Callable[[int], Result]) -> Result:
        """The result of a piece of work that is given the tokens and begun anew with half of them if need be.

        Raises:
            RuntimeError, MemoryError: memory ran out for one short row, or something else went wrong.
        """
        while True:
            try:
                return work(self.tokens)
            except (RuntimeError, MemoryError) as error:
                if self.tokens <= SMALLEST_BUDGET or not is_out_of_memory(error):
                    raise
            # the traceback is gone by now, and with it what the work held
            self.tokens //= 2
            free_memory()
            self._tell(self.tokens)
