"""Azure for the screens, in a process of its own: sign-in, checklist, models, prices, endpoints, jobs, clean-up.

    python -P -m core.azure.worker

Requests are served one at a time. A device-code sign-in lives in this process's memory and ends with it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Generator
from dataclasses import asdict
from typing import Any

from core import pipes
from core.azure import account as accounts
from core.azure import ai_services as services
from core.azure import (
    assets,
    choices,
    endpoints,
    fixes,
    jobs,
    marketplace,
    models,
    plain,
    prices,
    readiness,
    sweep,
    tuned,
)
from core.azure.attach import reconstruct
from core.azure.clients import Azure
from core.azure.faults import AzureError
from core.azure.session import Session

Plain = dict[str, Any]
Stream = Generator[Any, None, Any]


class Desk:
    """The worker's state: the clients of the account in use."""

    def __init__(self) -> None:
        self._session = Session()

    @property
    def azure(self) -> Azure:
        """The clients."""
        return self._session.azure

    # Account

    def account(self, request: pipes.Request) -> Plain:
        """What is chosen, without asking Azure."""
        return plain.account()

    def signed_in(self, request: pipes.Request) -> Plain:
        """Whether there is a token without asking anybody; if not, why."""
        try:
            self.azure.signed_in()
        except AzureError as error:
            return {"signed_in": False, "code": error.code, **error.as_dict()}
        return {"signed_in": True, **_who(self.azure)}

    def sign_in(self, request: pipes.Request, identity: str = "", tenant: str = "") -> Stream:
        """Sign in, by another way if one is named; chunks are `{"url", "code"}` to show, one for each code."""
        yield from self._session.sign_in(request.check, identity, tenant)
        return {**plain.account(), **_who(self.azure)}

    def choose(self, request: pipes.Request, **values: str) -> Plain:
        """Keep a choice: subscription, resource_group, project, region, tenant or identity."""
        accounts.save(accounts.load().changed(**values))
        return plain.account()

    def subscriptions(self, request: pipes.Request) -> list[Plain]:
        return [asdict(item) for item in choices.subscriptions(self.azure)]

    def groups(self, request: pipes.Request) -> list[Plain]:
        return [asdict(item) for item in choices.groups(self.azure)]

    def projects(self, request: pipes.Request, hubs: bool = False) -> list[Plain]:
        """Projects and plain workspaces of the chosen group; its hubs instead with `hubs`."""
        kinds = ("hub",) if hubs else ("project", "default")
        return [asdict(item) for item in choices.projects(self.azure, kinds)]

    def ai_services(self, request: pipes.Request) -> list[Plain]:
        """The AI services accounts of the chosen group."""
        return [asdict(item) for item in services.accounts(self.azure)]

    # Readiness

    def checklist(self, request: pipes.Request, model: str = "") -> Stream:
        """Chunks are the lines as they are known; the result is whether nothing is missing."""
        states = []
        for line in readiness.checklist(self.azure, model):
            states.append(line.state)
            yield asdict(line)
        return {"ready": not any(state in ("missing", "waiting") for state in states)}

    def fix(
        self,
        request: pipes.Request,
        action: str,
        name: str = "",
        hub: str = "",
        region: str = "",
        ai_services: str = "",
    ) -> Stream:
        """Do what a line of the checklist offers; chunks are `{"text"}`.

        Args:
            request: the request.
            action: the line's `fix`: `register NAMESPACE`, `create_group`, `create_project` or
                `connect_ai_services`.
            name: of the group or the project.
            hub: of the project.
            region: of what is made.
            ai_services: the AI services account to connect, or empty.
        """
        for text in fixes.fixed(self.azure, action, name, hub, region, ai_services):
            request.check()
            yield {"text": text}
        return plain.account()

    # Models and prices

    def models(self, request: pipes.Request, words: str = "", region: str = "") -> list[Plain]:
        return [plain.model(item) for item in models.search(self.azure, words, region)]

    def partners(self, request: pipes.Request, words: str = "") -> list[Plain]:
        """The models that can be tuned through the Azure Marketplace only."""
        return [plain.model(item) for item in models.partners(self.azure, words)]

    def subscribe(self, request: pipes.Request, model: str) -> Plain:
        """Take a partner's offer, by its model's registry id, and so accept its terms."""
        return {"subscription": marketplace.subscribe(self.azure, models.registry_id(model))}

    def prices(self, request: pipes.Request, model: str, region: str = "", currency: str = "USD") -> Plain:
        """The quotes of a recipe's model by their kind; no sign-in is needed."""
        name = models.registry_id(model).removeprefix(models.PREFIX)
        found = prices.quotes(name, region or accounts.load().region, currency)
        return {kind: asdict(quote) for kind, quote in found.items()}

    # Data

    def assets(self, request: pipes.Request) -> list[Plain]:
        """The project's data assets, each in its newest version; a recipe names one by its `ref`."""
        return [asdict(item) for item in assets.listed(self.azure)]

    def asset(self, request: pipes.Request, ref: str, task: str = "chat") -> Plain:
        """One data asset and its rows: `rows` of them, `faults` by line; `why` they can't be had, or empty."""
        looked = assets.look(self.azure, ref, task)
        faults = [{"line": line, "why": why} for line, why in looked.faults]
        return {"asset": asdict(looked.asset), "rows": looked.rows, "why": looked.why, "faults": faults}

    # Endpoints and tuned models

    def endpoints(self, request: pipes.Request, currency: str = "USD") -> list[Plain]:
        """All endpoints with what an hour of each costs."""
        return plain.endpoints_priced(self.azure, currency)

    def deploy(
        self, request: pipes.Request, name: str, model: str, content_safety: bool = True, run: str = ""
    ) -> Stream:
        """Make an endpoint for a tuned model (`name:version`); chunks are `{"text"}`."""
        called, _, version = model.partition(":")
        steps = endpoints.deploy(
            self.azure, name, called, version or "1", content_safety=content_safety, run=run
        )
        for text in steps:
            request.check()
            yield {"text": text}
        return plain.endpoint(endpoints.get(self.azure, name))

    def undeploy(self, request: pipes.Request, name: str) -> Plain:
        endpoints.undeploy(self.azure, name)
        return {"deleted": name}

    def rotate(self, request: pipes.Request, name: str, which: str = "Primary") -> Plain:
        endpoints.rotate(self.azure, name, which)
        return {"rotated": name, "which": which}

    def registered_models(self, request: pipes.Request) -> list[Plain]:
        """The tuned models of the project with the endpoint that serves each."""
        return plain.tuned_models(self.azure)

    def delete_model(self, request: pipes.Request, model: str) -> Plain:
        """Delete a registered model (`name:version`); refused while an endpoint serves it."""
        name, _, version = model.partition(":")
        tuned.delete(self.azure, name, version or "1", sweep.users(self.azure, name, version or "1"))
        return {"deleted": model}

    # Jobs and clean-up

    def jobs(self, request: pipes.Request) -> list[Plain]:
        return [plain.job(item) for item in jobs.jobs(self.azure)]

    def cancel(self, request: pipes.Request, name: str) -> Plain:
        jobs.cancel(self.azure, name)
        return plain.job(jobs.get(self.azure, name))

    def attach(self, request: pipes.Request, name: str) -> Plain:
        """A job as `recipe` and `record`, for `core.runs.attaching.adopt`; its rows are fetched to this machine."""
        recipe, record = reconstruct(self.azure, name)
        return {"recipe": recipe.model_dump(exclude_none=True), "record": asdict(record)}

    def logs(self, request: pipes.Request, name: str) -> list[Plain]:
        return [{"name": title, "text": text} for title, text in jobs.logs(self.azure, name)]

    def sweep(self, request: pipes.Request, currency: str = "USD") -> Plain:
        """Everything finetui made, with what it costs: `things`, and in `not_listed` the error of each refused list."""
        failed: list[AzureError] = []
        found = sweep.things(self.azure, currency, failed)
        return {
            "things": [{**asdict(item), "key": item.key} for item in found],
            "not_listed": [error.as_dict() for error in failed],
        }

    def sweep_delete(self, request: pipes.Request, keys: list[str]) -> Stream:
        """Delete what `sweep` named by its `key`; a chunk for each, `error` empty or its three parts."""
        chosen = [item for item in sweep.things(self.azure, failed=[]) if item.key in keys]
        failed = 0
        for item, error in sweep.delete(self.azure, chosen):
            failed += error is not None
            yield {"key": item.key, "error": error.as_dict() if error else None}
            request.check()
        return {"deleted": len(chosen) - failed, "failed": failed}


def _who(azure: Azure) -> Plain:
    """Whose token it is (`user`) and of which tenant (`user_tenant`), as it says itself; good for showing it."""
    token = azure.credential.get_token(azure.scope).token
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    except (IndexError, ValueError):  # no service promises that its tokens can be read
        claims = {}
    names = (claims.get(name) for name in ("upn", "unique_name", "preferred_username", "appid"))
    return {"user": str(next(filter(None, names), "")), "user_tenant": str(claims.get("tid") or "")}


def handlers() -> dict[str, pipes.Handler]:
    """Every request by its name."""
    desk = Desk()
    return {name: getattr(desk, name) for name in vars(Desk) if not name.startswith("_") and name != "azure"}


if __name__ == "__main__":
    pipes.serve(handlers())
