"""Which runs there are, and which one somebody means."""

from __future__ import annotations

import contextlib
import difflib
import threading
from collections.abc import Iterator

from core.runs.directory import RunError
from core.runs.rows import RunRow, row_of
from core.runs.store import Store, StoredRun

_told: list[str] = []
_to_tell: list[str] = []
_tell_lock = threading.Lock()


def list_runs(trash: bool = False) -> list[RunRow]:
    """All runs, newest first; those in the trash instead with `trash`."""
    with opened() as store:
        return [row_of(stored) for stored in store.refresh() if stored.trashed == trash]


def get(ref: str, trash: bool = False, whole: bool = False) -> RunRow:
    """One run by its id, its unique name, or a beginning of its id that no other has.

    An id or name in full always means its own run: that of a run in the trash is never taken for a beginning.

    Args:
        ref: what the user wrote.
        trash: of the runs in the trash.
        whole: refuse a mere beginning, where a mistake would cost money.

    Raises:
        RunError: none or several fit; names the near ones.
    """
    with opened() as store:
        stored = store.refresh()
        here = [item for item in stored if item.trashed == trash]
        if found := _only([item for item in here if item.meta.id == ref], ref):
            return row_of(found)
        if found := _only([item for item in here if item.meta.name == ref], ref):
            return row_of(found)
        if any(ref in (item.meta.id, item.meta.name) for item in stored if item.trashed != trash):
            raise _elsewhere(ref, trash)
        if found := _only([item for item in here if ref and item.meta.id.startswith(ref)], ref):
            if whole:
                raise RunError(
                    f"{ref!r} is only the beginning of a run's id.",
                    "What is paid for takes the id or the name in full.",
                    f"Write {found.meta.id} if that is the one.",
                )
            return row_of(found)
    raise _unknown(ref, [word for item in here for word in (item.meta.id, item.meta.name)], trash)


def _only(fits: list[StoredRun], ref: str) -> StoredRun | None:
    """The one run that fits, or None.

    Raises:
        RunError: several do.
    """
    if len(fits) > 1:
        raise RunError(
            f"{ref!r} fits {len(fits)} runs.",
            f"They are {', '.join(item.meta.id for item in fits)}.",
            "Use one of these ids.",
        )
    return fits[0] if fits else None


def _elsewhere(ref: str, trash: bool) -> RunError:
    if trash:
        return RunError(
            f"{ref!r} is not in the trash.", "It is among the runs already.", "Nothing is to be done."
        )
    return RunError(f"{ref!r} is in the trash.", "", f"`finetui restore {ref}` brings it back.")


def _unknown(ref: str, words: list[str], trash: bool) -> RunError:
    near = list(dict.fromkeys(difflib.get_close_matches(ref, words, n=3, cutoff=0.4)))
    where = "in the trash" if trash else "among the runs"
    return RunError(
        f"There is no run {ref!r} {where}.",
        f"The nearest are {', '.join(near)}." if near else "",
        f"`finetui runs{' --trash' if trash else ''}` lists them.",
    )


def rebuild() -> list[RunRow]:
    """Make the store anew from the run directories and the trash; returns the runs outside the trash."""
    with opened() as store:
        return [row_of(stored) for stored in store.rebuild() if not stored.trashed]


def notices() -> list[str]:
    """What has come up since the last call and should be told, each once, e.g. that the store was rebuilt."""
    with _tell_lock:
        fresh = [text for text in dict.fromkeys(_to_tell) if text not in _told]
        _told.extend(fresh)
        _to_tell.clear()
        return fresh


@contextlib.contextmanager
def opened() -> Iterator[Store]:
    """The store of runs; what has come up with it is told by `notices`."""
    with Store() as store:
        try:
            yield store
        finally:
            with _tell_lock:
                _to_tell.extend(store.notices)
