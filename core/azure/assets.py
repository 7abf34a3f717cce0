"""Data assets of the project as a recipe's rows: `data: azureml:NAME:VERSION`. A job reads them where they lie.

A version's content never changes, so what was looked at once is kept on this machine and counted from there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import paths
from core.azure import data, rows
from core.azure.account import Account
from core.azure.clients import Azure
from core.azure.faults import AzureError, asking
from core.data.conversation import Conversation
from core.source import ASSET

ONE_FILE = "uri_file"
MOST_DETAILED = 50
ELSEWHERE = "Its rows lie outside of the project's own store: Azure alone reads them."


@dataclass(frozen=True)
class DataAsset:
    """A data asset of the project.

    Args:
        ref: as a recipe names it, `azureml:NAME:VERSION`.
        kind: uri_file, uri_folder or mltable; a job takes the first.
        id: its ARM id, as a job names it.
        path: of its blob in the project's store; empty for one that lies elsewhere, or that was not asked for more.
        description: somebody's words.
        run: the finetui run it was made for, or empty.
        created: UTC seconds, 0 for unknown.
    """

    ref: str
    kind: str
    id: str
    path: str = ""
    description: str = ""
    run: str = ""
    created: float = 0.0


@dataclass(frozen=True)
class Looked:
    """What is in a data asset.

    Args:
        asset: which.
        file: where its rows are kept on this machine; None: they can't be had.
        rows: how many there are; 0 where they can't be had.
        faults: (line, why) of those that the service can't take.
        why: why they can't be had.
    """

    asset: DataAsset
    file: Path | None = None
    rows: int = 0
    faults: tuple[tuple[int, str], ...] = ()
    why: str = ""


def listed(azure: Azure) -> list[DataAsset]:
    """The project's data assets, each in its newest version, newest first.

    More than their name, kind and age is asked for the first `MOST_DETAILED`: each is a request of its own.

    Raises:
        AzureError: the project can't be asked.
    """
    with asking("The data assets"):
        held = [(_made(item, str(item.latest_version)), item) for item in azure.ml.data.list()]
        held.sort(key=lambda pair: -pair[0].created)
        first = [
            _made(azure.ml.data.get(item.name, version=item.latest_version))
            for _, item in held[:MOST_DETAILED]
        ]
    return first + [made for made, _ in held[MOST_DETAILED:]]


def get(azure: Azure, ref: str) -> DataAsset:
    """The asset that a recipe names.

    Raises:
        AzureError: there is none, it is no single file, or the project can't be asked.
    """
    from azure.core.exceptions import ResourceNotFoundError

    named = ASSET.fullmatch(ref)
    if named is None:
        raise AzureError(f"{ref!r} names no data asset.", "", "Write `azureml:NAME:VERSION`.")
    with asking(f"The data asset {ref}"):
        try:
            found = _made(azure.ml.data.get(named["name"], version=named["version"]))
        except ResourceNotFoundError as error:
            raise AzureError(
                f"There is no data asset {ref} in {azure.account.project}.",
                "",
                "`finetui azure data` lists those that there are.",
                status=404,
            ) from error
    if found.kind != ONE_FILE:
        raise AzureError(
            f"{ref} is a {found.kind}.",
            f"Azure's fine-tuning takes one file ({ONE_FILE}).",
            "Choose another: `finetui azure data` lists them.",
        )
    return found


def kept(account: Account, ref: str) -> Path:
    """Where the rows of an asset are kept on this machine once they were looked at."""
    whose = hashlib.sha256(account.workspace.lower().encode()).hexdigest()[:12]
    named = ASSET.fullmatch(ref)
    name = f"{named['name']}-{named['version']}" if named else ""
    return paths.data_dir() / "azure-rows" / f"{whose}-{name}.jsonl"


def look(azure: Azure, ref: str, task: str) -> Looked:
    """Fetch an asset's rows, unless they are here, and check them by Azure's rules.

    Args:
        azure: the account.
        ref: `azureml:NAME:VERSION`.
        task: chat or completion.

    Raises:
        AzureError: as `get`; or its rows are not JSON Lines.
    """
    asset = get(azure, ref)
    if not asset.path:
        return Looked(asset, why=ELSEWHERE)
    file = kept(azure.account, ref)
    if not file.exists():
        paths.make_private(file.parent)
        data.download(azure, asset.id, file)
    count, faults = _read(file, ref, task)
    return Looked(asset, file, count, tuple(faults))


def _read(file: Path, ref: str, task: str) -> tuple[int, list[tuple[int, str]]]:
    """(rows, faults) of a file of the service's form."""
    from core.data.problems import DataError
    from core.data.rows import read_rows

    count, faults = 0, []
    try:
        for row in read_rows(file, title=ref):
            if isinstance(row, Conversation):
                against = rows.fault(row, task)
            else:
                against = row.sentence if row.severity == "error" else ""
            count += 1
            if against:
                faults.append((row.line, against))
    except DataError as error:
        raise AzureError(
            f"The rows of {ref} can't be read.", error.what, "Azure takes JSON Lines in UTF-8."
        ) from error
    return count, faults


def _made(found: Any, version: str = "") -> DataAsset:
    made = found.creation_context.created_at if found.creation_context else None
    return DataAsset(
        f"azureml:{found.name}:{version or found.version}",
        str(found.type),
        str(found.id),
        data.blob_path(str(found.path or "")),
        str(found.description or ""),
        str((found.tags or {}).get(data.TAG, "")),
        made.timestamp() if made else 0.0,
    )
