"""Azure for the screens, in a process of its own: sign-in, checklist, models, prices, endpoints, jobs, clean-up.

    python -P -m core.azure.worker

Requests are served one at a time. A device-code sign-in lives in this process's memory and ends with it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator
from dataclasses import asdict
from typing import Any

from core import pipes
from core.azure import account as accounts
from core.azure import (
    choices,
    endpoints,
    fixes,
    jobs,
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

Plain = dict[str, Any]
Stream = Generator[Any, None, Any]


class Desk:
    """The worker's state: the clients of the account in use."""

    def __init__(self) -> None:
        self._azure: Azure | None = None
        self._prompts: queue.SimpleQueue[Plain] = queue.SimpleQueue()

    @property
    def azure(self) -> Azure:
        """The clients, made anew when another process has chosen something else."""
        chosen = accounts.load()
        if self._azure is None:
            self._azure = Azure(chosen, self._prompt)
        elif self._azure.account != chosen:
            same = (self._azure.account.identity, self._azure.account.tenant) == (
                chosen.identity,
                chosen.tenant,
            )
            self._azure.account = chosen
            self._azure.forget() if same else self._azure.renew()
        return self._azure

    def _prompt(self, address: str, code: str) -> None:
        self._prompts.put({"url": address, "code": code})

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
        return {"signed_in": True}

    def sign_in(self, request: pipes.Request, identity: str = "", tenant: str = "") -> Stream:
        """Sign in, by another way if one is named; chunks are `{"url", "code"}` to show, one for each code."""
        azure = Azure(accounts.load().changed(identity=identity, tenant=tenant), self._prompt)
        ended: queue.SimpleQueue[str | AzureError] = queue.SimpleQueue()
        threading.Thread(target=_sign_in, args=(azure, ended), daemon=True).start()
        while True:
            request.check()
            with contextlib.suppress(queue.Empty):
                yield self._prompts.get(timeout=0.2)
            if not ended.empty():
                end = ended.get()
                if isinstance(end, AzureError):
                    raise end
                accounts.save(azure.account)  # only now: a sign-in that fails leaves the one that works
                self._azure = azure
                return {"user": end, **plain.account()}

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
    ) -> Stream:
        """Do what a line of the checklist offers; chunks are `{"text"}`.

        Args:
            request: the request.
            action: the line's `fix`: `register NAMESPACE`, `create_group` or `create_project`.
            name: of the group or the project.
            hub: of the project.
            region: of what is made.
        """
        for text in fixes.fixed(self.azure, action, name, hub, region):
            request.check()
            yield {"text": text}
        return plain.account()

    # Models and prices

    def models(self, request: pipes.Request, words: str = "", region: str = "") -> list[Plain]:
        return [plain.model(item) for item in models.search(self.azure, words, region)]

    def prices(self, request: pipes.Request, model: str, region: str = "", currency: str = "USD") -> Plain:
        """The quotes of a recipe's model by their kind; no sign-in is needed."""
        name = models.registry_id(model).removeprefix(models.PREFIX)
        found = prices.quotes(name, region or accounts.load().region, currency)
        return {kind: asdict(quote) for kind, quote in found.items()}

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

    def sweep(self, request: pipes.Request, currency: str = "USD") -> list[Plain]:
        """Everything finetui made, with what it costs."""
        return [{**asdict(item), "key": item.key} for item in sweep.things(self.azure, currency)]

    def sweep_delete(self, request: pipes.Request, keys: list[str]) -> Stream:
        """Delete what `sweep` named by its `key`; a chunk for each, `error` empty or its three parts."""
        chosen = [item for item in sweep.things(self.azure) if item.key in keys]
        failed = 0
        for item, error in sweep.delete(self.azure, chosen):
            failed += error is not None
            yield {"key": item.key, "error": error.as_dict() if error else None}
            request.check()
        return {"deleted": len(chosen) - failed, "failed": failed}


def _sign_in(azure: Azure, ended: queue.SimpleQueue[str | AzureError]) -> None:
    try:
        ended.put(azure.sign_in())
    except AzureError as error:
        ended.put(error)


def handlers() -> dict[str, pipes.Handler]:
    """Every request by its name."""
    desk = Desk()
    return {name: getattr(desk, name) for name in vars(Desk) if not name.startswith("_") and name != "azure"}


if __name__ == "__main__":
    pipes.serve(handlers())
