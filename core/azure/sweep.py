"""Everything finetui has made in a project, what it costs, and its deletion in an order that Azure accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from core.azure import ai_services, choices, data, endpoints, jobs, prices, tuned
from core.azure.clients import Azure
from core.azure.faults import AzureError

T = TypeVar("T")
Kind = Literal["endpoint", "model", "data", "job", "project", "hub", "ai_services"]
ORDER: tuple[Kind, ...] = get_args(Kind)
"""An endpoint before the model it serves; a job after them, since it names them all."""
IN_USE = "A hub is connected to it, and others may use it: delete it in the Azure portal."
OTHERS_TOO = "It may hold what others have made: delete it in the Azure portal."
LISTS = 6
"""That `things` asks for."""
STORED = "its gigabytes in the project's storage: mostly cents a month"


@dataclass(frozen=True)
class Thing:
    """Something finetui made.

    Args:
        kind: endpoint, model, data, job, project, hub or ai_services (an account of theirs).
        name: its name; of a model and of data with `:version`.
        run: the finetui run it belongs to, or empty.
        state: of an endpoint or a job.
        cost: what it costs, in words.
        per_hour: what it costs by the hour; None: nothing, or unknown.
        currency: of `per_hour`.
        used_by: of a model, the endpoint that serves it.
        created: UTC seconds, 0 for unknown.
        stays: why it can't be deleted now; empty: it can.
    """

    kind: Kind
    name: str
    run: str = ""
    state: str = ""
    cost: str = "nothing"
    per_hour: float | None = None
    currency: str = "USD"
    used_by: str = ""
    created: float = 0.0
    stays: str = ""

    @property
    def key(self) -> str:
        return f"{self.kind} {self.name}"


def things(azure: Azure, currency: str = "USD", failed: list[AzureError] | None = None) -> list[Thing]:
    """All of it, in the order in which it can be deleted.

    Args:
        azure: the account.
        currency: of the prices.
        failed: takes the error of each list that Azure refuses, so that what the others hold is told; what can't be
            told from the others then stays. None: the first such error is raised.

    Raises:
        AzureError: Azure can't be reached, or answers none of the lists.
    """
    errors: list[AzureError] = []

    def listed(ask: Callable[[], list[T]]) -> list[T] | None:
        try:
            return ask()
        except AzureError as error:
            if failed is None or not error.status:
                raise
            errors.append(error)
            return None

    every_job = listed(lambda: jobs.jobs(azure))
    outputs = {job.output: job.run for job in every_job or () if job.run and job.output}
    models = listed(lambda: [item for item in tuned.tuned_models(azure, outputs) if item.run])
    every = listed(lambda: endpoints.endpoints(azure)) or []
    rows = listed(lambda: data.assets(azure)) or []
    made = listed(lambda: choices.projects(azure, ("project", "hub"))) or []
    accounts = listed(lambda: ai_services.accounts(azure)) or []
    if len(errors) == LISTS:
        raise errors[0]
    if failed is not None:
        failed += errors
    held = {f"{item.name}:{item.version}": item for item in models or ()}
    serving = {item.model: item.name for item in every if item.tuned}
    found = [
        _endpoint(azure, item, held.get(item.model), currency)
        for item in every
        if item.run or item.model in held
    ]
    found += [
        Thing("model", name, item.run, cost=STORED, used_by=serving.get(name, ""), created=item.created)
        for name, item in held.items()
    ]
    found += [_rows(item, every_job) for item in rows]
    found += [_job(job, models is not None) for job in every_job or () if job.run]
    found += [
        Thing(
            "hub" if item.kind.lower() == "hub" else "project",
            item.name,
            cost="nothing; a hub's storage and key vault by what they hold",
            stays=OTHERS_TOO,
        )
        for item in made
        if item.own
    ]
    found += [
        Thing("ai_services", item.name, cost="nothing until it is used, then by the call", stays=IN_USE)
        for item in accounts
        if item.own
    ]
    return found


def _rows(item: data.Asset, every_job: list[jobs.Job] | None) -> Thing:
    """A data asset; it stays while an unfinished job reads it, or may."""
    stays = "" if every_job is not None else "The jobs can't be listed, and one may read it."
    for job in every_job or ():
        named = [asset.groups() for asset in map(data.ASSET_ID.search, job.inputs) if asset]
        if not job.ended and (item.name, item.version) in named:
            stays = f"The unfinished job {job.name} reads it: `finetui azure cancel {job.name}` first."
    name = f"{item.name}:{item.version}"
    return Thing("data", name, item.run, cost=STORED, created=item.created, stays=stays)


def _job(job: jobs.Job, models_known: bool) -> Thing:
    """A job of finetui's; it stays while it goes on, and while its model may be there."""
    stays = "" if models_known else "The models can't be listed, and a job tells whose its model is."
    if not job.ended:
        stays = f"It is {job.words}: `finetui azure cancel {job.name}` first."
    return Thing("job", job.name, job.run, state=job.status, created=job.created, stays=stays)


def _endpoint(azure: Azure, item: endpoints.Endpoint, model: tuned.TunedModel | None, currency: str) -> Thing:
    quote = hosting(azure, model.base if model else "", currency)
    per_hour = quote.cost(1) if item.billed else None
    words = "nothing" if not item.billed else f"unknown by the hour ({quote.why})"
    if per_hour is not None:
        words = f"{per_hour:.2f} {quote.currency} an hour, used or not ({quote.meter})"
    return Thing(
        "endpoint", item.name, item.run, item.state, words, per_hour, quote.currency, created=item.created
    )


def hosting(azure: Azure, base: str, currency: str = "USD") -> prices.Quote:
    """The price of an hour of an endpoint, by the base of the model it serves."""
    name = base.partition("/models/")[2].partition("/versions/")[0]
    if not name:
        return prices.Quote("hosting", None, why="the base of its model is not known")
    return prices.quotes(name, azure.account.region, currency)["hosting"]


def delete(azure: Azure, chosen: Iterable[Thing]) -> Iterator[tuple[Thing, AzureError | None]]:
    """Delete things one by one, endpoints first; yields each with what stood against it, or None.

    One that can't be deleted doesn't keep the others, but the job of its run: a job is what tells whose a model is.
    """
    kept: set[str] = set()
    for thing in sorted(chosen, key=lambda item: ORDER.index(item.kind)):
        try:
            if thing.stays:
                raise AzureError(f"{thing.name} stays.", thing.stays, "")
            if thing.kind == "job" and thing.run in kept:
                raise AzureError(
                    f"{thing.name} stays.", "Something else of its run could not be deleted.", ""
                )
            _delete(azure, thing)
        except AzureError as error:
            kept.add(thing.run)
            yield thing, error
        else:
            yield thing, None


def _delete(azure: Azure, thing: Thing) -> None:
    name, _, version = thing.name.partition(":")
    match thing.kind:
        case "endpoint":
            endpoints.undeploy(azure, name)
        case "model":
            tuned.delete(azure, name, version, users(azure, name, version))
        case "data":
            data.delete(azure, name, version)
        case "job":
            jobs.delete(azure, name)


def users(azure: Azure, name: str, version: str) -> list[str]:
    """The endpoints that serve a registered model.

    Raises:
        AzureError: the project can't be asked.
    """
    return [item.name for item in endpoints.endpoints(azure) if item.model == f"{name}:{version}"]
