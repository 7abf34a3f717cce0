"""A model behind an address: one of finetui's own deployments, any OpenAI-compatible address, an Azure endpoint.

How one is written:

    deployment:NAME/MODEL          a local deployment; without a model its first one
    azure:NAME/MODEL               an Azure endpoint of the user's; without a model the one behind it
    https://HOST/v1#MODEL          any address that speaks OpenAI's chat completions

Each may end in `,key=VARIABLE` (the environment variable that holds the key, addresses only) and in prices in USD for
a million tokens, `,in=0.15,out=0.6`. A key itself is never part of it, and is never kept.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from core.errors import FinetuiError

if TYPE_CHECKING:
    from core.azure.clients import Azure
    from core.serving.deployments import Deployment

Kind = Literal["deployment", "azure", "address"]

OPTION = re.compile(r"(key|in|out)=(.*)", re.DOTALL)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MODEL = re.compile(r"[^\s,#\x00-\x1f]+")
FORMS = "Write `deployment:NAME/MODEL`, `azure:NAME` or `https://HOST/v1#MODEL,key=VARIABLE`."
LOCAL_KEY = ""
"""A deployment's Unix socket asks for none."""


class EndpointError(FinetuiError):
    """An endpoint is written wrongly, can't be reached, or doesn't answer as it should."""


@dataclass(frozen=True)
class Endpoint:
    """A model behind an address.

    Args:
        kind: whose it is.
        name: of the deployment or the Azure endpoint, or the base URL.
        model: what requests name; empty where the endpoint decides.
        key_variable: the environment variable that holds the key of an address, or empty.
        price_in: USD for a million tokens of prompts, None where not known.
        price_out: USD for a million tokens of replies.
    """

    kind: Kind
    name: str
    model: str = ""
    key_variable: str = ""
    price_in: float | None = None
    price_out: float | None = None

    system = ""
    note = ""

    @property
    def spec(self) -> str:
        """As it is written; `parse` reads it back."""
        if self.kind == "address":
            text = f"{self.name}#{self.model}"
        else:
            text = f"{self.kind}:{self.name}" + (f"/{self.model}" if self.model else "")
        options = [f"key={self.key_variable}"] if self.key_variable else []
        prices = (("in", self.price_in), ("out", self.price_out))
        options += [f"{word}={price:g}" for word, price in prices if price is not None]
        return ",".join([text, *options])

    @property
    def title(self) -> str:
        """The model and where it is."""
        where = urlsplit(self.name).netloc if self.kind == "address" else self.name
        return f"{self.model} at {where}" if self.model else where

    @property
    def billed(self) -> bool:
        """Whether somebody else may ask money for its replies."""
        return self.kind != "deployment"

    def cost_usd(self, prompt_tokens: int | None, tokens: int | None) -> float | None:
        """What a reply cost; None where price or tokens are not known."""
        if self.price_in is None or self.price_out is None or prompt_tokens is None or tokens is None:
            return None
        return (prompt_tokens * self.price_in + tokens * self.price_out) / 1e6

    def request(self) -> dict[str, Any]:
        """What the chat worker is told of it."""
        return {"endpoint": self.spec}


@dataclass
class Connection:
    """Where requests go; lives in the worker's memory only.

    Args:
        title: of the endpoint, for errors.
        base_url: ends in the API's version.
        model: what requests name.
        key: sent as a bearer token, or empty.
        socket: the Unix socket to use in place of the network.
        deployment: whose socket it is.
        renewed: asks for the key anew, where whoever gave it may have changed it since.
    """

    title: str
    base_url: str
    model: str
    key: str
    socket: Path | None = None
    renewed: Callable[[], str] | None = None
    deployment: str = ""

    def __repr__(self) -> str:
        return f"Connection({self.title!r})"  # a key must not get into a log by chance


def is_endpoint(text: str) -> bool:
    """Whether a side is written as an endpoint; a run's name has no colon."""
    return re.match(r"(deployment|azure|https?):", text) is not None


def parse(text: str) -> Endpoint:
    """The endpoint that is written so.

    Raises:
        EndpointError: it is written wrongly.
    """
    where, options = _options(text.strip())
    if where.startswith(("http://", "https://")):
        return _priced(_address(where, options), options)
    kind, _, rest = where.partition(":")
    name, slash, model = rest.partition("/")
    if (
        kind not in ("deployment", "azure")
        or not NAME.fullmatch(name)
        or (slash and not MODEL.fullmatch(model))
    ):
        raise EndpointError(f"{where!r} is no endpoint.", "", FORMS)
    if "key" in options:
        raise EndpointError(f"{where} takes no `key=`.", "finetui finds its key itself.", "Leave `key=` out.")
    whose: Kind = "azure" if kind == "azure" else "deployment"
    return _priced(Endpoint(whose, name, model), options)


