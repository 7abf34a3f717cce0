"""How much a gateway takes from one peer."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_PEERS = 4096


class Rate:
    """A token bucket for each peer: `burst` requests at once, refilled evenly at `per_minute`.

    The peers heard of longest ago are forgotten, so that a flood from many addresses takes no memory.

    Args:
        per_minute: requests that a peer gets back in a minute.
        burst: of the bucket.
        clock: seconds, never going back.
    """

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._peers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, peer: str) -> int:
        """Take one request's token.

        Args:
            peer: who asks.

        Returns:
            0 when there was one, else the whole seconds until there will be.
        """
        now = self._clock()
        tokens, since = self._peers.pop(peer, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._per_s)
        wait = 0 if tokens >= 1 else max(1, math.ceil((1 - tokens) / self._per_s))
        self._peers[peer] = (tokens if wait else tokens - 1, now)
        if len(self._peers) > MOST_PEERS:
            self._peers.popitem(last=False)
        return wait
