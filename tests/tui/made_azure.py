"""An Azure worker that answers what a test chose, in the shapes of core.azure.worker, and the way to its pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core.azure.account import IN_WORDS, Account
from core.azure.endpoints import Endpoint
from core.azure.jobs import Job
from core.azure.models import RegistryModel
from core.azure.prices import Quote
from core.azure.readiness import Line
from core.azure.sweep import Thing
from core.pipes import PipeError
from tests.tui.driving import press, until
from tui import azurework
from tui.actions import AZURE_PAGES
from tui.app import FinetuiApp
from tui.screens.azure_page import AzurePage, page
from tui.screens.train import TrainScreen

Plain = dict[str, Any]
GUID = "11111111-2222-3333-4444-555555555555"
CHOSEN = Account("service_principal", "", GUID, "rg-one", "project-one", "eastus2")
T0 = 1_790_000_000.0
BASE = "azureml://registries/azureml/models/Phi-4-mini-instruct/versions/1"
REGIONS = ("eastus2", "westus3")
HOSTILE = "\x1b[31m[/foo]"


def plain(thing: Any, **more: Any) -> Plain:
    """A dataclass as the worker tells it."""
    from dataclasses import asdict

    return {**asdict(thing), **more}


def account(chosen: Account = CHOSEN) -> Plain:
    """As the worker's `account`."""
    return {
        **chosen.as_dict(),
        "identity_words": IN_WORDS[chosen.identity],
        "unattended": chosen.identity != "device_code",
        "missing": chosen.missing,
        "note": "",
    }


def quotes(training: float | None = 0.003, hosting: float | None = 0.8) -> Plain:
    """As the worker's `prices`."""
    why = "the price list has no meter with its name"
    asked = {"currency": "USD", "asked": "2026-09-21"}
    train_why, host_why = "" if training else why, "" if hosting else why
    return {
        "training": plain(Quote("training", training, 1000.0, meter="Phi FT Training", why=train_why, **asked)),
        "hosting": plain(Quote("hosting", hosting, 1.0, meter="Phi FT Hosting", why=host_why, **asked)),
        "input": plain(Quote("input", 7.5e-5, 1000.0, meter="Phi Input", **asked)),
        "output": plain(Quote("output", None, why=why, **asked)),
    }  # fmt: skip


def lines(state: str = "ok") -> list[Plain]:
    """A checklist whose second line is in a state."""
    fix = {"missing": "register Microsoft.Network"}.get(state, "")
    network = Line(
        "provider Microsoft.Network", "Resource provider Microsoft.Network", state,  # type: ignore[arg-type]
        "Registered." if state == "ok" else "NotRegistered.", "Azure's networks.", fix=fix,
    )  # fmt: skip
    return [
        plain(Line("subscription", "Subscription", "ok", f"Lab {HOSTILE} is enabled.", "It pays.")),
        plain(network),
        plain(Line("role", "Your role", "missing", "It lacks jobs/write.", "It trains.", ask="An owner of rg-one.")),
        plain(Line("quota", "Quota", "unknown", "Azure tells no quota.", "Azure limits endpoints.")),
    ]  # fmt: skip


def models() -> list[Plain]:
    """One that can be tuned here, one elsewhere, one that is retired, one of which nothing is known."""
    made = [
        RegistryModel(
            "Phi-3-mini-4k-instruct", "15", "azureml://registries/azureml/models/Phi-3-mini-4k-instruct",
            "phi-3-mini-4k-instruct", "Phi-3 mini 4k Instruct", ("chat-completion",), (), "registry", 4096, "MIT",
            "2025-08-30", "Phi-4-mini-instruct", {}, True,
        ),
        RegistryModel(
            "Phi-4-mini-instruct", "1", "azureml://registries/azureml/models/Phi-4-mini-instruct",
            "phi-4-mini-instruct", "Phi-4 mini Instruct", ("chat-completion",), REGIONS, "registry", 131072, "MIT",
            "", "", {"num_train_epochs": 1}, True,
        ),
        RegistryModel(
            f"Elsewhere-{HOSTILE}", "2", "azureml://registries/azureml/models/Elsewhere", "", f"Elsewhere {HOSTILE}",
            ("chat-completion",), ("westus3",), "catalogue", 0, "", "", "", {}, True,
        ),
        RegistryModel("Unknown-9b", id="azureml://registries/azureml/models/Unknown-9b", title="Unknown-9b"),
    ]  # fmt: skip
    return [plain(item, tunable=item.tunable) for item in made]


def endpoints() -> list[Plain]:
    """One that finetui made and nobody uses, and one of somebody else's that is not charged by the hour."""
    own = Endpoint(
        "tone-live", "Online", "tone-1a:1", True, "eastus2", "Enabled", "tone-1a2b", T0 - 3 * 86400, 0.0,
        "https://tone-live.eastus2.models.ai.azure.com",
    )  # fmt: skip
    other = Endpoint(
        f"theirs-{HOSTILE}", "Suspended", "Phi-4", False, "eastus2", created=T0 - 3600, used=T0 - 60
    )
    return [
        plain(own, idle=True, billed=True, hosting=quotes()["hosting"]),
        plain(other, idle=False, billed=False, hosting=None),
    ]


