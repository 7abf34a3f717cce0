"""Stands for a rank that `rank_server` runs: python -S rank_client.py SERVER ADDRESS. Ends as the rank does."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Client


def main() -> None:
    """Ask, wait, end the same way."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Client(sys.argv[1], "AF_UNIX") as server:
        server.send((dict(os.environ), sys.argv[2]))
        status = server.recv()
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
