"""Endpoints in Azure as this machine knows them without asking: which serves a run's model, what its tokens cost."""

from __future__ import annotations

from dataclasses import replace

from core.azure import account, known, record
from core.azure.faults import AzureError
from core.events import Submitted
from core.runs import supervisor
from core.runs.directory import RunDirectory
from core.runs.journal import JournalReader
from core.runs.rows import RunRow
from core.serving.endpoint import Endpoint


def served_by(row: RunRow) -> str:
    """The endpoint that serves a run's model, as it was last seen from here; empty where none is known.

    Raises:
        AzureError: what the run knows of Azure is damaged.
    """
    made = record.read(row.directory)
    if made is None or not made.registered:
        return ""
    serving = known.endpoints(made.account)
    return next((name for name, model in serving.items() if model == made.registered), "")


def priced(endpoint: Endpoint) -> Endpoint:
    """An Azure endpoint with the prices of a million tokens that were listed when its model's job was sent from here;
    as it is where it names prices of its own, or none are known."""
    if endpoint.kind != "azure" or endpoint.price_in is not None or endpoint.price_out is not None:
        return endpoint
    try:
        chosen = account.load()
    except AzureError:
        return endpoint
    model = known.endpoints(chosen).get(endpoint.name, "")
    for row in supervisor.list_runs() if model else ():
        if row.backend == "azure" and row.summary.model == f"azureml:{model}":
            journal = JournalReader(RunDirectory(row.directory).journal_path)
            sent = [item for item in journal.read() if isinstance(item, Submitted)]
            if sent:
                return replace(endpoint, price_in=sent[-1].price_in_usd, price_out=sent[-1].price_out_usd)
    return endpoint
