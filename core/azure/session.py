"""The account in use as one process has it: its clients, one sign-in for all it does, and the codes that asks for."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator

from core.azure import account as accounts
from core.azure.clients import Azure
from core.azure.faults import SIGN_IN_NEEDED, AzureError

LOOK_S = 0.2

Shown = dict[str, str]
"""`url` and `code`: what to type where."""


class Session:
    """A device-code sign-in lives in it, and ends with the process."""

    def __init__(self) -> None:
        self._azure: Azure | None = None
        self._codes: queue.SimpleQueue[Shown] = queue.SimpleQueue()

    @property
    def azure(self) -> Azure:
        """The clients; where another process has chosen something else, of that. The sign-in stays while way and
        tenant are the same."""
        chosen = accounts.load()
        if self._azure is None:
            self._azure = Azure(chosen, self._prompt)
        elif self._azure.account != chosen:
            before, self._azure.account = self._azure.account, chosen
            same = (before.identity, before.tenant) == (chosen.identity, chosen.tenant)
            self._azure.forget() if same else self._azure.renew()
        return self._azure

    def _prompt(self, address: str, code: str) -> None:
        self._codes.put({"url": address, "code": code})

    def ensure(self, check: Callable[[], None]) -> Generator[Shown, None, None]:
        """Have a token, and yield the code where one has to be typed first.

        Args:
            check: raises when nobody waits any more.

        Raises:
            AzureError: it can't be had.
        """
        try:
            self.azure.signed_in()
        except AzureError as error:
            if error.code != SIGN_IN_NEEDED:
                raise
            yield from self.sign_in(check)

    def sign_in(
        self, check: Callable[[], None], identity: str = "", tenant: str = ""
    ) -> Generator[Shown, None, None]:
        """Sign in anew, and yield each code that has to be typed meanwhile.

        Args:
            check: raises when nobody waits any more.
            identity: the way to sign in; as it was when empty.
            tenant: of the identity; as it was when empty.

        Raises:
            AzureError: it failed; the sign-in before stays.
        """
        azure = Azure(accounts.load().changed(identity=identity, tenant=tenant), self._prompt)
        ended: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        threading.Thread(target=_sign_in, args=(azure, ended), daemon=True).start()
        while ended.empty():
            check()
            with contextlib.suppress(queue.Empty):
                yield self._codes.get(timeout=LOOK_S)
        if (error := ended.get()) is not None:
            raise error
        accounts.save(azure.account)  # only now: a sign-in that fails leaves the one that works
        self._azure = azure


def _sign_in(azure: Azure, ended: queue.SimpleQueue[Exception | None]) -> None:
    try:
        azure.sign_in()
    except Exception as error:  # noqa: BLE001 - raised again where it is waited for
        ended.put(error)
    else:
        ended.put(None)
