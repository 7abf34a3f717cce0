"""Keeping chats as they go on: every write in order, in a thread of its own: the screen never waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from core.errors import FinetuiError
from core.serving.chats import Chats

Found = TypeVar("Found")


class Keeping:
    """The store of chats, as a screen uses it.

    Args:
        failed: told of a write that failed; of the same failure once.
    """

    def __init__(self, failed: Callable[[FinetuiError], None]) -> None:
        self._failed = failed
        self._chats = Chats()
        self._thread = ThreadPoolExecutor(1, "chats")
        self._told = ""
        self._closed = False

    def later(self, work: Callable[[Chats], None]) -> None:
        """Write something; what it writes must not change any more."""
        loop = asyncio.get_running_loop()

        def write() -> None:
            try:
                work(self._chats)
                self._told = ""
            except FinetuiError as error:
                if str(error) != self._told:
                    self._told = str(error)
                    loop.call_soon_threadsafe(self._failed, error)

        if self._closed:
            write()  # the last words of a reply that was given up when the app was left
        else:
            self._thread.submit(write)

    async def ask(self, work: Callable[[Chats], Found]) -> Found:
        """Read something, after all that was to be written.

        Raises:
            ChatError: the store can't be used.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._chats)

    async def close(self) -> None:
        """Write what is still to be written."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown)
