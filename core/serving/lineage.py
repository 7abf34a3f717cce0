"""What has been made of a run beyond the runs: the chats in which its model speaks. Cheap to import."""

from __future__ import annotations

from dataclasses import replace

from core.runs import lineage, trash
from core.runs.directory import RunDirectory
from core.runs.lineage import Lineage
from core.runs.trash import Dependents
from core.serving.chats import Chats


def of(run: RunDirectory) -> Lineage:
    """The lineage of a run, its chats included.

    Raises:
        ChatError: the kept chats can't be read.
    """
    return replace(lineage.of(run), chats=chats_of(run))


def dependents(run: RunDirectory) -> Dependents:
    """Everything that depends on a run, its chats included.

    Raises:
        RunError: a deployment's record can't be read.
        ChatError: the kept chats can't be read.
    """
    return replace(trash.dependents(run), chats=chats_of(run))


def chats_of(run: RunDirectory) -> tuple[str, ...]:
    """Titles of the kept chats with a run's model, or with one of its checkpoints, the newest first.

    Raises:
        ChatError: the kept chats can't be read.
    """
    chats = Chats()
    if not chats.path.exists():  # looking would make it
        return ()
    return tuple(
        chat.title
        for chat in chats.all()
        if any(lineage.part_named(side, run) is not None for side in (chat.a, chat.b))
    )
