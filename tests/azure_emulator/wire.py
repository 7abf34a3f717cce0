"""One request, one answer, and the table that leads from the one to the other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.azure_emulator.emulator import Emulator

Headers = dict[str, str]


@dataclass
class Call:
    """A request as a handler sees it: names from the path, the query, the body as sent."""

    azure: Emulator
    method: str
    path: str
    query: dict[str, str]
    headers: Headers
    raw: bytes
    names: dict[str, str] = field(default_factory=dict)
    token: dict[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object sent, {} when nothing was; a `Refusal` 400 when it is something else."""
        if not self.raw:
            return {}
        try:
            sent = json.loads(self.raw)
        except ValueError as error:
            raise Refusal(
                400, "InvalidRequestContent", f"The request content was invalid: {error}."
            ) from error
        if not isinstance(sent, dict):
            raise Refusal(400, "InvalidRequestContent", "The request content was not a JSON object.")
        return sent

    @property
    def version(self) -> str:
        return self.query.get("api-version", "")


@dataclass
class Answer:
    """What goes back: JSON, plain text or a stream of parts with a pause (seconds) before each."""

    status: int = 200
    body: Any = None
    headers: Headers = field(default_factory=dict)
    text: str | None = None
    stream: Iterator[str] | None = None
    pause: float = 0.0


class Refusal(Exception):
    """An error answer in ARM's shape."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Headers | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.answer = Answer(status, {"error": {"code": code, "message": message, **more}}, headers or {})


def user_error(status: int, message: str, *inner_codes: str) -> Refusal:
    """The machine learning service's own kind of error: `UserError` with its inner codes."""
    inner: dict[str, Any] | None = None
    for code in reversed(inner_codes):
        inner = {"code": code, "innerError": inner}
    info: list[dict[str, Any]] = [
        {"type": "ComponentName", "info": {"value": "managementfrontend"}},
        {"type": "Environment", "info": {"value": "eastus2"}},
    ]
    if inner:
        info.append({"type": "InnerError", "info": {"value": inner}})
    return Refusal(status, "UserError", message, details=[], additionalInfo=info)


Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Route:
    """A method and a path with {names}; `access` says what the server checks before the handler.

    "arm": a token, the subscription, the group and the right to do it. "token": a valid token. "open": nothing.
    """

    method: str
    path: str
    handler: Handler
    access: str = "arm"
    pattern: re.Pattern[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        parts = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path).replace("(?P<rest>[^/]+)", "(?P<rest>.+)")
        object.__setattr__(self, "pattern", re.compile(parts + "/?$", re.IGNORECASE))


class Table:
    """Routes in the order they were added; ARM's paths know no upper and lower case."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def add(self, methods: str, path: str, handler: Handler, access: str = "arm") -> None:
        for method in methods.split():
            self.routes.append(Route(method, path, handler, access))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        for route in self.routes:
            if route.method == method and (found := route.pattern.match(path)):
                return route, found.groupdict()
        return None
