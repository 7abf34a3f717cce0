"""Marks on the list of runs, the pages they lead to, and the lineage of the run under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import work
from textual.timer import Timer

from tui.screens.runs_removal import RunRemoval
from tui.widgets.runtable import RunTable

if TYPE_CHECKING:
    from core.runs.lineage import Lineage
    from core.runs.rows import RunRow

LEAST, MOST = 2, 4
LETTERS = "ABCD"
SETTLE_S = 0.15
"""The cursor must rest so long on a run before its files are read."""


class RunMarks(RunRemoval):
    """A list on which up to four runs are marked."""

    table: RunTable

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[str] = []
        """Ids, in the order they were marked."""
        self._lineages: dict[tuple[str, str, float], Lineage] = {}
        self._waiting: Timer | None = None
        self._wanted: RunRow | None = None

    def marks_changed(self) -> None:
        """Called when other runs are marked."""
        raise NotImplementedError

    def lineage_known(self) -> None:
        """Called when the lineage of a run has been read."""
        raise NotImplementedError

    # -- marks

    def keep_marks(self, here: set[str]) -> None:
        """Take the marks of runs away that are not there any more."""
        self.marks = [run_id for run_id in self.marks if run_id in here]
        self.table.mark(dict(zip(self.marks, LETTERS, strict=False)))

    def action_mark(self) -> None:
        row = self.chosen()
        if row is None:
            return
        if row.id in self.marks:
            self.marks.remove(row.id)
        elif len(self.marks) == MOST:
            self.notify(f"{MOST} runs are marked already: that many can be compared.")
            return
        else:
            self.marks.append(row.id)
        self.marks_changed()
        self.table.action_move(1)

    def marks_in_words(self) -> str:
        """How many are marked, and what can be done with them."""
        more = "v compares them" if len(self.marks) > 1 else "space marks another to compare it with"
        return f"{len(self.marks)} marked: {more}"

    def action_compare(self) -> None:
        from tui.screens.compare import CompareScreen

        if len(self.marks) < LEAST:
            self.notify(f"space marks a run; {LEAST} to {MOST} of them are compared.")
            return
        self.app.push_screen(CompareScreen(self.marks))

    @work(group="clean")
    async def action_clean(self) -> None:
        from tui.screens.clean import CleanScreen

        await self.app.push_screen_wait(CleanScreen())

    # -- lineage

    def lineage_of(self, row: RunRow) -> Lineage | None:
        """What is known of a run's lineage; read soon after, where nothing is."""
        known = self._lineages.get(_key(row))
        if known is None and (self._wanted is None or _key(self._wanted) != _key(row)):
            self._wanted = row
            if self._waiting is not None:
                self._waiting.stop()
            self._waiting = self.set_timer(SETTLE_S, self._read)
        return known

    def forget_lineages(self) -> None:
        """Read them anew: a deployment or a run may have come or gone."""
        self._lineages.clear()
        self._wanted = None

    @work(thread=True, exclusive=True, group="lineage")
    def _read(self) -> None:
        from core.runs.directory import RunDirectory
        from core.serving import lineage

        row = self._wanted
        if row is not None:
            found = lineage.of(RunDirectory(row.directory))
            self.app.call_from_thread(self._known, row, found)

    def _known(self, row: RunRow, found: Lineage) -> None:
        self._lineages[_key(row)] = found
        self.lineage_known()


def _key(row: RunRow) -> tuple[str, str, float]:
    """A run as long as its lineage stays: what it starts from is frozen soon after it has begun."""
    return row.id, row.state, row.trashed_at
