"""How fast this machine has trained a model before."""

from __future__ import annotations

from dataclasses import dataclass

from core.runs.store import Store


@dataclass(frozen=True)
class Speed:
    """Tokens a second that a run came to at last."""

    tokens_per_s: float
    run: str
    device: str


def last_speed(model: str) -> Speed | None:
    """The speed of the newest run of a model here that trained at all; None where there is none.

    Args:
        model: as the recipe names it.
    """
    with Store() as store:
        for run in store.refresh():
            if run.meta.backend == "local" and run.meta.model == model and run.summary.tokens_per_s > 0:
                return Speed(run.summary.tokens_per_s, run.meta.name, run.summary.device)
    return None
