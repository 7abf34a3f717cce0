"""Which rows were seen before, by 64-bit hashes: 16 bytes a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LARGEST_RUN = 1 << 18


class Seen:
    """Hashes with a number each, kept as sorted runs; two runs of like size are merged into one.

    Runs stop growing at a quarter of a million rows, so that merging needs little memory beside them.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []

    def add(self, hashes: NDArray[np.uint64], numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Add rows; for each the number of the first row with its hash, -1 if it is that itself.

        Args:
            hashes: of the rows, in order.
            numbers: of the rows, rising and larger than any before.
        """
        import numpy as np

        order = np.argsort(hashes, kind="stable")
        keys = hashes[order]
        heads = np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]
        leader = order[np.maximum.accumulate(np.where(heads, np.arange(len(keys)), 0))]
        first = np.where(heads, -1, numbers[leader].astype(np.int64))
        for run_keys, run_numbers in self._runs:
            at = np.minimum(np.searchsorted(run_keys, keys), len(run_keys) - 1)
            known = run_keys[at] == keys
            first[known] = run_numbers[at[known]]
        fresh = first < 0
        if fresh.any():
            self._append(keys[fresh], numbers[order][fresh])
        answer = np.empty(len(hashes), np.int64)
        answer[order] = first
        return answer

    def _append(self, keys: NDArray[np.uint64], numbers: NDArray[np.uint64]) -> None:
        import numpy as np

        while self._runs and len(self._runs[-1][0]) <= 2 * len(keys) <= _LARGEST_RUN:
            more_keys, more_numbers = self._runs.pop()
            both = np.concatenate([more_keys, keys])
            order = np.argsort(both, kind="stable")
            keys, numbers = both[order], np.concatenate([more_numbers, numbers])[order]
        self._runs.append((keys, numbers))
