"""The doors of a gateway: who may come in. What is turned away is answered, and counted in the log."""

from __future__ import annotations

import contextlib
import hmac
import time
from typing import Any

from core.serving.gateway_app import App, Gateway, Receive
from core.serving.limits import Rate
from core.serving.relay import Answer, ClientGone, Record, Send
from core.serving.settings import DeploymentError, digest, read_settings
from core.serving.wire import Refused

RETRY_S = 1


class Door:
    """Lets in as many connections as the deployment bears: all that a private Unix socket needs.

    Args:
        gateway: behind it.
        app: its routes.
    """

    def __init__(self, gateway: Gateway, app: App) -> None:
        self.gateway = gateway
        self._app = app
        self._logged: dict[str, float] = {}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refused = self.refusal(scope)
        if refused is None:
            await self._app(scope, receive, send)
            return
        self._log(refused)
        with contextlib.suppress(ClientGone):
            await Answer(send, Record(""), self.gateway.settings.limits.idle_s).refuse(refused)

    def refusal(self, scope: dict[str, Any]) -> Refused | None:
        """Why a request is turned away, or None."""
        if scope["state"]["connections"]() > self.gateway.settings.limits.connections:
            return Refused(
                503, "too_many_connections", "Too many connections are open.", retry_after=RETRY_S, close=True
            )
        return None

    def _log(self, refused: Refused) -> None:
        """One a second and reason is an entry, the others are counted: a flood must not fill the disk."""
        now, log = time.monotonic(), self.gateway.log
        if now - self._logged.get(refused.code, -1.0) >= 1.0:
            self._logged[refused.code] = now
            log.add(Record("", status=refused.status, error=refused.code).entry(keep_texts=False))
        else:
            log.count(time.time(), refused.status, refused.code)


class GuardedDoor(Door):
    """Lets in who has the key besides, and comes not too often: for a TCP port."""

    def __init__(self, gateway: Gateway, app: App) -> None:
        super().__init__(gateway, app)
        limits = gateway.settings.limits
        self._rate = Rate(limits.per_minute, limits.burst)
        self._key_sha256 = gateway.settings.key_sha256
        self._file = gateway.directory / "deployment.json"
        self._changed = self._file.stat().st_mtime_ns

    def refusal(self, scope: dict[str, Any]) -> Refused | None:
        """As of the other door; then the rate, so that keys can't be tried fast; then the key."""
        if (crowded := super().refusal(scope)) is not None:
            return crowded
        peer = scope["client"][0] if scope.get("client") else ""
        if wait := self._rate.take(peer):
            return Refused(429, "rate_limit_exceeded", "Too many requests from here.", retry_after=wait)
        scheme, _, key = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1").partition(" ")
        known = hmac.compare_digest(digest(key.strip()), self._expected())
        if scheme.lower() != "bearer" or not known:
            return Refused(401, "invalid_api_key", "The key is missing or wrong.")
        return None

    def _expected(self) -> str:
        """The key's hash; another one from the moment it is written."""
        changed = self._file.stat().st_mtime_ns
        if changed != self._changed:
            with contextlib.suppress(DeploymentError):  # damaged meanwhile: the key stays as it was
                self._key_sha256 = read_settings(self.gateway.directory).key_sha256
            self._changed = changed
        return self._key_sha256
