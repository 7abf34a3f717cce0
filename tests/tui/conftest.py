"""Fixtures that the tests of several screens share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.tui.chatting import client, made

__all__ = ["client", "made"]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Children that heed ctrl+c, which a shell's background jobs and what they start do not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
