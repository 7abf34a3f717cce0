"""Deployment directories made for tests through the writers that real ones use; no process runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from core import paths
from core.runs import locks
from core.runs.locks import Lock
from core.runs.process import Identity
from core.serving.request_log import Entry, LogWriter
from core.serving.settings import ServedModel, Settings, deployments_dir, digest, write_settings
from core.serving.status import Status
from tests.tui.made_runs import T0

KEEP_DAYS = 100_000
"""So that the requests of a fixed past are not pruned."""

CHECK = {
    "prompts": 12, "base_refused": 11, "tuned_refused": 4, "base_overrefused": 0, "tuned_overrefused": 1,
    "lost": [1, 2, 5], "weakened": True, "overcautious": False,
}  # fmt: skip


def served(name: str, kind: str = "tuned", run: str = "support-01", **more: Any) -> ServedModel:
    """A model of a deployment; its weights are not there."""
    values: dict[str, Any] = {"checkpoint": None, "folder": f"/models/{name}", "base": "SmolLM2-135M", **more}
    return ServedModel(name=name, kind=kind, run=run, bytes=273_000_000, **values)


def make_deployment(name: str, age_s: float = 0.0, port: int = 8100, **more: Any) -> Path:
    """A stopped deployment; returns its directory.

    Args:
        name: its own.
        age_s: how long before T0 it was made.
        port: its own.
        more: other values of core.serving.settings.Settings.
    """
    directory = paths.make_private(deployments_dir() / name)
    values: dict[str, Any] = {"models": (served(name),), "retention_days": KEEP_DAYS, "stopped": True, **more}
    write_settings(
        directory,
        Settings(
            name=name, created=T0 - age_s, host="127.0.0.1", port=port, key_sha256=digest("ft-x"), **values
        ),
    )
    return directory


def running(directory: Path, state: str = "healthy", reason: str = "", **more: Any) -> Lock:
    """Hold a deployment's lock, as its gateway would, and say a state for it."""
    lock = locks.take(directory / "gateway.lock")
    assert lock is not None
    launch(directory)
    Status(directory).set(state, reason, started=T0 - 60, **more)
    return lock


def launch(directory: Path) -> None:
    """Write down that this process was started as the gateway, long ago."""
    values = {**Identity.current().__dict__, "launched": T0}
    paths.write_private(directory / "gateway.json", orjson.dumps(values))


def failed(directory: Path, reason: str, next_step: str) -> None:
    """Have the gateway gone, and its last words be these."""
    settings = orjson.loads((directory / "deployment.json").read_bytes())
    (directory / "deployment.json").write_bytes(orjson.dumps({**settings, "stopped": False}))
    launch(directory)
    Status(directory).fail(reason, next_step)


def log_requests(directory: Path, entries: Iterable[Entry]) -> None:
    """Append to a deployment's request log."""
    with LogWriter(directory / "requests.db", KEEP_DAYS) as log:
        for entry in entries:
            log.add(entry)


def entry(number: int, **more: Any) -> Entry:
    """The request of a number: a second after the one before, answered 10 ms later than that."""
    values: dict[str, Any] = {
        "model": "support-prod",
        "kind": "chat",
        "status": 200,
        "prompt_tokens": 40,
        "completion_tokens": 12,
        "first_token_ms": 100.0 + 10 * number,
        "per_token_ms": 20.0,
        "duration_ms": 400.0 + 10 * number,
        "streamed": True,
    }
    return Entry(at=T0 + number, **{**values, **more})


def some_requests() -> list[Entry]:
    """Twenty good requests, and one of each other kind."""
    return [
        *(entry(number) for number in range(20)),
        entry(20, status=400, error="context_length_exceeded", first_token_ms=None, completion_tokens=None),
        entry(21, status=403, blocked="prompt", category="block list, line 3", first_token_ms=None),
        entry(22, status=200, blocked="completion", category="Hate [/foo] \x1b[31m"),
        entry(23, status=499),
        entry(24, flags="long,vocabulary"),
        entry(25, status=404, model="", error="model_not_found", first_token_ms=None, prompt_tokens=None,
              completion_tokens=None),
    ]  # fmt: skip


def three() -> dict[str, Any]:
    """A healthy deployment with requests, a stopped one and a failed one; the locks are released with the dict.

    Returns:
        Directories by name, and `locks`.
    """
    two = (served("support-prod", checkpoint=120), served("smollm2-135m", "base"))
    prod = make_deployment(
        "support-prod", 3600.0, 8100, models=two, regression={"support-prod": CHECK}, safety={"kind": "patterns"},
        price_in_usd=0.1, price_out_usd=0.4,
    )  # fmt: skip
    lock = running(
        prod, upstreams={
            "support-prod": {"state": "ready", "pid": 4, "restarts": 1, "reason": ""},
            "smollm2-135m": {"state": "cold", "pid": 0, "restarts": 0, "reason": ""},
        },
    )  # fmt: skip
    log_requests(prod, some_requests())
    (prod / "gateway.log").write_text("serving at 127.0.0.1:8100\nupstream [bold]ready[/] \x1b[31mred\n")
    test = make_deployment("support-test", 86400.0 * 2, 8101)
    old = make_deployment("old-phi", 86400.0 * 9, 8102, models=(served("old-phi", run="phi-01"),))
    failed(old, "The port 8102 is taken [/x].", "Choose another port, then start it again.")
    return {"support-prod": prod, "support-test": test, "old-phi": old, "locks": [lock]}
