"""A loopback Azure: `with emulator.running() as azure:`.

The unpatched SDKs reach it by environment variables alone (`azure.environment`). Nothing here leaves the machine.
"""

from __future__ import annotations

import contextlib
import copy
import os
import secrets
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.azure_emulator import (
    ai_services,
    arm,
    certificates,
    cloud,
    contentsafety,
    data,
    endpoints,
    entra,
    history,
    inference,
    jobs,
    models,
    prices,
    registry,
    state,
    workspaces,
)
from tests.azure_emulator.azurite import Azurite
from tests.azure_emulator.faults import Faults
from tests.azure_emulator.schemas import Schemas
from tests.azure_emulator.server import Server
from tests.azure_emulator.state import Settings, Workspace
from tests.azure_emulator.wire import Table

SUBJECTS = (
    cloud,
    arm,
    workspaces,
    registry,
    data,
    jobs,
    history,
    models,
    endpoints,
    inference,
    contentsafety,
    prices,
    entra,
    ai_services,
)
AZ = """#!{python}
import json, ssl, sys, urllib.request
asked = urllib.request.Request({url!r}, json.dumps({{"arguments": sys.argv[1:]}}).encode())
context = ssl.create_default_context(cafile={authority!r})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}), urllib.request.HTTPSHandler(context=context))
told = json.load(opener.open(asked, timeout=10))
sys.stdout.write(told["stdout"])
sys.stderr.write(told["stderr"])
sys.exit(told["code"])
"""


class Emulator:
    """One loopback Azure, with a subscription, a resource group, a hub and a project ready to use.

    Attributes:
        settings: how it behaves; change it at any time.
        state: what it holds; `state.lock` guards it. `state.jobs` and `state.endpoints` are up to date when read.
        faults: faults on demand.
        entra: approve or decline device codes, revoke refresh tokens.
        blobs: the Azurite that holds the data; None without one.
        registries: base models by registry and name.
        price_rows: the price list.
        harmful_words: what Content Safety finds: word -> (category, severity).
    """

    subscription = state.SUBSCRIPTION
    tenant = state.TENANT
    resource_group = state.GROUP
    hub = state.HUB
    workspace = state.PROJECT
    region = state.REGION

    def __init__(self, directory: Path, settings: Settings) -> None:
        self.directory = directory
        self.settings = settings
        self._settings = copy.deepcopy(settings)
        self.state = state.State(settings)
        self.faults = Faults()
        self.entra = entra.Entra(self.state)
        self.certificates = certificates.make(directory)
        self.schemas = Schemas(self.state.schema_errors)
        self.registries = registry.all_models()
        self.price_rows = prices.all_rows()
        self.harmful_words = {"kill": ("Violence", 4), "hate": ("Hate", 2)}
        self.blobs: Azurite | None = None
        self.table = Table()
        for subject in SUBJECTS:
            subject.routes(self.table)
        self._content_safety_key = secrets.token_hex(16)
        self._server = Server(self)
        self._port, self._proxy_port = self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def reset(self) -> None:
        """Be as at the start, with the resource group, hub and project; nothing of what was made since is left."""
        with self.state.lock:
            for name, value in vars(copy.deepcopy(self._settings)).items():
                setattr(self.settings, name, value)
            self.faults.clear()
            self.state.begin()
            self.add_project()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def blob_port(self) -> int:
        return self.blobs.port if self.blobs else 10000

    def add_workspace(self, workspace: Workspace) -> Workspace:
        """A hub or a project, with its container in the blob store."""
        if self.blobs and workspace.kind != "Hub":
            self.blobs.make_container(workspace.container)
        return self.state.add_workspace(workspace)

    def add_project(self) -> None:
        """The resource group, hub and project that the emulator's attributes name."""
        self.state.add_group(self.resource_group, self.region)
        where = (self.subscription, self.resource_group)
        hub = self.add_workspace(Workspace(*where, self.hub, "Hub", self.region))
        self.add_workspace(Workspace(*where, self.workspace, "Project", self.region, hub=hub.arm_id))

    @property
    def project(self) -> Workspace:
        """The ready project; an error when there is none."""
        found = self.state.workspace(self.workspace)
        assert found is not None
        return found

    @property
    def requests(self) -> list[tuple[str, str, int, Any]]:
        """Every request so far: method, path, status (0 where the connection was cut), body."""
        return list(self.state.requests)

    @property
    def schema_errors(self) -> list[str]:
        """Where a request or an answer did not fit its ARM type; empty too where `schemas.checking` is False."""
        return list(self.state.schema_errors)

    @property
    def environment(self) -> dict[str, str]:
        """What leads the SDKs, and finetui, here."""
        authority = str(self.certificates.authority)
        proxy = f"http://127.0.0.1:{self._proxy_port}"
        return {
            "ARM_CLOUD_METADATA_URL": f"{self.url}/metadata/endpoints",
            "AZUREML_CURRENT_CLOUD": cloud.NAME,
            "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{self.url}/",
            "REQUESTS_CA_BUNDLE": authority,
            "SSL_CERT_FILE": authority,
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "AZURE_AUTHORITY_HOST": self.url,
            "FINETUI_AZURE_PRICES_URL": self.url,
            "FINETUI_AZURE_NOTE": "emulator",
        }

    @property
    def service_principal(self) -> dict[str, str]:
        return {
            "AZURE_TENANT_ID": state.TENANT,
            "AZURE_CLIENT_ID": state.CLIENT,
            "AZURE_CLIENT_SECRET": state.SECRET,
        }

    @property
    def managed_identity(self) -> dict[str, str]:
        return {
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": self.entra.identity_header,
        }

    @property
    def content_safety(self) -> dict[str, str]:
        return {"CONTENT_SAFETY_ENDPOINT": self.url, "CONTENT_SAFETY_KEY": self._content_safety_key}

    @property
    def cli_path(self) -> Path:
        """A folder with an `az` that signs in here; put it first on PATH."""
        folder = self.directory / "cli"
        script = folder / "az"
        if not script.exists():
            folder.mkdir(mode=0o700)
            script.write_text(
                AZ.format(
                    python=sys.executable, url=f"{self.url}/cli", authority=str(self.certificates.authority)
                ),
                encoding="utf-8",
            )
            script.chmod(0o700)
        return folder

    def exports(self) -> str:
        """The environment and the service principal as lines for a shell."""
        pairs = {**self.environment, **self.service_principal}
        return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in pairs.items())


@contextlib.contextmanager
def running(
    *,
    blob: bool = True,
    project: bool = True,
    settings: Settings | None = None,
    directory: Path | None = None,
) -> Iterator[Emulator]:
    """Run a loopback Azure until the block ends.

    Args:
        blob: start Azurite too; without it data can't be uploaded.
        project: begin with a resource group, a hub and a project; False begins with an empty subscription.
        settings: how it behaves.
        directory: where its files go; a temporary folder when None.

    Raises:
        RuntimeError: Azurite is missing or did not start; `azurite.missing()` says why beforehand.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            # A long path would not matter here, a shared one would: the folder is private (0700).
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="azure-")))
        os.chmod(directory, 0o700)  # noqa: PTH101
        azure = Emulator(directory, settings or Settings())
        stack.callback(azure.stop)
        if blob:
            azure.blobs = stack.enter_context(Azurite(directory, azure.certificates))
        if project:
            azure.add_project()
        yield azure
