"""Rows on their way to Azure: the project's blob store, and data assets named by their content.

The same content is uploaded once: its SHA-256 is the asset's name and the blob's folder, and a blob counts as whole
only when its metadata says so, which is written last.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from core.azure.clients import Azure
from core.azure.faults import AzureError, asking, scrubbed
from core.azure.rows import RowFile
from core.paths import write_private

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

STORE = "workspaceblobstore"
PREFIX = "finetui-"
VERSION = "1"
TAG = "finetui"
"""On everything finetui makes: the id of the run it was made for."""
ASSET_ID = re.compile(r"/data/(?P<name>[^/]+)/versions/(?P<version>[^/]+)$")
WHOLE = {"upload_status": "completed"}
CHUNK_BYTES = 4 << 20
STORAGE: dict[str, Any] = {
    "connection_timeout": 20,
    "read_timeout": 120,
    "retry_total": 3,
    "initial_backoff": 1,
    "increment_base": 2,
    "max_single_put_size": CHUNK_BYTES,
    "max_block_size": CHUNK_BYTES,
}


@dataclass(frozen=True)
class Asset:
    """A data asset of the project.

    Args:
        name: made from the content's SHA-256.
        version: of the asset.
        id: its ARM id, as a job names it.
        path: of its blob, inside the store.
        bytes: of the file.
        uploaded: whether this call sent the content; False where Azure had it.
        run: the run it was made for, or empty for one that finetui did not make.
        created: when, in UTC seconds; 0: unknown.
    """

    name: str
    version: str
    id: str
    path: str = ""
    bytes: int = 0
    uploaded: bool = False
    run: str = ""
    created: float = 0.0


def name_of(sha256: str) -> str:
    """The asset's name for some content."""
    return PREFIX + sha256[:40]


def ensure(azure: Azure, file: RowFile, run_id: str, progress: Progress) -> Asset:
    """Have a file's content in the project as a data asset; nothing is sent that is there.

    Raises:
        AzureError: the project or its store can't be asked or written.
    """
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Data
    from azure.core.exceptions import ResourceNotFoundError

    name = name_of(file.sha256)
    with asking(f"The data asset {name}"):
        try:
            there = azure.ml.data.get(name, version=VERSION)
            return Asset(name, VERSION, str(there.id), blob_path(str(there.path)), file.bytes)
        except ResourceNotFoundError:
            pass
    path = f"LocalUpload/{file.sha256}/{file.path.name}"
    with asking(f"The upload of {file.path.name}"):
        sent = _upload(container(azure), file, path, name, progress)
    with asking(f"The data asset {name}"):
        made = azure.ml.data.create_or_update(
            Data(
                name=name,
                version=VERSION,
                type=AssetTypes.URI_FILE,
                path=f"azureml://datastores/{STORE}/paths/{path}",
                description=f"{file.path.name} of the finetui run {run_id}: {file.rows} rows",
                tags={TAG: run_id, "sha256": file.sha256, "rows": str(file.rows)},
            )
        )
    return Asset(name, VERSION, str(made.id), path, file.bytes, sent, run_id)


def gone(azure: Azure, asset_id: str) -> bool:
    """Whether somebody has deleted a data asset, by the ARM id that a job names it by.

    Raises:
        AzureError: the project can't be asked.
    """
    from azure.core.exceptions import ResourceNotFoundError

    asset = ASSET_ID.search(asset_id)
    if asset is None:  # an address, of a job that was sent from elsewhere
        return False
    with asking(f"The data asset {asset['name']}"):
        try:
            azure.ml.data.get(asset["name"], version=asset["version"])
        except ResourceNotFoundError:
            return True
    return False


def container(azure: Azure) -> ContainerClient:
    """The project's blob container, with the key its datastore gives out, kept in memory only."""
    from azure.ai.ml._artifacts._artifact_utilities import get_datastore_info
    from azure.storage.blob import ContainerClient

    store = get_datastore_info(azure.ml.datastores, STORE)
    return ContainerClient(
        store["account_url"], store["container_name"], credential=store["credential"], **STORAGE
    )


def _upload(store: ContainerClient, file: RowFile, path: str, name: str, progress: Progress) -> bool:
    """Send a file unless it is there whole; returns whether it was sent."""
    from azure.core.exceptions import ResourceNotFoundError

    blob = store.get_blob_client(path)
    try:
        if (blob.get_blob_properties().metadata or {}).items() >= WHOLE.items():
            return False
    except ResourceNotFoundError:
        pass
    progress(0, file.bytes)
    with file.path.open("rb") as content:
        blob.upload_blob(
            content,
            length=file.bytes,
            overwrite=True,
            progress_hook=lambda done, total: progress(done, total or file.bytes),
        )
    blob.set_blob_metadata({**WHOLE, "name": name, "version": VERSION})
    return True


def assets(azure: Azure) -> list[Asset]:
    """The data assets of the project that finetui made.

    Raises:
        AzureError: the project can't be asked.
    """
    found = []
    with asking("The data assets"):
        for held in azure.ml.data.list():
            if str(held.name).startswith(PREFIX):
                found += [_asset(item) for item in azure.ml.data.list(name=held.name)]
    return found


def _asset(item: Any) -> Asset:
    made = item.creation_context.created_at if item.creation_context else None
    return Asset(
        str(item.name),
        str(item.version),
        str(item.id),
        blob_path(str(item.path)),
        run=str((item.tags or {}).get(TAG, "")),
        created=made.timestamp() if made else 0.0,
    )


def download(azure: Azure, uri: str, target: Path) -> Path:
    """The rows behind a job's input: a data asset's ARM id, or an address in the project's blob store.

    Raises:
        AzureError: they are elsewhere, or can't be had.
    """
    asset = ASSET_ID.search(uri)
    with asking("The job's rows"):
        address = str(azure.ml.data.get(asset["name"], version=asset["version"]).path) if asset else uri
        path = blob_path(address)
        if not path:
            raise AzureError(
                "The job's rows are not in the project's blob store.",
                scrubbed(address),
                "`finetui azure jobs` and the job's page show how it goes all the same.",
            )
        content = container(azure).download_blob(path).readall()
    write_private(target, content)
    return target


def delete(azure: Azure, name: str, version: str = VERSION) -> None:
    """Delete a data asset and its blob.

    Raises:
        AzureError: it can't be done.
    """
    from azure.core.exceptions import ResourceNotFoundError

    with asking(f"The data asset {name}"):
        path = blob_path(str(azure.ml.data.get(name, version=version).path))
        if path:
            with contextlib.suppress(ResourceNotFoundError):
                container(azure).delete_blob(path)
        azure.service.data_versions.delete(*azure.place, name, version)


def blob_path(uri: str) -> str:
    """The path inside the store of an asset's address; empty for one elsewhere."""
    inside = uri.partition(f"/datastores/{STORE}/paths/")[2]
    return str(PurePosixPath(inside)) if inside else ""
