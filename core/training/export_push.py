"""A run's model on the Hugging Face hub: exported to a folder that is removed afterwards, with its model card.

The token is the hub client's own (HF_TOKEN, or what `hf auth login` stored); it is never an argument nor written here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.catalog.hub import offline
from core.paths import cache_dir, make_private
from core.training.export import To, export
from core.training.export_source import ExportError

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Pushed:
    """What the hub has now.

    Args:
        url: the repository's page.
        commit: its commit.
        private: whether only its owner sees it.
        bytes: size of what was uploaded.
        fidelity: see `Exported`.
        notes: see `Exported`.
    """

    url: str
    commit: str
    private: bool
    bytes: int
    fidelity: dict[str, Any] | None
    notes: tuple[str, ...]


def push(run: Path, folder: Path, to: To, repo: str, public: bool) -> Generator[str, None, Pushed]:
    """Export a run's model and upload it as one commit; yields what it is doing.

    Args:
        run: the run's directory.
        folder: its model or one of its checkpoints.
        to: adapter or merged.
        repo: owner/name; made when there is none.
        public: whether everybody may see it.

    Raises:
        ExportError: it can't be exported, or the hub refuses.
    """
    if not REPO.fullmatch(repo):
        raise ExportError(f"{repo!r} is no repository of the hub.", "", "Give it as OWNER/NAME.")
    if offline():
        raise ExportError(
            "The hub may not be asked.",
            "HF_HUB_OFFLINE is set.",
            "Unset it, or `finetui export` to a folder.",
        )
    yield "asking the hub who you are"
    api = _api()
    with _told(repo):
        api.whoami()
    with tempfile.TemporaryDirectory(dir=make_private(cache_dir()), prefix="push-") as place:
        exported = yield from export(run, folder, to, Path(place) / "model")
        out = Path(exported.path)
        if to == "adapter":
            for config in out.rglob("adapter_config.json"):
                _forget_folder(config)
        yield f"making {repo}"
        with _told(repo):
            url = _make(api, repo, public)
            yield f"uploading {exported.bytes / 1e6:.1f} MB"
            commit = api.upload_folder(repo_id=repo, folder_path=out, commit_message="Upload from finetui")
    return Pushed(url, commit.oid, not public, exported.bytes, exported.fidelity, exported.notes)


def _api() -> Any:
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    if get_token() is None:
        raise ExportError(
            "The hub needs a token to write.",
            "HF_TOKEN is not set and nobody is logged in.",
            "Make one with write access at https://huggingface.co/settings/tokens, then `hf auth login`.",
        )
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    return HfApi(endpoint=endpoint, library_name="finetui")


def _make(api: Any, repo: str, public: bool) -> str:
    """Make the repository; one that is there already must be as private as was asked. Returns its page.

    Raises:
        ExportError: it is public, and that was not asked for.
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(api.create_repo(repo, private=not public))
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
    if not public and not api.model_info(repo).private:
        raise ExportError(
            f"{repo} exists and is public.",
            "What is pushed there can be seen by everybody.",
            "Give --public to mean that, or another name.",
        )
    return f"{api.endpoint}/{repo}"


def _forget_folder(path: Path) -> None:
    """Take a base that is a folder of this machine out of an adapter's configuration."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if Path(config.get("base_model_name_or_path") or "").is_absolute():
        config["base_model_name_or_path"] = None
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")


@contextlib.contextmanager
def _told(repo: str) -> Iterator[None]:
    """The hub's errors in three parts."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise ExportError(
                f"The hub does not let this token write {repo}.",
                f"It answered {status}.",
                "Use a token with write access to that owner (https://huggingface.co/settings/tokens).",
            ) from error
        raise ExportError(
            f"The hub refused {repo}.",
            f"It answered {status}: {error.server_message or 'without a reason'}",
            "Try again later." if status >= 500 or status == 429 else "Check the name, then push again.",
        ) from error
    except HTTPError as error:
        raise ExportError(
            "The Hugging Face hub is not reachable.",
            f"{type(error).__name__}: {error}",
            "Check the network (HTTPS_PROXY, HF_ENDPOINT), then push again.",
        ) from error
    except (
        OSError,
        RuntimeError,
    ) as error:  # what the client raises when bytes of a large file are not taken
        raise ExportError(
            f"The upload to {repo} broke off.",
            str(error.__cause__ or error),
            "Push again: what has arrived is not sent twice.",
        ) from error
