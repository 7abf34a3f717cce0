"""What a run says of itself: one small tagged union, the same for every backend.

Events are plain frozen dataclasses; `encode` and `decode` turn them into one JSON line and back. Times are
UTC seconds since the epoch, sizes are bytes, durations are seconds. A reader passes over kinds and fields
it doesn't know, so that old programs read new journals and new programs read old ones.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

import orjson

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Event:
    """What all events share: when it happened."""

    kind: ClassVar[str] = ""
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Queued(Event):
    """Waiting for its device; `position` 1 is next."""

    kind = "queued"
    device: str
    position: int
    behind: str = ""


@dataclass(frozen=True, kw_only=True)
class Starting(Event):
    """The worker runs and names what it does before the first step."""

    kind = "starting"
    phase: str
    device: str = ""
    pid: int = 0


@dataclass(frozen=True, kw_only=True)
class Planned(Event):
    """What will be trained, known before the first step."""

    kind = "planned"
    steps: int
    epochs: float
    rows: int
    validation_rows: int
    dropped_rows: int
    cut_rows: int
    tokens: int
    trained_tokens: int
    trainable_parameters: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Uploaded(Event):
    """A file has reached the remote backend."""

    kind = "uploaded"
    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Submitted(Event):
    """The remote backend has taken the job.

    Prices are those of its service's list at the time, None where they are unknown: `cost_usd` of the whole training,
    by the tokens as they are estimated; `price_in_usd` and `price_out_usd` of a million tokens of prompts and replies.
    """

    kind = "submitted"
    job: str
    cost_usd: float | None = None
    price_in_usd: float | None = None
    price_out_usd: float | None = None


@dataclass(frozen=True, kw_only=True)
class Status(Event):
    """Progress of something that is not a training step, e.g. a download: `done` of `total` units.

    `training` says that a remote job trains, though it has told no step yet.
    """

    kind = "status"
    text: str
    done: int = 0
    total: int = 0
    unit: str = ""
    training: bool = False


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """One optimiser step: `loss` is the mean over its trained tokens, `grad_norm` is before clipping.

    A loss or norm that is not a number is None when it is read back: JSON has no word for it. What a remote backend
    doesn't tell is None too.
    """

    kind = "step"
    step: int
    epoch: float | None
    loss: float | None
    learning_rate: float | None
    grad_norm: float | None
    tokens: int | None
    trained_tokens: int | None
    tokens_per_s: float | None
    memory_bytes: int | None
    duration_s: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """Mean loss over the trained tokens of the validation rows (over pairs, or texts, by the task); step 0 is the
    untrained base model. `metrics` are the task's other figures by name, e.g. token_accuracy."""

    kind = "evaluated"
    step: int
    loss: float | None
    perplexity: float | None
    rows: int
    trained_tokens: int
    duration_s: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Sampled(Event):
    """A greedy reply to a fixed prompt; step 0 is the untrained base model."""

    kind = "sampled"
    step: int
    prompt: str
    reply: str
    tokens: int
    expected: str = ""


@dataclass(frozen=True, kw_only=True)
class Checkpointed(Event):
    """A checkpoint is complete on the disk; `path` is relative to the run directory."""

    kind = "checkpointed"
    step: int
    path: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Changed(Event):
    """A setting was changed while the run was going."""

    kind = "changed"
    name: str
    old: str
    new: str
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Something the user should know; the run goes on."""

    kind = "warned"
    text: str
    next_step: str = ""


@dataclass(frozen=True, kw_only=True)
class SignInNeeded(Event):
    """The remote backend waits for the user to sign in."""

    kind = "sign_in_needed"
    url: str
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Requested(Event):
    """A stop or a pause has been asked for and will be done at the next step boundary."""

    kind = "requested"
    verb: str
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Paused(Event):
    """The worker has left, its device is free; `checkpoint` is where it will resume."""

    kind = "paused"
    step: int
    checkpoint: str


@dataclass(frozen=True, kw_only=True)
class Resumed(Event):
    """A new worker went on after `step` finished steps."""

    kind = "resumed"
    step: int
    checkpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class Stopped(Event):
    """Stopped on request; `model` (relative to the run directory) is what was trained so far, or empty."""

    kind = "stopped"
    step: int
    model: str = ""
    checkpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """All steps done and the model written; `job_s` is how long a job elsewhere took there, whoever watched it."""

    kind = "finished"
    step: int
    model: str
    loss: float | None = None
    base_loss: float | None = None
    duration_s: float = 0.0
    job_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The run ended by an error; `next_step` says what the user can do."""

    kind = "failed"
    what: str
    cause: str = ""
    next_step: str = ""
    step: int = 0


KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        Queued, Starting, Planned, Uploaded, Submitted, Status, Step, Evaluated, Sampled, Checkpointed,
        Changed, Warned, SignInNeeded, Requested, Paused, Resumed, Stopped, Finished, Failed,
    )
}  # fmt: skip

_FIELDS = {kind: {item.name for item in fields(cls)} for kind, cls in KINDS.items()}


def encode(event: Event) -> bytes:
    """One JSON line, newline included. A number that is none, or infinite, becomes null."""
    return orjson.dumps({"v": SCHEMA_VERSION, "kind": event.kind, **asdict(event)}) + b"\n"


def decode(line: bytes) -> Event | None:
    """The event of a line, or None for a kind this version doesn't know.

    Raises:
        ValueError: the line is not a JSON object with a kind, or a known kind lacks a field.
    """
    record: dict[str, Any] = orjson.loads(line)
    if not isinstance(record, dict):
        raise ValueError("an event is a JSON object")
    kind = record.get("kind")
    if not isinstance(kind, str):
        raise ValueError("an event has a kind")
    cls = KINDS.get(kind)
    if cls is None:
        return None
    known = _FIELDS[cls.kind]
    try:
        return cls(**{name: value for name, value in record.items() if name in known})
    except TypeError as error:
        raise ValueError(f"{cls.kind} event: {error}") from error
