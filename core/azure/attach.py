"""A job that is in Azure already, made into a run here: its recipe, its rows and its record."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from core import catalog, paths
from core.azure import data, jobs, models
from core.azure.clients import Azure
from core.azure.faults import AzureError, asking
from core.azure.record import Record, begin
from core.azure.settings import TASKS
from core.recipe import Recipe, RecipeError, build, fields
from core.settings import USED


def reconstruct(azure: Azure, name: str) -> tuple[Recipe, Record]:
    """The recipe and the record of a job; its rows are fetched to this machine.

    Args:
        azure: the account.
        name: of the job.

    Raises:
        AzureError: there is no such job, its rows can't be had, or it was not made of what a recipe can say.
    """
    job = jobs.get(azure, name)
    with asking(f"The job {name}"):
        tuned = azure.service.jobs.get(*azure.place, name).properties["fineTuningDetails"]
    folder = paths.make_private(paths.data_dir() / "azure-rows")
    stem = re.sub(r"[^\w.-]", "-", name)
    inputs = {
        side: str((tuned.get(f"{side}Data") or {}).get("uri") or "") for side in ("training", "validation")
    }
    files = {
        side: data.download(azure, uri, folder / f"{stem}-{side}.jsonl")
        for side, uri in inputs.items()
        if uri
    }
    content: dict[str, Any] = {
        "name": _name(job.title or name),
        "backend": "azure",
        "model": _model(job.model),
        "data": str(files["training"]),
        "task": _task(job.task),
        **_settings(job.hyperparameters),
    }
    if "validation" in files:
        content["validation"] = str(files["validation"])
    try:
        recipe = build(content, f"the job {name}")
    except RecipeError as error:
        raise AzureError(
            f"{name} can't be written as a recipe.", error.what, "Watch it in the Azure studio."
        ) from error
    record = replace(
        begin(job.run or name, recipe.title, azure.account),
        job=name,
        base=job.model,
        output=job.output,
        training=inputs["training"],
        validation=inputs["validation"],
        rows=_lines(files.get("training")),
        validation_rows=_lines(files.get("validation")),
        submitted=True,
        studio=job.studio,
    )
    return recipe, record


def _lines(path: Any) -> int:
    return sum(1 for line in path.read_bytes().splitlines() if line.strip()) if path else 0


def _name(title: str) -> str:
    """A title of Azure's as a run's name."""
    plain = re.sub(r"[^\w .-]+", " ", title).strip(" ._-")[:80].strip()
    return plain or "attached"


def _model(uri: str) -> str:
    entry = catalog.by_registry_id(uri)
    return entry.id if entry else models.registry_id(uri)


def _task(word: str) -> str:
    known = {value.lower(): key for key, value in TASKS.items()}
    if word.lower() not in known:
        raise AzureError(f"The job's task is {word}.", "", f"finetui knows {', '.join(TASKS.values())}.")
    return known[word.lower()]


def _settings(sent: dict[str, str]) -> dict[str, Any]:
    """The recipe's keys of the service's; those finetui doesn't send are left out, since the job has them anyhow."""
    found: dict[str, Any] = {}
    for item in fields():
        text = sent.get(item.azure) if item.azure not in ("", USED) else None
        if text is not None:
            found[item.name] = int(float(text)) if item.kind == "int" else float(text)
    return found
