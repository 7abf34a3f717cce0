"""`status.json`: what a gateway says of itself. Read by core.serving.deployments."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import orjson

from core import paths


class Status:
    """What is written; each change at once.

    Args:
        directory: the deployment's.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "status.json"
        self._content: dict[str, Any] = {
            "keeper": os.getpid(), "state": "starting", "reason": "", "next_step": "", "started": 0.0, "updated": 0.0,
            "upstreams": {},
        }  # fmt: skip

    @property
    def state(self) -> tuple[str, str]:
        """(state, reason)."""
        return self._content["state"], self._content["reason"]

    def set(self, state: str, reason: str = "", **more: Any) -> None:
        """Say a state: starting, healthy, unhealthy or failed.

        Args:
            state: the state.
            reason: why, where it isn't well.
            more: `next_step`, `started`, `upstreams`.
        """
        self._content.update(state=state, reason=reason, updated=time.time(), **more)
        paths.write_private(self._path, orjson.dumps(self._content))

    def fail(self, reason: str, next_step: str = "") -> None:
        """Say why there will be no gateway."""
        self.set("failed", reason, next_step=next_step, upstreams={})
