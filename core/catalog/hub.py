"""A model from the Hugging Face hub: its text files and safetensors at one commit, resumable.

huggingface_hub does the talking (endpoint, token, errors). The bytes are streamed here, because its own
download starts a broken-off file again from nothing, which for a 5 GB shard on a shaky line means never.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.catalog.reference import ModelError, ModelRef, lacking, why_refused
from core.catalog.store import Progress, check_disk, sha256

TIMEOUT_S = 10.0
ATTEMPTS = 3
"""Tries in a row that bring nothing before giving up."""
RETRY_S = 1.0
PART = ".part"
_CHUNK_BYTES = 1 << 18
_SUFFIXES = (".json", ".jinja", ".model", ".txt")
_BY_NAME = ("LICENSE", "LICENSE.md", "NOTICE", "NOTICE.md")


class HubUnavailable(ModelError):
    """The hub did not answer, or answered that it can't just now; another source may help."""


@dataclass(frozen=True)
class HubFile:
    """One file of a repository; `sha256` for large files, `blob_id` (git's) for the others."""

    name: str
    bytes: int
    sha256: str | None
    blob_id: str | None


@dataclass(frozen=True)
class Listing:
    """What a repository holds at a commit, cut down to what is wanted."""

    commit: str
    files: tuple[HubFile, ...]


def offline() -> bool:
    """True when the environment forbids asking the hub."""
    return any(
        os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def wanted(name: str) -> bool:
    """True for what a model needs: never pickles (.bin, .pt), never code (.py), nothing in sub-folders."""
    if "/" in name or name.startswith("."):
        return False
    if name.endswith(".safetensors"):
        return name.startswith("model")
    return name.endswith(_SUFFIXES) or name in _BY_NAME


def listing(ref: ModelRef) -> Listing:
    """Ask the hub for the commit and its files.

    Raises:
        HubUnavailable: no answer, or a server error.
        ModelError: gated, unknown, no such revision, or no model finetui can train.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        info = HfApi(endpoint=_endpoint(), library_name="finetui").model_info(
            ref.hub_id, revision=ref.revision, files_metadata=True, timeout=TIMEOUT_S
        )
    except HfHubHTTPError as error:
        raise _refused(ref, error) from error
    except HTTPError as error:
        raise _unreachable(error) from error
    names = {item.rfilename for item in info.siblings or ()}
    if absent := lacking(names):
        raise ModelError(
            f"{ref.hub_id} can't be trained: it lacks {', '.join(absent)}.",
            why_refused(names),
            "Choose a repository with these files; many models have a converted copy.",
        )
    return Listing(str(info.sha), tuple(_file(item) for item in info.siblings if wanted(item.rfilename)))


def _file(item: Any) -> HubFile:
    return HubFile(item.rfilename, int(item.size), item.lfs.sha256 if item.lfs else None, item.blob_id)


def download(ref: ModelRef, found: Listing, folder: Path, progress: Progress) -> None:
    """Bring the listed files into `folder`, going on with what an earlier try left there.

    Args:
        ref: whose files.
        found: what to bring.
        folder: kept when this fails, so that the next try resumes; file names ending in .part are unfinished.
        progress: told of bytes done and in all, files that were there included.

    Raises:
        ModelError: too little disk, the hub refuses, or a file is not what the listing said.
        HubUnavailable: the connection broke and several tries in a row brought nothing more.
    """
    total = sum(file.bytes for file in found.files)
    there = sum(path.stat().st_size for path in folder.iterdir())
    check_disk(folder, max(total - there, 0))
    done = 0
    for file in found.files:
        target = folder / file.name
        if not target.is_file():
            _bring(ref, found.commit, file, folder, partial(_report, progress, ref, done, total))
        done += file.bytes
        _report(progress, ref, done, total, 0)


def _report(progress: Progress, ref: ModelRef, before: int, total: int, count: int) -> None:
    """Tell of `count` bytes of this file after `before` bytes of the others."""
    progress(f"downloading {ref.hub_id}", before + count, total)


def _bring(ref: ModelRef, commit: str, file: HubFile, folder: Path, told: Callable[[int], None]) -> None:
    """Download one file into <name>.part, check it, and give it its name."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    part = folder / (file.name + PART)
    part.touch(0o600)
    stalled = 0
    while (before := part.stat().st_size) < file.bytes and stalled < ATTEMPTS:
        failure: Exception | None = None
        try:
            _stream(ref, commit, file, part, told)
        except HfHubHTTPError as error:
            raise _refused(ref, error) from error
        except HTTPError as error:
            failure = error
        stalled = 0 if part.stat().st_size > before else stalled + 1
        if failure is not None and stalled == ATTEMPTS:
            raise _unreachable(failure) from failure
        if failure is not None:
            time.sleep(RETRY_S)
    _verify(ref, file, part)
    part.rename(folder / file.name)


def _stream(ref: ModelRef, commit: str, file: HubFile, part: Path, told: Callable[[int], None]) -> None:
    """One request for what is still missing of a file."""
    from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers

    start = part.stat().st_size
    headers = build_hf_headers(library_name="finetui")
    headers["Accept-Encoding"] = "identity"  # sizes and ranges count the file's own bytes
    if start:
        headers["Range"] = f"bytes={start}-"
    url = hf_hub_url(ref.hub_id, file.name, revision=commit, endpoint=_endpoint())
    with get_session().stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT_S
    ) as response:
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        resumed = response.status_code == 206
        done = start if resumed else 0
        with part.open("ab" if resumed else "wb") as output:
            for chunk in response.iter_bytes(_CHUNK_BYTES):
                output.write(chunk)
                done += len(chunk)
                told(done)


