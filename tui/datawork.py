"""The data worker as the screens use it."""

from __future__ import annotations

from core.pipes import PipeClient


def new_worker() -> PipeClient:
    """A data worker of its own: what takes minutes must not hold up a row's tokens."""
    from core.paths import logs_dir, make_private

    return PipeClient("core.data.worker", make_private(logs_dir()) / "data-worker.log")
