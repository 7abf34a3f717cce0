"""`python -m tests.azure_emulator`: the app on a loopback Azure, to rehearse the whole way without a subscription.

With `--serve` it prints the environment as `export` lines and serves until ctrl-c, for commands in another terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.azure_emulator import azurite, emulator, state


def main() -> int:
    """Returns the exit code of the app, 1 where Azurite is missing."""
    options = _options()
    if reason := azurite.missing():
        print(f"The loopback Azure can't start: {reason}.", file=sys.stderr)  # noqa: T201
        return 1
    # A plain termination must end Azurite and remove the folder too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    settings = state.Settings() if options.fast else _longer()
    with contextlib.ExitStack() as stack:
        home = options.home or stack.enter_context(tempfile.TemporaryDirectory(prefix="finetui-azure-"))
        azure = stack.enter_context(emulator.running(project=not options.empty, settings=settings))
        # The terminal belongs to the app.
        logging.basicConfig(filename=azure.directory / "emulator.log")
        if options.empty:
            azure.state.providers.clear()
        if options.serve:
            return _serve(azure)
        command = [sys.executable, "-c", "from tui.cli import main; main()"]
        # The app has the keyboard: ctrl-c is its to answer.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        started = subprocess.run(command, env=_environment(azure, home), check=False)
        return started.returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.azure_emulator", description=__doc__)
    parser.add_argument("--serve", action="store_true", help="print `export` lines and serve until ctrl-c")
    parser.add_argument(
        "--empty", action="store_true", help="begin with nothing registered and no resource group"
    )
    parser.add_argument("--fast", action="store_true", help="jobs of two seconds instead of a minute")
    parser.add_argument(
        "--home",
        default=os.environ.get("FINETUI_HOME"),
        help="FINETUI_HOME of the app; a temporary folder by default",
    )
    return parser.parse_args()


def _longer() -> state.Settings:
    """A job takes a minute, an endpoint four seconds, and a device code is approved while one looks at it."""
    return state.Settings(
        seconds_per_status=5.0,
        running_seconds=40.0,
        training_steps=60,
        operation_seconds=4.0,
        register_seconds=4.0,
        token_pause=0.06,
        device_code_approves_after=8.0,
    )


def _environment(azure: emulator.Emulator, home: str) -> dict[str, str]:
    return {
        **os.environ,
        **azure.environment,
        **azure.service_principal,
        **azure.managed_identity,
        "PATH": f"{azure.cli_path}{os.pathsep}{os.environ.get('PATH', '')}",
        "FINETUI_HOME": str(Path(home).absolute()),
    }


def _serve(azure: emulator.Emulator) -> int:
    print(azure.exports() + f'export PATH="{azure.cli_path}:$PATH"', flush=True)  # noqa: T201
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
