"""Time from start to the first visible character, against an app of Textual's that shows one word."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time

ROUNDS = 5
LIMIT_S = 20.0
ESCAPES = re.compile(
    rb"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[P_^X][^\x1b]*\x1b\\|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]|\s"
)
BARE = "from textual.app import App\nfrom textual.widgets import Static\n" + (
    "class Bare(App):\n    def compose(self):\n        yield Static('hello')\nBare().run()\n"
)
APPS = {
    "bare Textual": BARE,
    "finetui": "import sys; sys.argv = ['finetui']; from tui.cli import main; main()",
}


def first_paint_s(code: str, home: str) -> float:
    """Seconds until a program under a pseudo-terminal of 120x40 shows something."""
    started = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {
            **os.environ,
            "FINETUI_HOME": home,
            "TERM": "xterm-256color",
            "COLUMNS": "120",
            "LINES": "40",
        }
        os.execve(sys.executable, [sys.executable, "-c", code], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    written = b""
    try:
        while not ESCAPES.sub(b"", written):
            if not select.select([terminal], [], [], LIMIT_S)[0]:
                raise TimeoutError("nothing was painted")
            written += os.read(terminal, 1 << 16)
        return time.perf_counter() - started
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def main() -> None:
    """Print the medians and their ratio."""
    with tempfile.TemporaryDirectory() as home:
        for code in APPS.values():
            first_paint_s(code, home)  # warm
        found: dict[str, list[float]] = {name: [] for name in APPS}
        for _ in range(ROUNDS):
            for name, code in APPS.items():
                found[name].append(first_paint_s(code, home))
        middle = {name: statistics.median(times) for name, times in found.items()}
        for name, seconds in middle.items():
            print(f"{name:<13} first paint {seconds * 1000:.0f} ms")  # noqa: T201
        print(f"finetui takes {middle['finetui'] / middle['bare Textual']:.2f} times as long")  # noqa: T201
