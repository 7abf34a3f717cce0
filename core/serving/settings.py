"""What a deployment is: `deployment.json` in its directory, mode 0600. Stdlib and orjson only.

<name>/  deployment.json  gateway.json  status.json  requests.db  gateway.log  upstream-<model>.log
         blocklist.txt  profile.json  models/<model>/
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from core import paths
from core.errors import FinetuiError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
VERSION = 1
KEY_PREFIX = "ft-"


class DeploymentError(FinetuiError):
    """A deployment can't be found, read, made or changed."""


@dataclass(frozen=True)
class ServedModel:
    """One model of a deployment.

    Attributes:
        name: what a request's `model` says.
        kind: `tuned` or `base`.
        run: id of the run it comes from; of a base, of the run that was deployed with it.
        checkpoint: its step, None for the run's model.
        folder: whole weights; of an adapter that vLLM serves by itself, the adapter's folder.
        base: name of the base model for people.
        bytes: size of its weights on the disk.
        parameters: how many weights it has; 0 where that was not written down.
        chat: whether it has a chat template.
        adapter_on: folder of the base that an adapter is served on, or empty.
    """

    name: str
    kind: str
    run: str
    checkpoint: int | None
    folder: str
    base: str
    bytes: int
    chat: bool = True
    adapter_on: str = ""
    parameters: int = 0


@dataclass(frozen=True)
class Limits:
    """What a gateway takes.

    Attributes:
        body_bytes: of a request.
        per_minute: requests of one peer in a minute, over TCP.
        burst: of those, how many may come at once.
        queue: requests that wait for a model; more are turned away.
        connections: open at a time.
        max_tokens: of one reply, at most.
        header_s: seconds for a request's head to arrive.
        idle_s: seconds without a byte of a request's body, or without the client taking one of the reply.
        silent_s: seconds without a word of the model.
        start_s: seconds for a model to be loaded.
        grace_s: seconds that streams have to end in when the gateway is stopped.
    """

    body_bytes: int = 1 << 20
    per_minute: int = 600
    burst: int = 600
    queue: int = 16
    connections: int = 128
    max_tokens: int = 4096
    header_s: float = 10.0
    idle_s: float = 30.0
    silent_s: float = 300.0
    start_s: float = 900.0
    grace_s: float = 20.0


@dataclass(frozen=True)
class Settings:
    """The whole of `deployment.json`. Times are UTC seconds.

    Attributes:
        key_sha256: of the key, in hex; the key itself is nowhere.
        engine: `transformers` or `vllm`.
        safety: `{"kind": "off"}`, or what core.serving.safety takes.
        keep_texts: prompts and replies are in the request log.
        retention_days: how long the log keeps a request.
        price_in_usd, price_out_usd: of a million tokens, for the sums that are shown.
        warm: load the models at the start instead of at their first request.
        stopped: it was stopped on purpose.
        sockets: folder of its Unix sockets, made anew at each start.
        regression: what the check against the base said, `{"skipped": true}`, or None where there was none.
    """

    name: str
    created: float
    host: str
    port: int
    key_sha256: str
    models: tuple[ServedModel, ...]
    engine: str = "transformers"
    safety: dict[str, Any] = field(default_factory=lambda: {"kind": "off"})
    limits: Limits = field(default_factory=Limits)
    keep_texts: bool = False
    retention_days: int = 30
    price_in_usd: float = 0.0
    price_out_usd: float = 0.0
    warm: bool = True
    stopped: bool = False
    sockets: str = ""
    regression: dict[str, Any] | None = None

    @property
    def socket(self) -> Path:
        """The gateway's own Unix socket."""
        return Path(self.sockets) / "gateway"


def deployments_dir() -> Path:
    """Where deployments are, one folder each."""
    return paths.data_dir() / "deployments"


def directory_of(name: str) -> Path:
    """The directory of a deployment, which may not be there.

    Raises:
        DeploymentError: this is no name.
    """
    if not NAME.fullmatch(name):
        raise DeploymentError(
            f"{name!r} can't be a deployment's name.",
            "A name is up to 40 lower case letters, digits, '.', '_' or '-', starting with a letter or digit.",
            "Choose another name (--name).",
        )
    return deployments_dir() / name


def read_settings(directory: Path) -> Settings:
    """`deployment.json`, read now; values that this version doesn't know are passed over.

    Raises:
        DeploymentError: it is missing or damaged.
    """
    try:
        record: dict[str, Any] = orjson.loads((directory / "deployment.json").read_bytes())
        record["models"] = tuple(ServedModel(**_known(ServedModel, item)) for item in record["models"])
        record["limits"] = Limits(**_known(Limits, record["limits"]))
        return Settings(**_known(Settings, record))
    except FileNotFoundError as error:
        raise DeploymentError(
            f"There is no deployment {directory.name!r}.", "", "`finetui deployments` lists them."
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DeploymentError(
            f"The deployment {directory.name} is damaged.",
            f"{directory / 'deployment.json'}: {error}",
            f"`finetui undeploy {directory.name}` removes it; then deploy again.",
        ) from error


def _known(kind: type[Any], record: dict[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    return {name: value for name, value in record.items() if name in names}


def write_settings(directory: Path, settings: Settings) -> None:
    """Replace `deployment.json`."""
    content = {"version": VERSION, **asdict(settings)}
    paths.write_private(
        directory / "deployment.json", orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"
    )


def new_key() -> tuple[str, str]:
    """(a new key of 256 random bits, its SHA-256 in hex). A key of so many bits needs no salt and no slow hash."""
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    return key, digest(key)


def digest(key: str) -> str:
    """SHA-256 of a key in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
