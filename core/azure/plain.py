"""Azure's things as plain values, for JSON: what a program reads of them, the computed ones too."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from core.azure import account as accounts
from core.azure import endpoints, jobs, models, sweep, tuned
from core.azure.clients import Azure

Plain = dict[str, Any]


def account() -> Plain:
    """The account in use, for JSON."""
    chosen = accounts.load()
    return {
        **chosen.as_dict(),
        "identity_words": accounts.IN_WORDS[chosen.identity],
        "unattended": chosen.identity in accounts.UNATTENDED,
        "missing": chosen.missing,
        "note": accounts.note(),
    }


def model(item: models.RegistryModel) -> Plain:
    """A model of the registry."""
    return {**asdict(item), "tunable": item.tunable}


def job(item: jobs.Job) -> Plain:
    """A job."""
    return {**asdict(item), "words": item.words, "ended": item.ended}


def endpoint(item: endpoints.Endpoint) -> Plain:
    """An endpoint."""
    return {**asdict(item), "idle": item.idle, "billed": item.billed}


def endpoints_priced(azure: Azure, currency: str) -> list[Plain]:
    """The endpoints of the project, each with the quote of its hour (None where it is not billed by the hour)."""
    bases = {f"{item.name}:{item.version}": item.base for item in tuned.tuned_models(azure)}
    found = []
    for item in endpoints.endpoints(azure):
        quote = sweep.hosting(azure, bases.get(item.model, ""), currency) if item.billed else None
        found.append({**endpoint(item), "hosting": asdict(quote) if quote else None})
    return found


def tuned_models(azure: Azure) -> list[Plain]:
    """The tuned models of the project, each with its finetui run and the endpoint that serves it."""
    outputs = {job.output: job.run for job in jobs.jobs(azure) if job.run and job.output}
    serving = {item.model: item.name for item in endpoints.endpoints(azure) if item.tuned}
    return [
        {**asdict(item), "endpoint": serving.get(f"{item.name}:{item.version}", "")}
        for item in tuned.tuned_models(azure, outputs)
    ]
