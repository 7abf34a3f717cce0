"""Azurite, the real blob store of the loopback Azure: started by node itself and ended by its process id."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.azure_emulator.certificates import Certificates

ACCOUNT = "devstoreaccount1"
# Azurite's own well-known key, the same on every machine.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # noqa: S105
SCRIPT = Path(__file__).parent / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
# Ends node when its standard input closes: when this process ends, however it does.
LEASH = Path(__file__).with_name("leash.cjs")


def missing() -> str | None:
    """Why Azurite can't be started here, with what to do; None when it can."""
    if not shutil.which("node"):
        return "Azurite needs node, which is not installed"
    if not SCRIPT.is_file():
        return "Azurite is not installed: make azurite"
    return None


class Azurite:
    """A running Azurite; use it as a context manager."""

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        self._directory = directory
        self._certificates = certificates
        self._process: subprocess.Popen[bytes] | None = None
        self._containers: set[str] = set()
        self.port = 0

    def __enter__(self) -> Azurite:
        if reason := missing():
            raise RuntimeError(reason)
        location = self._directory / "blobs"
        location.mkdir(mode=0o700)
        node = shutil.which("node")
        assert node is not None
        for _attempt in range(3):
            self.port = _free_port()
            log = (self._directory / "azurite.log").open("wb")
            with log:
                self._process = subprocess.Popen(
                    [
                        node,
                        "--require",
                        str(LEASH),
                        str(SCRIPT),
                        "--silent",
                        "--disableTelemetry",
                        # The storage SDK asks for a newer version of the API than this Azurite has the name of.
                        "--skipApiVersionCheck",
                        "--oauth",
                        "basic",
                        "--cert",
                        str(self._certificates.certificate),
                        "--key",
                        str(self._certificates.key),
                        "--location",
                        str(location),
                        "--blobHost",
                        "127.0.0.1",
                        "--blobPort",
                        str(self.port),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self._directory,
                )
            if self._listening():
                return self
            self._end()
        raise RuntimeError(f"Azurite did not start:\n{(self._directory / 'azurite.log').read_text()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _listening(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            time.sleep(0.05)
        return False

    def _end(self) -> None:
        """Let go of the leash: a plain termination would wait for clients' idle connections."""
        if not self._process or not self._process.stdin:
            return
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def container(self, name: str) -> Any:
        """The storage SDK's client of a container, by the path-style address that needs no name to resolve."""
        from azure.core.pipeline.transport import RequestsTransport
        from azure.storage.blob import ContainerClient

        return ContainerClient(
            f"https://127.0.0.1:{self.port}/{ACCOUNT}",
            name,
            credential={"account_name": ACCOUNT, "account_key": KEY},
            transport=RequestsTransport(
                connection_verify=str(self._certificates.authority), use_env_settings=False
            ),
        )

    def make_container(self, name: str) -> None:
        """Make a container once; the SDK expects a workspace's container to exist."""
        if name not in self._containers:
            self.container(name).create_container()
            self._containers.add(name)

    def content(self, container: str) -> dict[str, bytes]:
        """What a container holds, by name."""
        client = self.container(container)
        return {blob.name: client.download_blob(blob.name).readall() for blob in client.list_blobs()}

    def signature(self, container: str, hours: float) -> str:
        """A SAS for a container, good for so many hours."""
        from azure.storage.blob import ContainerSasPermissions, generate_container_sas

        token: str = generate_container_sas(
            ACCOUNT,
            container,
            account_key=KEY,
            permission=ContainerSasPermissions(
                read=True, add=True, create=True, write=True, delete=True, list=True
            ),
            expiry=datetime.now(UTC) + timedelta(hours=hours),
        )
        return token


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