def jobs() -> list[Plain]:
    """One from elsewhere that trains, one of this machine that is over."""
    rows = "/subscriptions/s/providers/Microsoft.MachineLearningServices/workspaces/project-one/data/rows/versions/1"
    made = [
        Job(
            "finetui-far-9z", "Running", f"far {HOSTILE}", "far-9z", BASE, "ChatCompletion", "far-9z",
            {"num_train_epochs": "3"}, "https://ml.azure.com/runs/far", T0 - 600, "grace@lab.org", (rows,),
        ),
        Job(
            "finetui-tone-1a2b", "Completed", "tone", "tone-1a2b", BASE, "ChatCompletion", "tone-1a", {},
            "https://ml.azure.com/runs/tone", T0 - 7200, "ada@lab.org", (rows,),
        ),
    ]  # fmt: skip
    return [plain(item, words=item.words, ended=item.ended) for item in made]


def things() -> list[Plain]:
    """An endpoint, the model it serves, its rows, and a job that still runs."""
    kept = "its gigabytes in storage"
    made = [
        Thing("endpoint", "tone-live", "tone-1a2b", "Online", "0.80 USD an hour, used or not", 0.8, created=T0 - 7200),
        Thing("model", "tone-1a:1", "tone-1a2b", cost=kept, used_by="tone-live", created=T0 - 9000),
        Thing("data", "finetui-abc:1", "tone-1a2b", cost=kept, created=T0 - 9900),
        Thing("job", "finetui-other", "other-9z", "Running", created=T0 - 60, stays="It is training: cancel it first."),
    ]  # fmt: skip
    return [plain(item, key=item.key) for item in made]


class ScriptedWorker:
    """Stands in for the Azure worker: answers by op, or raises what is put there; remembers what was asked.

    Attributes:
        answers: op -> result, an error, or a list of chunks with the result at its end in `Chunks`.
        asked: every request: (op, arguments).
        gate: a stream waits here before its result, while it is clear.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "account": account(),
            "signed_in": {"signed_in": True},
            "checklist": Chunks(lines(), {"ready": False}),
            "models": models(),
            "prices": quotes(),
            "endpoints": endpoints(),
            "registered_models": [
                {"name": "tone-1a", "version": "1", "base": BASE, "run": "tone-1a2b", "endpoint": ""}
            ],
            "sweep": {"things": things(), "not_listed": []},
            "jobs": jobs(),
        }
        self.asked: list[tuple[str, Plain]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled: list[str] = []

    def ops(self) -> list[str]:
        return [op for op, _ in self.asked]

    def last(self, op: str) -> Plain:
        """The arguments of the last request of an op."""
        return next(arguments for name, arguments in reversed(self.asked) if name == op)

    async def stream(self, op: str, **arguments: Any) -> AsyncGenerator[tuple[str, Any], None]:
        self.asked.append((op, arguments))
        answer = self.answers[op]
        if isinstance(answer, Exception):
            raise answer
        try:
            for chunk in answer.chunks if isinstance(answer, Chunks) else ():
                yield "chunk", chunk
            if isinstance(answer, Chunks):
                await self.gate.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.append(op)
            raise
        result = answer.result if isinstance(answer, Chunks) else answer
        if isinstance(result, Exception):
            raise result
        yield "result", result

    async def call(self, op: str, **arguments: Any) -> Any:
        async for kind, value in self.stream(op, **arguments):
            if kind == "result":
                return value
        raise AssertionError(f"{op} has no result")

    async def close(self) -> None:
        """Nothing to end."""


class Chunks:
    """An answer in pieces."""

    def __init__(self, chunks: list[Plain], result: Any) -> None:
        self.chunks = chunks
        self.result = result


def refused(what: str = "Azure refused.", next_step: str = "") -> PipeError:
    return PipeError(what, "AuthorizationFailed: no.", next_step)


@pytest.fixture(name="worker")
def scripted_worker(monkeypatch: pytest.MonkeyPatch) -> ScriptedWorker:
    """The scripted worker in the real one's place, and Azure said to be an emulator."""
    scripted = ScriptedWorker()
    monkeypatch.setattr(azurework, "new_worker", lambda: scripted)
    monkeypatch.setenv("FINETUI_AZURE_NOTE", "emulator")
    return scripted


async def open_page(pilot: Pilot[Any], at: int = 0) -> AzurePage:
    """Open the checklist from Train by its key, or another of the pages by its place."""
    app = pilot.app
    await until(pilot, lambda: isinstance(app.screen, TrainScreen) and app.screen.form is not None)
    train = app.screen
    assert isinstance(train, TrainScreen)
    if at:
        app.push_screen(page(list(AZURE_PAGES)[at], train.desk))
    else:
        await press(pilot, "z")
    await until(pilot, lambda: isinstance(app.screen, AzurePage))
    screen = app.screen
    assert isinstance(screen, AzurePage)
    return screen


def toasts(app: FinetuiApp) -> list[str]:
    """What was notified."""
    return [notice.message for notice in app._notifications]


def rows(folder: Path) -> Path:
    """A small file of conversations."""
    import json

    path = folder / "rows.jsonl"
    row = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]}
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(12)))
    return path
