"""Which runs can be talked to, and where their base model and adapter lie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from core.errors import FinetuiError
from core.runs import supervisor
from core.runs.directory import RunDirectory


class TargetError(FinetuiError):
    """A run has nothing to talk to."""


@dataclass(frozen=True)
class Target:
    """A run's model.

    Args:
        run_id: of the run.
        title: its name, and the checkpoint where that is what there is.
        model_folder: the base model.
        adapter: what was trained: the finished model, else the newest checkpoint.
        system: the system message most training rows had, or empty.
        note: what the user should know of the base's weights.
    """

    run_id: str
    title: str
    model_folder: Path
    adapter: Path
    system: str
    note: str


def target(ref: str) -> Target:
    """The model of a run.

    Args:
        ref: id, beginning of an id, or name.

    Raises:
        RunError: there is no such run.
        TargetError: it has written no adapter yet, or its base model is gone.
    """
    row = supervisor.get(ref)
    directory = RunDirectory(row.directory)
    base = _base(directory)
    adapter, suffix = _adapter(directory)
    if base is None or adapter is None:
        raise TargetError(
            f"{row.name} has no model yet.",
            f"It is {row.state}, and no checkpoint has been written.",
            f"Wait for its first checkpoint (`finetui watch {row.id}`), then chat.",
        )
    folder = Path(base["folder"])
    if not (folder / "config.json").exists():
        raise TargetError(
            f"The base model of {row.name} is not on this machine any more.",
            f"{folder} is gone.",
            f"Run `finetui models fetch {row.model}`.",
        )
    facts = json.loads((adapter / "finetui.json").read_text(encoding="utf-8"))
    return Target(row.id, row.name + suffix, folder, adapter, facts["system"], base["note"])


def targets() -> list[Target]:
    """All runs that can be talked to, newest first."""
    found = []
    for row in supervisor.list_runs():
        try:
            found.append(target(row.id))
        except TargetError:
            continue  # nothing to talk to yet: not offered
    return found


def _base(directory: RunDirectory) -> dict[str, str] | None:
    record = directory.path / "model.json"
    if not record.exists():
        return None
    content: dict[str, str] = json.loads(record.read_text(encoding="utf-8"))
    return content


def _adapter(directory: RunDirectory) -> tuple[Path | None, str]:
    if (directory.model_dir / "adapter_config.json").exists():
        return directory.model_dir, ""
    checkpoints = directory.checkpoints()
    if not checkpoints:
        return None, ""
    newest = max(checkpoints, key=lambda item: item.step)
    return newest.path, f" @{newest.step}"
