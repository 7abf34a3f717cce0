"""`python -m tests.azure_emulator --serve`: it leads another shell's commands to itself, and leaves nothing."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.azure_emulator import azurite

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(bool(azurite.missing()), reason=str(azurite.missing()))
def test_another_shell_is_led_to_it_and_nothing_is_left(home: Path) -> None:
    serving = subprocess.Popen(
        [sys.executable, "-m", "tests.azure_emulator", "--serve", "--fast"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        exports = []
        while not (exports and exports[-1].startswith("export PATH=")):
            exports.append(serving.stdout.readline())
            assert exports[-1], "it ended"
        code = shlex.join([sys.executable, "-P", "-c", "from tui.cli import main; main()"])
        commands = f"{code} azure login && {code} azure check --model phi-4"
        done = subprocess.run(
            ["bash", "-c", "".join(exports) + commands],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Azure: emulator" in done.stderr
        assert "ok       Storage: A test file was written and deleted." in done.stdout
    finally:
        serving.terminate()
        assert serving.wait(30) == 143
    values = dict(line.removeprefix("export ").strip().split("=", 1) for line in exports)
    authority = Path(shlex.split(values["SSL_CERT_FILE"])[0])
    assert not authority.parent.exists()
    port = int(values["ARM_CLOUD_METADATA_URL"].rpartition(":")[2].partition("/")[0])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
