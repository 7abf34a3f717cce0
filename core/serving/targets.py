"""Which runs can be talked to, and where their base model and adapter lie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from core.errors import FinetuiError
from core.runs import supervisor
from core.runs.directory import RunDirectory, RunError
from core.runs.rows import RunRow


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
    adapter, suffix = _adapter(directory)
    record = directory.path / "model.json"
    if adapter is None or not record.exists():
        watch, resume = f"`finetui watch {row.id}`", f"`finetui resume {row.id}`"
        raise TargetError(
            f"{row.name} has no model yet.",
            f"It is {row.state}, and no checkpoint has been written.",
            f"Wait for its first checkpoint ({watch}), then chat."
            if row.active
            else f"{resume} goes on with it; its first checkpoint can be talked to.",
        )
    base, facts = _read(record, row), _read(adapter / "finetui.json", row)
    folder = Path(base["folder"])
    _refuse_silent(row, facts, adapter)
    if not (folder / "config.json").exists():
        raise TargetError(
            f"The base model of {row.name} is not on this machine any more.",
            f"{folder} is gone.",
            f"Put it back there, or train {row.model} anew."
            if base["source"] == "folder"
            else f"`finetui models fetch {row.model}` fetches it again.",
        )
    return Target(row.id, row.name + suffix, folder, adapter, facts["system"], base["note"])


def targets() -> list[Target]:
    """All runs that can be talked to, newest first."""
    found = []
    for row in supervisor.list_runs():
        try:
            found.append(target(row.id))
        except (TargetError, RunError):
            continue  # nothing to talk to yet, or deleted meanwhile: not offered
    return found


def _read(record: Path, row: RunRow) -> dict[str, str]:
    try:
        content: dict[str, str] = json.loads(record.read_text(encoding="utf-8"))
        return content
    except (OSError, ValueError) as error:
        raise TargetError(
            f"The model of {row.name} is damaged.",
            f"{record} can't be read: {error}.",
            f"Another checkpoint may do: see {row.directory}, or train anew.",
        ) from error


def _refuse_silent(row: RunRow, facts: dict[str, str], model: Path) -> None:
    """Raise for a model that gives no replies: a classifier, or one that knows no conversations."""
    if facts.get("task") == "classification":
        raise TargetError(
            f"{row.name} is a classifier: it gives labels, no replies.",
            "",
            f"`finetui evaluate {row.id}` shows what it has learned.",
        )
    if not (model / "chat_template.jinja").exists():
        raise TargetError(
            f"{row.name} has no chat template.",
            f"It was trained on texts, from a base model without one ({model}).",
            "Train with the task `chat`, whose recipe can name a `chat_template`.",
        )


def _adapter(directory: RunDirectory) -> tuple[Path | None, str]:
    if any((directory.model_dir / name).exists() for name in ("adapter_config.json", "config.json")):
        return directory.model_dir, ""
    checkpoints = directory.checkpoints()
    if not checkpoints:
        return None, ""
    newest = max(checkpoints, key=lambda item: item.step)
    return newest.path, f" @{newest.step}"
