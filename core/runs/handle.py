"""What a backend sees of its run: where to write, what to say, what is asked of it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from core.events import Event, Requested
from core.runs.control import Inbox, Request
from core.runs.directory import RunDirectory
from core.runs.journal import Journal
from core.runs.summary import RunSummary, fold

if TYPE_CHECKING:
    from core.recipe import Recipe

ENDING = ("stop", "pause")


class RunHandle:
    """Given to `backend.train(recipe, handle)`; satisfies `core.work.Run`.

    Args:
        run: the run's directory.
        recipe: the frozen recipe.
        journal: the run's journal, open for writing.
        summary: what the journal adds up to so far.

    Attributes:
        directory: the run's directory.
        device: `cpu`, `cuda:<uuid>`, or empty for a backend without a local device.
        devices: one for each process that trains, `device` first.
        resume_from: folder of the newest intact checkpoint when the run goes on, else None.
        model_dir: where the final model will be.
        ending_since: when SIGTERM came, by time.monotonic(); None while it hasn't.
    """

    def __init__(
        self, run: RunDirectory, recipe: Recipe, journal: Journal, summary: RunSummary | None = None
    ) -> None:
        self.directory: Path = run.path
        self.recipe = recipe
        self.device = ""
        self.devices: tuple[str, ...] = ()
        self.resume_from: Path | None = None
        self.model_dir: Path = run.model_dir
        self.summary = summary or RunSummary()
        self._run = run
        self._journal = journal
        self._inbox = Inbox(run.control_dir)
        self._pending: list[Request] = []
        self._lock = threading.Lock()
        self._signals = 0
        self.ending_since: float | None = None
        self._signal_seen = False

    def emit(self, event: Event) -> None:
        """Write an event to the journal; from any thread. A full disk delays it, nothing more."""
        with self._lock:
            self.summary = fold(self.summary, [event])
            self._journal.append(event)

    def signalled(self) -> None:
        """SIGTERM has come: the same as a stop request. Safe in a signal handler, any number of times."""
        if self.ending_since is None:
            self.ending_since = time.monotonic()
        self._signals += 1

    def requests(self) -> list[Request]:
        """What has been asked since the last call, oldest first; call it at every step boundary and between
        the long phases before the first step. A stop or pause is written to the journal as taken."""
        self._look()
        taken, self._pending = self._pending, []
        for request in taken:
            if request.verb in ENDING:
                self.emit(Requested(verb=request.verb, by=str(request.arguments.get("by", ""))))
        if taken:
            self._inbox.settle()  # after the journal has it, so that nobody sees neither
        return taken

    def ending(self) -> str:
        """`stop` or `pause` when one is waiting to be taken, else empty; takes nothing."""
        self._look()
        verbs = [request.verb for request in self._pending if request.verb in ENDING]
        return "stop" if "stop" in verbs else "pause" if verbs else ""

    def _look(self) -> None:
        self._pending += self._inbox.look()
        if self._signals and not self._signal_seen:  # a second one mustn't disturb the saving
            self._signal_seen = True
            self._pending.append(Request("stop", {"by": "signal"}))

    def worked_s(self) -> float:
        """Seconds that workers have worked on it, this one until now and all before it."""
        return self.summary.worked_until(time.time())

    def partial_checkpoint(self, step: int) -> Path:
        """A new, empty, private folder to write the checkpoint after `step` steps into."""
        return self._run.partial_checkpoint(step)

    def publish_checkpoint(self, partial: Path, step: int) -> Path:
        """Make a written checkpoint the run's (manifest, fsync, rename); returns its folder. The caller emits
        `Checkpointed`."""
        return self._run.publish_checkpoint(partial, step).path

    def prune_checkpoints(self, keep: int, spare: int | None = None) -> None:
        """Keep the newest `keep` checkpoints, at least one, and that of step `spare`."""
        self._run.prune_checkpoints(keep, spare)

    def partial_model(self) -> Path:
        """A new, empty, private folder to write the final model into."""
        return self._run.partial_model()

    def publish_model(self, partial: Path) -> Path:
        """Make a written model the run's (manifest, fsync, rename), in place of an earlier one."""
        return self._run.publish_model(partial)
