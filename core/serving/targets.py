"""What can be talked to, as users write it: a run's model, one of its checkpoints, its base, or an endpoint.

RUN          what was trained: the finished model, else the newest checkpoint
RUN@STEP     one of its checkpoints
RUN@base     the model it started from
deployment:NAME/MODEL, azure:NAME, https://HOST/v1#MODEL     see core.serving.endpoint
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import FinetuiError
from core.runs import supervisor
from core.runs.directory import RunDirectory, RunError
from core.runs.lineage import deleted_as
from core.runs.rows import RunRow
from core.serving import endpoint
from core.serving.endpoint import Endpoint
from core.serving.in_azure import served_by
from core.serving.local_models import LocalSide

BASE = "base"


class TargetError(FinetuiError):
    """A run has nothing to talk to."""


@dataclass(frozen=True)
class Target:
    """A run's model, or the base it started from.

    Args:
        run_id: of the run.
        title: its name, and the checkpoint where that is what there is.
        model_folder: the base model.
        adapter: what was trained, an adapter or whole weights; None for the base itself.
        system: the system message most training rows had, or empty.
        note: what the user should know of the base's weights.
        which: `base`, or the step of the checkpoint that was asked for; empty for the model there is.
        renderer: whose tokenizer and template are used; what was trained when None.
    """

    run_id: str
    title: str
    model_folder: Path
    adapter: Path | None
    system: str
    note: str
    which: str = ""
    renderer: Path | None = None

    kind = "run"
    billed = False

    @property
    def spec(self) -> str:
        """As it is written; `side` finds it again."""
        return f"{self.run_id}@{self.which}" if self.which else self.run_id

    @property
    def base_spec(self) -> str:
        """How the base of its run is written."""
        return f"{self.run_id}@{BASE}"

    def request(self) -> dict[str, Any]:
        """What the chat worker is told of it."""
        renderer = self.renderer or self.adapter or self.model_folder
        return LocalSide(self.model_folder, self.adapter, renderer).request()


Side = Target | Endpoint


def side(text: str) -> Side:
    """What is written so.

    Raises:
        RunError: there is no such run.
        TargetError: it has nothing to talk to.
        EndpointError: an endpoint is written wrongly.
    """
    return endpoint.parse(text) if endpoint.is_endpoint(text) else target(text)


def target(ref: str) -> Target:
    """The model of a run.

    Args:
        ref: id, beginning of an id, or name, as it is or followed by `@STEP` or `@base`.

    Raises:
        RunError: there is no such run.
        TargetError: it has written no model yet or not this checkpoint, or its base model is gone.
    """
    name, which = _parted(ref)
    return _of(supervisor.get(name), which)


def _of(row: RunRow, which: str) -> Target:
    directory = RunDirectory(row.directory)
    record = directory.path / "model.json"
    adapter, suffix = _adapter(directory) if which in ("", BASE) else _checkpoint(row, directory, int(which))
    if not record.exists() or (adapter is None and which != BASE):
        raise _no_model(row)
    base = _read(record, row)
    folder = Path(base["folder"])
    if not (folder / "config.json").exists():
        raise _gone(row, folder, base["source"])
    system = ""
    if adapter is not None:
        facts = _read(adapter / "finetui.json", row)
        _refuse_silent(row, facts, adapter)
        system = facts["system"]
    if which == BASE:  # it is given the words that its tuned model knows
        title = f"{row.model} (untuned)"
        return Target(row.id, title, folder, None, system, base["note"], BASE, adapter)
    return Target(row.id, row.name + suffix, folder, adapter, system, base["note"], which)


def trained_spec(side: Side) -> str:
    """How the run's model is written that a side gives: its own, or the one that a deployment serves.

    Empty where no run of this machine has trained it.
    """
    if isinstance(side, Target):
        return side.spec if side.adapter is not None else ""
    if side.kind != "deployment":
        return ""
    from core.serving.settings import DeploymentError, directory_of, read_settings

    try:
        models = [model for model in read_settings(directory_of(side.name)).models if model.chat]
    except DeploymentError:  # removed meanwhile: what it served is not known any more
        return ""
    found = next((model for model in models if model.name == side.model or not side.model), None)
    if found is None or found.kind != "tuned":
        return ""
    return found.run if found.checkpoint is None else f"{found.run}@{found.checkpoint}"


def targets() -> list[Target]:
    """All runs that can be talked to, newest first."""
    return [found for row in supervisor.list_runs() if (found := _if_any(row, "")) is not None]


def choices() -> list[Side]:
    """All that can be talked to without being written out: each run's model, checkpoints and base, deployments."""
    from core.serving import deployments

    found: list[Side] = []
    for row in supervisor.list_runs():
        steps = [str(item.step) for item in RunDirectory(row.directory).checkpoints()]
        ways = (_if_any(row, which) for which in ("", *reversed(steps), BASE))
        found += [way for way in ways if way is not None]
    for deployment in deployments.all_deployments():
        found += [
            Endpoint("deployment", deployment.name, model.name) for model in deployment.models if model.chat
        ]
    return found


def _if_any(row: RunRow, which: str) -> Target | None:
    try:
        return _of(row, which)
    except (TargetError, RunError):
        return None  # nothing to talk to yet, or deleted meanwhile: not offered


def _parted(ref: str) -> tuple[str, str]:
    """(the run, `base` or a step or nothing)."""
    found = re.fullmatch(rf"(.+)@({BASE}|\d{{1,12}})", ref)
    return (found[1], found[2]) if found else (ref, "")


def _no_model(row: RunRow) -> TargetError:
    watch, resume = f"`finetui watch {row.id}`", f"`finetui resume {row.id}`"
    if row.backend == "azure" and row.state != "finished":
        return TargetError(
            f"{row.name} has no model yet.",
            f"It is {row.state}.",
            watch if row.active else f"{resume} goes on with it.",
        )
    if row.backend == "azure" and (deleted := deleted_as(RunDirectory(row.directory))):
        return TargetError(
            f"The model of {row.name} was deleted in Azure.", f"It was {deleted}.", "Train it anew."
        )
    if row.backend == "azure" and (serving := served_by(row)):
        return TargetError(
            f"The model of {row.name} is in Azure, not on this machine.",
            f"The endpoint {serving} serves it there.",
            f"`finetui chat azure:{serving}` talks to it.",
        )
    if row.backend == "azure":
        return TargetError(
            f"The model of {row.name} is in Azure, not on this machine.",
            "It answers behind an endpoint only, which is charged by the hour.",
            f"`finetui azure deploy {row.id}` makes one; then `finetui chat azure:NAME`.",
        )
    why, way_on = row.without_model
    return TargetError(
        f"{row.name} has no model yet.",
        why,
        f"Wait for its first checkpoint ({watch}), then chat." if row.active else way_on,
    )


def _gone(row: RunRow, folder: Path, source: str) -> TargetError:
    return TargetError(
        f"The base model of {row.name} is not on this machine any more.",
        f"{folder} is gone.",
        f"Put it back there, or train {row.model} anew."
        if source == "folder"
        else f"`finetui models fetch {row.model}` fetches it again.",
    )


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


def _checkpoint(row: RunRow, directory: RunDirectory, step: int) -> tuple[Path, str]:
    steps = {item.step: item.path for item in directory.checkpoints()}
    if step not in steps:
        raise TargetError(
            f"{row.name} has no checkpoint of step {step}.",
            f"Kept are: {', '.join(map(str, steps)) or 'none'}.",
            f"Name one of these: `{row.id}@STEP`.",
        )
    return steps[step], f" @{step}"
