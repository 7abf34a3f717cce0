"""Stands for another machine: python -P -m tests.core.training.second_machine HOST:PORT COMMAND..."""

from __future__ import annotations

import sys

from core.training import launch
from core.training.nodes import address, come


def main() -> None:
    """Wait for the first machine and do a second one's part."""
    place = address(sys.argv[1])
    launch.COMMAND = tuple(sys.argv[2:])
    launch.help_out(come(place), ("cpu",), place, 1)


if __name__ == "__main__":
    main()
