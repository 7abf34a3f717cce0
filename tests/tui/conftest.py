"""Fixtures that the tests of several screens share."""

from __future__ import annotations

from tests.tui.chatting import client, made

__all__ = ["client", "made"]
