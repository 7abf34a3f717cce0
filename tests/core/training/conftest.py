"""A run without a worker: what the engine needs of a run directory, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core import recipe as recipes
from core.events import Event
from core.work import Request
from tests.core.training import tiny


@dataclass(frozen=True)
class Ask:
    """A request at a step."""

    verb: str
    arguments: dict[str, Any] = field(default_factory=dict)


class FolderRun:
    """A `Run` that keeps its events in a list and answers requests by a plan: {step: verb}."""

    def __init__(self, directory: Path, resume_from: Path | None = None) -> None:
        self.directory = directory
        self.device = "cpu"
        self.devices: tuple[str, ...] = ("cpu",)
        self.resume_from = resume_from
        self.ending_since: float | None = None
        self.events: list[Event] = []
        self.worked = 7.5
        self.asked: dict[int, Ask] = {}
        self.asked_early = False
        self._step = 0
        (directory / "data").mkdir(parents=True, exist_ok=True)
        (directory / "checkpoints").mkdir(exist_ok=True)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.kind == kind]

    def requests(self) -> Sequence[Request]:
        if not self.asked_early and not self.of("planned"):
            return []
        self._step += 1
        return [self.asked[self._step]] if self._step in self.asked else []

    def worked_s(self) -> float:
        return self.worked

    def partial_checkpoint(self, step: int) -> Path:
        folder = self.directory / "checkpoints" / f".step-{step}"
        folder.mkdir()
        return folder

    def publish_checkpoint(self, partial: Path, step: int) -> Path:
        return partial.rename(self.directory / "checkpoints" / f"step-{step}")

    def prune_checkpoints(self, keep: int, spare: int | None = None) -> None:
        self.kept = keep, spare

    def partial_model(self) -> Path:
        folder = self.directory / ".model"
        folder.mkdir()
        return folder

    def publish_model(self, partial: Path) -> Path:
        return partial.rename(self.directory / "model")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model(tmp_path_factory.mktemp("tiny") / "phi3")


@pytest.fixture
def make_recipe(tiny_model: Path, tmp_path: Path) -> Callable[..., recipes.Recipe]:
    """A recipe over 20 rows of the tiny model; keywords change it."""

    def make(**changes: Any) -> recipes.Recipe:
        rows = tiny.make_rows(tmp_path / "train.jsonl", 20)
        validation = tiny.make_rows(tmp_path / "validation.jsonl", 5, seed=3)
        content: dict[str, Any] = {
            "model": str(tiny_model),
            "data": str(rows),
            "validation": str(validation),
            "batch_size": 4,
            "accumulation": 2,
            "max_steps": 10,
            "learning_rate": 1e-2,
            "warmup": 0.2,
            "evaluate_every": 5,
            "checkpoint_every": 5,
            "sample_max_tokens": 4,
        }
        return recipes.build(
            {key: value for key, value in {**content, **changes}.items() if value is not None}
        )

    return make
