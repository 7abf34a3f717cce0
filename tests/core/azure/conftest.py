"""The loopback Azure for these tests, one for the session: azure-ai-ml reads the cloud once, when it is imported.

Each test has it as it was at its start, so that their order means nothing, and a home of its own that names its
project.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.azure.account import Account, save
from core.azure.clients import Azure
from core.recipe import Recipe, build
from core.runs.directory import RunDirectory
from tests.azure_emulator import azurite, emulator
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.state import Settings

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"What is {n} and {n}?"},
            {"role": "assistant", "content": f"{2 * n}."},
        ]
    }
    for n in range(12)
]


@pytest.fixture(scope="session")
def loopback() -> Iterator[Emulator]:
    """A loopback Azure with Azurite."""
    if azurite.missing():
        pytest.skip(azurite.missing())
    with emulator.running(settings=Settings(seconds_per_status=0.05, running_seconds=0.3)) as azure:
        yield azure


@pytest.fixture(autouse=True)
def azure(loopback: Emulator, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The loopback Azure as it was at its start, this process led to it, its project chosen."""
    for name, value in {
        **loopback.environment,
        **loopback.service_principal,
        "FINETUI_AZURE_POLL_S": "0.1",
    }.items():
        monkeypatch.setenv(name, value)
    loopback.reset()
    save(account_in(loopback, loopback.workspace))
    yield loopback
    assert loopback.schema_errors == []


def account_in(azure: Emulator, project: str) -> Account:
    """A service principal's account for a project."""
    return Account(
        "service_principal", azure.tenant, azure.subscription, azure.resource_group, project, azure.region
    )


@pytest.fixture
def clients() -> Azure:
    """Clients of the chosen account."""
    from core.azure.account import load

    return Azure(load())


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of twelve conversations."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture
def recipe(rows: Path) -> Callable[..., Recipe]:
    """Makes a recipe for Azure."""

    def make(**changes: Any) -> Recipe:
        content = {
            "model": "phi-4-mini-instruct",
            "data": str(rows),
            "backend": "azure",
            "validation_fraction": 0.25,
        }
        return build({key: value for key, value in {**content, **changes}.items() if value is not None})

    return make


@pytest.fixture
def new_run(recipe: Callable[..., Recipe]) -> Callable[..., RunDirectory]:
    """Makes a run's directory."""

    def make(name: str = "tone", **changes: Any) -> RunDirectory:
        return RunDirectory.create(recipe(**changes), name)

    return make
