"""Waits for a device, says so, holds it: `python -P device_user.py DEVICE RUN_ID SUBMITTED_NS FOLDER`.

Writes each thing that happens to FOLDER/<RUN_ID>, a line each; lets go when FOLDER/<RUN_ID>.go exists, gives up
waiting when FOLDER/<RUN_ID>.stop exists.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from core.runs import queue


def main() -> None:
    device, run_id, submitted_ns, folder = sys.argv[1:]
    said = Path(folder) / run_id

    def say(text: str) -> None:
        with said.open("a") as file:
            file.write(text + "\n")

    lock = queue.acquire(
        device,
        run_id,
        int(submitted_ns),
        lambda position, behind: say(f"{position} {behind}"),
        said.with_suffix(".stop").exists,
    )
    say("has it" if lock else "gave up")
    while lock and not said.with_suffix(".go").exists():
        time.sleep(0.02)


if __name__ == "__main__":
    main()
