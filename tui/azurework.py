"""Azure as the screens use it: a worker that signs in and asks, what it has told, and what is being done just now.

Outlives its pages: a sign-in by device code lives in the worker, and an endpoint is made whether or not somebody looks.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from core.errors import FinetuiError
from core.pipes import PipeClient
from tui.azure_text import SIGN_IN, by_keys

if TYPE_CHECKING:
    from textual.worker import Worker

    from tui.app import FinetuiApp

Plain = dict[str, Any]


def new_worker() -> PipeClient:
    """An Azure worker of its own."""
    from core.paths import logs_dir, make_private

    return PipeClient("core.azure.worker", make_private(logs_dir()) / "azure-worker.log")


@dataclass(frozen=True)
class Task:
    """Something that is being done: its kind for programs, its title, and how far it is."""

    kind: str
    title: str
    step: str = ""

    def __str__(self) -> str:
        return f"{self.title}: {self.step}" if self.step else self.title


class Desk:
    """What the Azure pages share.

    Attributes:
        account: as the worker's `account` tells it; empty until it was asked.
        signed_in: whether there is a token; None until it was asked.
        why: why there is none: an error's parts.
        who: whose it is: `user` and `user_tenant`; empty where it isn't known.
        lines: the checklist as far as it is known.
        checked: whether that is all of it.
        checked_for: the model that it was asked about.
        models: of the registry; None until they were asked.
        words: that the models were searched for.
        jobs: of the project; None until they were asked.
        endpoints: of the project; None until they were asked.
        things: that finetui made; None until they were asked.
        code: (address, code) of a sign-in that waits.
        task: what is being done; one thing at a time.
        model: of the form, whose regions the checklist is asked about; empty: none.
        wish: what another screen wants done on the endpoints: (verb, `name:version` of a tuned model).
        use: takes a model into the form.
        changed: called when any of it has changed.
        ended: called when what was being done is over: what it changed is to be asked for anew.
    """

    def __init__(self, use: Callable[[str], None]) -> None:
        self.use = use
        self.model = ""
        self.wish = ("", "")
        self.changed: Callable[[], None] = _nobody
        self.ended: Callable[[], object] = _nobody
        self.account: Plain = {}
        self.signed_in: bool | None = None
        self.why: Plain = {}
        self.who: Plain = {}
        self.lines: list[Plain] = []
        self.checked = False
        self.checked_for = ""
        self.models: list[Plain] | None = None
        self.words = ""
        self.jobs: list[Plain] | None = None
        self.endpoints: list[Plain] | None = None
        self.things: list[Plain] | None = None
        self.code = ("", "")
        self.task: Task | None = None
        self._client: PipeClient | None = None
        self._prices: PipeClient | None = None
        self._worker: Worker[None] | None = None

    # -- asking

    @property
    def client(self) -> PipeClient:
        """The worker that is signed in."""
        if self._client is None:
            self._client = new_worker()
        return self._client

    async def ask(self, op: str, **arguments: Any) -> Any:
        """The worker's answer to one request; see core.azure.worker.

        Raises:
            PipeError: Azure refused or couldn't be asked; its next step names keys.
        """
        try:
            return await self.client.call(op, **arguments)
        except FinetuiError as error:
            raise by_keys(error) from error

    async def stream(self, op: str, **arguments: Any) -> AsyncGenerator[tuple[str, Any], None]:
        """As `ask`, with the chunks before it."""
        try:
            async for frame in self.client.stream(op, **arguments):
                yield frame
        except FinetuiError as error:
            raise by_keys(error) from error

    async def prices(self, model: str) -> Plain:
        """The quotes of a model by their kind. Asked in a process of its own: a deployment must not hold it up.

        Raises:
            PipeError: the model is not in the registry.
        """
        if self._prices is None:
            self._prices = new_worker()
        found: Plain = await self._prices.call("prices", model=model)
        return found

    async def look(self) -> None:
        """Ask whose Azure it is and whether there is a token; never opens anything for the user to do.

        Raises:
            PipeError: the worker can't be asked.
        """
        self.account = await self.ask("account")
        self.changed()
        found = await self.ask("signed_in")
        self.signed_in = found["signed_in"]
        self.who, self.why = (found, {}) if self.signed_in else ({}, found)
        self.changed()

    def ready(self, model: str) -> bool | None:
        """Whether nothing that a model needs is missing; None where the checklist was not asked about it."""
        if not self.checked or self.checked_for != model:
            return None
        return not any(line["state"] in ("missing", "waiting") for line in self.lines)

    async def choose(self, **values: str) -> Plain:
        """Keep a choice; what was known of the old one is forgotten. Returns the account.

        Raises:
            PipeError: it can't be kept.
        """
        self.account = await self.ask("choose", **values)
        self.forget()
        return self.account

    def forget(self) -> None:
        """What was told belongs to another account or project now."""
        self.lines, self.checked = [], False
        self.models = None
        self.forget_made()

    def forget_made(self) -> None:
        """Something was made or deleted: lists of the project are asked for anew."""
        self.jobs = self.endpoints = self.things = None
        self.changed()

    # -- doing

    def begin(
        self, app: FinetuiApp, task: Task, op: str, done: Callable[[Any], None], **arguments: Any
    ) -> None:
        """Do something in Azure; the app is told of its error, `done` of its result.

        Args:
            app: whose worker it is, so that it goes on when the page is left.
            task: what it is; while another one goes on nothing is begun.
            op: of the worker.
            done: called with the result, after `task` is None again.
            arguments: of the op.
        """
        if self.task is not None:
            app.notify(f"One thing at a time: {self.task.title} goes on.")
            return
        self.task = task
        if task.kind == SIGN_IN:
            self.signed_in = None
        self.changed()
        self._worker = app.run_worker(self._do(app, op, done, arguments), group="azure")

    def stop(self) -> None:
        """Wait no longer for what is being done; what Azure has begun it goes on with."""
        if self._worker is not None:
            self._worker.cancel()

    async def _do(self, app: FinetuiApp, op: str, done: Callable[[Any], None], arguments: Plain) -> None:
        result, error, stayed = None, None, list[FinetuiError]()
        try:
            async for kind, value in self.stream(op, **arguments):
                if kind == "result":
                    result = value
                    continue
                self._told(value)
                if value.get("error"):
                    stayed.append(by_keys(FinetuiError(**value["error"])))
        except FinetuiError as wrong:
            error = wrong
        finally:
            self.task, self.code = None, ("", "")
            self.changed()
            if (
                op == SIGN_IN and result is None
            ):  # failed, or given up: the way to sign in is another one all the same
                app.run_worker(self.look_quietly(), group="azure")
        if error is None:
            done(result)
            error = _one(stayed)
        else:
            self.forget_made()
        self.ended()
        if error is not None:
            app.show_error(error)

    async def look_quietly(self) -> None:
        """As `look`, for who has an error to show already."""
        with contextlib.suppress(FinetuiError):  # a worker that is gone is told of by what is asked next
            await self.look()

    def _told(self, chunk: Plain) -> None:
        if "code" in chunk:
            self.code = (str(chunk["url"]), str(chunk["code"]))
        elif self.task is not None:
            self.task = replace(self.task, step=str(chunk.get("text") or chunk.get("key") or ""))
        self.changed()

    async def close(self) -> None:
        """End the workers; a sign-in by device code ends with them."""
        self.changed = self.ended = _nobody
        for client in (self._client, self._prices):
            if client is not None:
                await client.close()


def _one(stayed: list[FinetuiError]) -> FinetuiError | None:
    """What could not be deleted, as one error."""
    if len(stayed) < 2:
        return stayed[0] if stayed else None
    causes = "\n".join(f"{error.what} {error.cause}".strip() for error in stayed)
    return FinetuiError(f"{len(stayed)} things stayed.", causes, stayed[0].next_step)


def _nobody() -> None:
    """Nobody looks."""
