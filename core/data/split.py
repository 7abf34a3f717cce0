"""Which rows train and which are kept back to measure on."""

from __future__ import annotations


def split(rows: int, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Row numbers (from 0, ascending) for training and for validation, the same everywhere.

    Args:
        rows: how many rows there are.
        fraction: share kept for validation. Above 0, at least one row of two or more goes to each side.
        seed: of the shuffle.
    """
    import numpy as np

    kept = held_out_count(rows, fraction)
    order = np.random.default_rng(seed).permutation(rows)
    validation = sorted(order[:kept].tolist())
    return sorted(order[kept:].tolist()), validation


def held_out_count(rows: int, fraction: float) -> int:
    """How many rows `split` keeps for validation."""
    kept = round(rows * fraction)
    return min(max(kept, 1), rows - 1) if fraction > 0 and rows > 1 else kept
