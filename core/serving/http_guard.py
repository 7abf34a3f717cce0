"""uvicorn's HTTP/1.1 protocol with a time limit on a request's head: a client that sends it a byte a minute is left.

uvicorn limits how large a head may be and how long an idle connection stays after a reply, not how long a head takes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class GuardedProtocol(H11Protocol):
    """One connection. `scope["state"]["abort"]` ends it at once, whatever is still to be sent; `connections` counts
    those that are open.

    Attributes:
        header_s: seconds from a connection's beginning, or from the first byte of a further request, to the head's end.
    """

    header_s = 10.0

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        count = self.connections.__len__
        self.app_state = {**self.app_state, "abort": self._abort, "connections": count}
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._forget_timer()
        elif self._timer is None and (before is None or before.response_complete):
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.header_s, self._abort)

    def _forget_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _abort(self) -> None:
        self.transport.abort()


def guarded(header_s: float) -> type[GuardedProtocol]:
    """The protocol with another limit, in seconds."""
    return type("GuardedProtocol", (GuardedProtocol,), {"header_s": header_s})
