"""Exporting a run's model, as command and dialog do it: which folder is meant, and the worker that writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import paths
from core.errors import FinetuiError
from core.pipes import PipeClient
from core.runs import manifest, supervisor
from core.runs.directory import RunDirectory
from core.runs.rows import RunRow
from tui.format import size

KINDS = {
    "adapter": "what was trained, for peft; needs its base model",
    "merged": "the whole model, for transformers, vLLM and others",
    "ollama": "the whole model and a Modelfile, for `ollama create`",
}


class ChoiceError(FinetuiError):
    """There is nothing to export, or it is not known what."""


@dataclass(frozen=True)
class Exportable:
    """A run's model.

    Args:
        run_id: of the run.
        title: its name, and the step where it is a checkpoint.
        run: the run's directory.
        folder: the model's, or the checkpoint's.
    """

    run_id: str
    title: str
    run: Path
    folder: Path


def find(ref: str, checkpoint: int | None = None) -> Exportable:
    """What of a run is to be exported: the checkpoint asked for, else its model, else its newest checkpoint.

    Its files are compared with their hashes.

    Args:
        ref: id, beginning of an id, or name.
        checkpoint: a step.

    Raises:
        RunError: there is no such run.
        ChoiceError: it has no such checkpoint, no model at all, or its files are damaged.
    """
    row = supervisor.get(ref)
    directory = RunDirectory(row.directory)
    if row.backend == "azure":
        raise _in_azure(row)
    steps = {item.step: item.path for item in directory.checkpoints()}
    if checkpoint is not None and checkpoint not in steps:
        kept = ", ".join(map(str, steps)) or "none"
        raise ChoiceError(
            f"{row.name} has no checkpoint of step {checkpoint}.",
            f"Kept are: {kept}.",
            "Name one of these, or leave --checkpoint out.",
        )
    if checkpoint is None and manifest.read(directory.model_dir) is not None:
        title, folder = row.name, directory.model_dir
    elif steps:
        step = checkpoint if checkpoint is not None else max(steps)
        title, folder = f"{row.name} @{step}", steps[step]
    else:
        raise ChoiceError(f"{row.name} has no model yet.", *row.without_model)
    if damage := manifest.damage(folder):
        raise ChoiceError(
            f"{title} is damaged.", damage, "Export another checkpoint (--checkpoint STEP), or train anew."
        )
    return Exportable(row.id, title, row.directory, folder)


def _in_azure(row: RunRow) -> ChoiceError:
    """A model that never was on this machine; behind an endpoint it can be held against another."""
    from core.serving.in_azure import served_by

    serving = served_by(row)
    first = "" if serving else f"`finetui azure deploy {row.id}` puts it behind an endpoint NAME; then "
    return ChoiceError(
        f"The model of {row.name} is in Azure: it can't be evaluated or exported here.",
        f"The endpoint {serving} serves it there." if serving else "",
        f"{first}`finetui judge azure:{serving or 'NAME'} OTHER --data FILE` holds it against OTHER, another run or "
        "endpoint, on the rows of FILE.",
    )


def new_folder(text: str) -> Path:
    """The folder a user means."""
    return Path(text.strip()).expanduser().absolute()


async def work(op: str, what: Exportable, told: Callable[[str], None], **arguments: Any) -> dict[str, Any]:
    """Have the worker do it. Cancelled, the worker is ended with it.

    Args:
        op: `export` or `push`.
        what: the model.
        told: called with what is being done.
        arguments: of the operation, see core.training.export_worker.

    Returns:
        The values of `Exported` or `Pushed` by name.

    Raises:
        PipeError: it failed.
    """
    log = await asyncio.to_thread(paths.make_private, paths.logs_dir())
    client = PipeClient("core.training.export_worker", log / "export-worker.log")
    request = {"run": str(what.run), "folder": str(what.folder), **arguments}
    try:
        result: dict[str, Any] = {}
        async for kind, value in client.stream(op, **request):
            if kind == "chunk":
                told(str(value["phase"]))
            else:
                result = value
        return result
    finally:
        await client.close()


def lines(result: dict[str, Any]) -> list[str]:
    """What a person wants to know of an export or a push, beside where it is."""
    said = [size(result["bytes"])]
    fidelity = result["fidelity"]
    if fidelity:
        said.append(
            f"merged against base and adapter, both in {fidelity['dtype']}: logits differ by at most "
            f"{fidelity['max_difference']:.2g}, {fidelity['same']:.1%} of {fidelity['positions']} likeliest tokens "
            "are the same"
        )
    return said + list(result["notes"])