def _verify(ref: ModelRef, file: HubFile, part: Path) -> None:
    size = part.stat().st_size
    good = size == file.bytes
    if good and file.sha256:
        good = sha256(part) == file.sha256
    elif good and file.blob_id:
        content = part.read_bytes()
        # The id of a git blob; a checksum here, not a defence.
        good = hashlib.sha1(b"blob %d\0" % size + content, usedforsecurity=False).hexdigest() == file.blob_id
    if not good:
        part.unlink()
        raise ModelError(
            f"{file.name} of {ref.hub_id} came damaged.",
            f"Its size ({size} of {file.bytes} bytes) or its hash differs from what the hub lists.",
            "Try again: this file is downloaded anew.",
        )


def _endpoint() -> str | None:
    """HF_ENDPOINT as it is now; huggingface_hub itself reads it only once, when imported."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _unreachable(error: Exception) -> HubUnavailable:
    return HubUnavailable(
        "The Hugging Face hub is not reachable.",
        f"{type(error).__name__}: {error}",
        "Check the network (HTTPS_PROXY, HF_ENDPOINT), then try again.",
    )


def _refused(ref: ModelRef, error: Any) -> ModelError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    status = error.response.status_code
    entry = ref.entry
    if isinstance(error, RevisionNotFoundError):
        return ModelError(
            f"{ref.hub_id} has no revision {ref.revision}.",
            "The hub knows no commit, branch or tag of that name.",
            "Correct model_revision, or leave it out for the newest.",
        )
    if isinstance(error, GatedRepoError) or status == 403 or (status == 401 and entry and entry.gated):
        return _gated(ref, status)
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return ModelError(
            f"The hub has no model {ref.hub_id}, or it is private.",
            f"It answered {status} {'with' if _has_token() else 'without'} a token.",
            "Check the id; for a private model set HF_TOKEN to a token that may read it.",
        )
    if status == 401:
        return ModelError(
            f"The hub does not accept this machine's token for {ref.hub_id}.",
            "It answered 401: the token is wrong or has expired.",
            "Make a new one at https://huggingface.co/settings/tokens and set HF_TOKEN to it.",
        )
    if status >= 500 or status in (408, 429):
        return HubUnavailable(
            f"The Hugging Face hub can't serve {ref.hub_id} just now.",
            f"It answered {status}.",
            "Try again later.",
        )
    return ModelError(
        f"The hub refused {ref.hub_id}.", f"It answered {status}: {error}", "Check the id and the revision."
    )


def _gated(ref: ModelRef, status: int) -> ModelError:
    entry = ref.entry
    page = entry.licence_url if entry and entry.gated else f"https://huggingface.co/{ref.hub_id}"
    licence = f" ({entry.licence})" if entry else ""
    problem = "this machine's token has no access" if _has_token() else "no token is set on this machine"
    return ModelError(
        f"{ref.hub_id} is gated: its licence{licence} must be accepted first.",
        f"The hub answered {status}, and {problem}.",
        f"Accept the licence at {page}, make a token that may read it at "
        "https://huggingface.co/settings/tokens, set HF_TOKEN to it, and try again.",
    )


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None
