"""What passes between a run and the engine that works on it.

An engine knows nothing of processes, queues or screens: the worker hands it a `Run` and writes down the `Outcome`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from core.events import Event


@dataclass(frozen=True)
class Estimate:
    """What a run will take, computed from the recipe, the data and the model's configuration.

    Sizes are bytes. `peak_bytes` is a calculation, not a measurement: the process, and the larger of what loading takes
    and what weights, adapter (gradients and optimiser with it), activations and head take together. `tokens`, of the
    rows one by one, is exact unless `sampled_rows` is set, then it is scaled up from that many rows;
    `computed_tokens` is what goes through the model, since common beginnings count once; `pack_tokens` are computed
    at once. `parameters` are those of the model with what is put onto it, the trained ones among them.
    """

    device: str
    rows: int
    validation_rows: int
    steps: int
    tokens: int
    trained_tokens: int
    computed_tokens: int
    sampled_rows: int
    longest_row: int
    cut_rows: int
    dropped_rows: int
    parameters: int
    trainable_parameters: int
    process_bytes: int
    loading_bytes: int
    weights_bytes: int
    adapter_bytes: int
    activation_bytes: int
    head_bytes: int
    pack_tokens: int
    peak_bytes: int
    available_bytes: int
    checkpoint_bytes: int
    checkpoints: int
    disk_bytes: int
    free_disk_bytes: int


@dataclass(frozen=True)
class RemoteEstimate:
    """What a run will take of a service that bills by the token, computed from the recipe and the data.

    Args:
        rows: to train on.
        validation_rows: held out.
        epochs: times each row is used.
        epochs_from: `recipe`, or `service` where the recipe leaves them to it.
        tokens: of the rows to train on, once.
        counted: how these were counted: `tokenizer` by the model's own; `characters` by four characters a token.
        sampled_rows: 0, or how many rows were counted when the rest is scaled up from them.
    """

    rows: int
    validation_rows: int
    epochs: float
    epochs_from: Literal["recipe", "service"]
    tokens: int
    counted: Literal["tokenizer", "characters"]
    sampled_rows: int

    @property
    def billed_tokens(self) -> int:
        """What training is charged by: tokens x epochs."""
        return round(self.tokens * self.epochs)


@dataclass(frozen=True)
class TimePlan:
    """How long a run will take, in seconds by its parts, from a short training just measured on this machine."""

    start_s: float
    train_s: float
    evaluate_s: float
    samples_s: float
    save_s: float
    tokens_per_s: float
    """Useful tokens: those of the rows one by one."""

    @property
    def total_s(self) -> float:
        return self.start_s + self.train_s + self.evaluate_s + self.samples_s + self.save_s


@dataclass(frozen=True)
class Outcome:
    """How training ended; the worker turns it into the run's last event. Paths are relative to the run."""

    kind: Literal["finished", "stopped", "paused"]
    step: int
    model: str = ""
    checkpoint: str = ""
    loss: float | None = None
    base_loss: float | None = None


@dataclass(frozen=True)
class RemoteOutcome(Outcome):
    """How a job elsewhere ended; `job_s` is how long it took there by its service, None where that doesn't say."""

    job_s: float | None = None


class Request(Protocol):
    """Something the user asks of a running run."""

    @property
    def verb(self) -> str:
        """stop, pause, checkpoint, sample or change."""

    @property
    def arguments(self) -> dict[str, Any]:
        """What belongs to the verb."""


class Run(Protocol):
    """A run as its backend sees it."""

    @property
    def directory(self) -> Path:
        """The run directory."""

    @property
    def device(self) -> str:
        """`cpu` or `cuda:<uuid>`; its lock is held."""

    @property
    def devices(self) -> Sequence[str]:
        """One for each process that trains, `device` first; the locks of all are held."""

    @property
    def resume_from(self) -> Path | None:
        """The checkpoint to go on from, verified; None at the first start."""

    @property
    def ending_since(self) -> float | None:
        """When the process was told from outside to end (SIGTERM), by time.monotonic(); None while it wasn't."""

    def emit(self, event: Event) -> None:
        """Write an event to the journal. Never raises for a full disk."""

    def requests(self) -> Sequence[Request]:
        """New requests since the last call, told in the journal already; cheap, made at every step."""

    def worked_s(self) -> float:
        """Seconds that workers have worked on it, this one until now and all before it."""

    def partial_checkpoint(self, step: int) -> Path:
        """An empty private folder to write a checkpoint into."""

    def publish_checkpoint(self, partial: Path, step: int) -> Path:
        """Make a written checkpoint durable and complete; returns its final folder."""

    def prune_checkpoints(self, keep: int, spare: int | None = None) -> None:
        """Remove all but the newest `keep` checkpoints and that of step `spare`."""

    def partial_model(self) -> Path:
        """An empty private folder to write the final model into."""

    def publish_model(self, partial: Path) -> Path:
        """Make the written model durable, in place of an earlier one; returns its final folder."""
