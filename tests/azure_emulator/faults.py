"""Faults on demand: `faults.add("PUT jobs", kind="throttled", times=2, retry_after=1)`.

The first word is an HTTP method or `*`; the second a piece of the path between slashes (`jobs`, `jobs/ft-1/cancel`,
`token`), or `*`. "CONNECT blob" meets the proxy, so the way to the blob store.

kinds
    throttled      429 with Retry-After
    server_error   500
    reset          the connection is cut before anything is done
    lost_answer    it is done, then the connection is cut
    slow           `seconds` pass before it is done
    expired_token  401, the token has expired
    forbidden      403 AuthorizationFailed
    unregistered   409 MissingSubscriptionRegistration
    wrong_region   400, the model is not in this region
    quota          400, no quota left
    name_taken     400, the endpoint's name is somebody else's
    network_gone   nothing is reachable for `seconds`, or until `restore_network()`
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from typing import Literal, get_args

from tests.azure_emulator.wire import Refusal, user_error

Kind = Literal[
    "throttled",
    "server_error",
    "reset",
    "lost_answer",
    "slow",
    "expired_token",
    "forbidden",
    "unregistered",
    "wrong_region",
    "quota",
    "name_taken",
    "network_gone",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass
class Fault:
    method: str
    where: re.Pattern[str]
    kind: Kind
    times: int
    retry_after: float
    seconds: float
    met: int = field(default=0)

    def refusal(self, path: str) -> Refusal | None:
        """The error this fault answers with; None where it acts on the connection or the clock instead."""
        name = path.rstrip("/").rsplit("/", 1)[-1]
        match self.kind:
            case "throttled":
                # Invented text: no source shows this service's 429.
                return Refusal(
                    429,
                    "TooManyRequests",
                    "Too many requests.",
                    headers={"Retry-After": f"{self.retry_after:g}"},
                )
            case "server_error":
                return Refusal(500, "InternalServerError", "Encountered internal server error.")
            case "expired_token":
                return Refusal(
                    401,
                    "ExpiredAuthenticationToken",
                    "The access token expiry UTC time is earlier than current UTC time.",
                    headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
                )
            case "forbidden":
                return Refusal(
                    403,
                    "AuthorizationFailed",
                    f"The client does not have authorization to perform the action over scope '{path}' or the scope "
                    "is invalid. If access was recently granted, please refresh your credentials.",
                )
            case "unregistered":
                return unregistered("Microsoft.MachineLearningServices")
            case "wrong_region":
                return user_error(
                    400,
                    "The requested model is not available in region East US 2.",
                    "NotFound",
                    "ServerlessModelNotAvailableInRegion",
                )
            case "quota":
                # Shape seen for online endpoints; the same text for serverless ones is invented.
                return user_error(
                    400, "Endpoint Quota reached for subscription. Current usage/limit: 300/300."
                )
            case "name_taken":
                return name_taken(name)
        return None


class Faults:
    """The faults waiting to be met, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []
        self._gone_until = 0.0

    def add(
        self, target: str, *, kind: Kind, times: int = 1, retry_after: float = 1.0, seconds: float = 1.0
    ) -> Fault:
        """Make the next `times` matching requests meet a fault; returns it, so that `met` can be read."""
        if kind not in KINDS:
            raise ValueError(f"{kind}: one of {', '.join(KINDS)}")
        method, _, word = target.partition(" ")
        piece = re.escape(word) if word not in ("", "*") else ""
        where = re.compile(rf"(^|[/:.]){piece}([/:.]|$)" if piece else "", re.IGNORECASE)
        fault = Fault(method.upper(), where, kind, times, retry_after, seconds)
        with self._lock:
            if kind == "network_gone":
                self._gone_until = time.monotonic() + seconds
            else:
                self._waiting.append(fault)
        return fault

    def take(self, method: str, path: str) -> Fault | None:
        """The fault this request meets, if any."""
        with self._lock:
            for fault in self._waiting:
                if fault.method in ("*", method) and fault.where.search(path):
                    fault.met += 1
                    if fault.met >= fault.times:
                        self._waiting.remove(fault)
                    return fault
        return None

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()
            self._gone_until = 0.0

    def restore_network(self) -> None:
        self._gone_until = 0.0

    @property
    def network_is_gone(self) -> bool:
        return time.monotonic() < self._gone_until


def unregistered(namespace: str) -> Refusal:
    """ARM's answer for a resource provider that the subscription has not registered."""
    message = f"The subscription is not registered to use namespace '{namespace}'."
    return Refusal(
        409,
        "MissingSubscriptionRegistration",
        message + " See https://aka.ms/rps-not-found for how to register subscriptions.",
        details=[{"code": "MissingSubscriptionRegistration", "target": namespace, "message": message}],
    )


def name_taken(name: str) -> Refusal:
    return user_error(400, f"Serverless endpoint name '{name}' is not available.")