def _priced(endpoint: Endpoint, options: dict[str, str]) -> Endpoint:
    return replace(endpoint, price_in=_price(options, "in"), price_out=_price(options, "out"))


def _options(text: str) -> tuple[str, dict[str, str]]:
    """(what is before the options, the options by name)."""
    options: dict[str, str] = {}
    parts = text.split(",")
    while len(parts) > 1 and (found := OPTION.fullmatch(parts[-1].strip())):
        if found[1] in options:
            raise EndpointError(f"`{found[1]}=` is there twice.", "", "Leave one of them out.")
        options[found[1]] = found[2]
        parts.pop()
    return ",".join(parts), options


def _price(options: dict[str, str], word: str) -> float | None:
    if word not in options:
        return None
    try:
        price = float(options[word])
    except ValueError:
        price = -1.0
    if not (math.isfinite(price) and price >= 0):
        raise EndpointError(
            f"`{word}={options[word]}` is no price.", "", "Write USD for a million tokens, e.g. `in=0.15`."
        )
    return price


def _address(where: str, options: dict[str, str]) -> Endpoint:
    base, _, model = where.partition("#")
    try:
        parts = urlsplit(base)
        fits = bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not re.fullmatch(r"[!-~]+", base):
        raise EndpointError(f"{base!r} is no address.", "", FORMS)
    if parts.username is not None or parts.query:
        raise EndpointError(  # does not repeat what may be a key
            "An address holds no user, password or query.",
            "They would be kept with the chat.",
            "Put the key into an environment variable and name that: `,key=VARIABLE`.",
        )
    if not MODEL.fullmatch(model):
        raise EndpointError(f"{base} names no model.", "", "Write it behind a `#`: `https://HOST/v1#MODEL`.")
    variable = options.get("key", "")
    if "key" in options and not VARIABLE.fullmatch(variable):
        raise EndpointError(
            "`key=` takes the name of an environment variable.",
            "What is written there is no such name. A key itself must not be written anywhere.",
            "`export MY_KEY=...` in the shell that starts finetui, then `,key=MY_KEY`.",
        )
    if variable and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise EndpointError(
            f"{base} would get the key in the clear.",
            "It is not encrypted (http), and not on this machine.",
            "Use https.",
        )
    return Endpoint("address", base.rstrip("/"), model, variable)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def connect(endpoint: Endpoint, azure: Azure | None = None) -> Connection:
    """Where an endpoint's requests go, and with which key. For worker processes: it may ask Azure.

    Args:
        endpoint: the endpoint.
        azure: the clients of a process that is signed in to Azure; those of the account in use when None.

    Raises:
        EndpointError: its key's variable is not set.
        FinetuiError: there is no such deployment or Azure endpoint, or Azure can't be asked.
    """
    if endpoint.kind == "deployment":
        return _to_deployment(endpoint)
    if endpoint.kind == "azure":
        from core.azure.endpoints import connection

        base_url, key = connection(endpoint.name, azure)
        model = endpoint.model or endpoint.name
        return Connection(
            endpoint.title, base_url, model, key, renewed=lambda: connection(endpoint.name, azure)[1]
        )
    key = os.environ.get(endpoint.key_variable, "") if endpoint.key_variable else ""
    if endpoint.key_variable and not key:
        raise EndpointError(
            f"${endpoint.key_variable} is not set.",
            f"It should hold the key of {endpoint.title}.",
            f"`export {endpoint.key_variable}=...` in the shell that starts finetui, then start it again.",
        )
    return Connection(endpoint.title, endpoint.name, endpoint.model, key)


def _to_deployment(endpoint: Endpoint) -> Connection:
    from core.serving import deployments

    found = deployments.find(endpoint.name)
    if not found.running:
        raise _not_running(found)
    models = [item.name for item in found.models if item.chat]
    model = endpoint.model or (models[0] if models else "")
    if model not in models:
        raise EndpointError(
            f"The deployment {found.name} has no model {model!r} to talk to.",
            f"It has {', '.join(models) or 'none'}.",
            "Name one of these.",
        )
    return Connection(
        endpoint.title, "http://finetui/v1", model, LOCAL_KEY, found.socket, deployment=found.name
    )


def gone(deployment: str) -> EndpointError | None:
    """What has become of a deployment that was talked to and can't be reached any more; None where it still runs."""
    from core.serving import deployments

    try:
        found = deployments.find(deployment)
    except deployments.DeploymentError as error:
        return EndpointError(f"The deployment {deployment} was removed.", "", error.next_step)
    return None if found.running else _not_running(found)


def _not_running(found: Deployment) -> EndpointError:
    return EndpointError(
        f"The deployment {found.name} is {found.state}.",
        found.reason,
        f"`finetui deployments start {found.name}` starts it.",
    )
