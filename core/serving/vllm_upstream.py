"""`vllm serve` behind a gateway, kept on a leash: it ends with its gateway, with all processes that it started.

    python -P -m core.serving.vllm_upstream ARGUMENTS...

Standard input is a pipe of the gateway's. vLLM doesn't watch it, and its engine is a process of its own that holds the
GPU: killed without this, a gateway would leave both behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping

PATIENCE_S = 3.0
"""From the asking to the end; the gateway insists after five seconds."""
LEFT_OUT = ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_API_KEY", "VLLM_SERVER_DEV_MODE")
"""Of the user's environment: adapters that anybody may load, a key that the gateway does not have, more routes."""
ADDED = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
"""Nothing is fetched, nothing is reported, and no prompt gets into the log (requests are logged below warnings)."""


def main() -> int:
    """The command line: what `vllm serve` takes."""
    words = [sys.executable, "-P", "-m", "vllm.entrypoints.cli.main", "serve", *sys.argv[1:]]
    child = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, env=environment(os.environ), start_new_session=True
    )
    threading.Thread(target=_end_with_gateway, args=(child,), name="gateway", daemon=True).start()
    code = child.wait()
    _signal(child.pid, signal.SIGKILL)  # what it has left behind
    return 128 - code if code < 0 else code


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """What vLLM is started with, made of this process's own."""
    return {name: value for name, value in given.items() if name not in LEFT_OUT} | ADDED


def _end_with_gateway(child: subprocess.Popen[bytes]) -> None:
    """Wait for the gateway's end of the pipe to close; ask vLLM to end, then insist."""
    while os.read(0, 1 << 12):
        pass
    _signal(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(PATIENCE_S)
    _signal(child.pid, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of it has ended
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main())
