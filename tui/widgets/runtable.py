"""The table of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tui.format import NONE, ago, count, loss, one_line
from tui.states import state_of, words
from tui.widgets.table import Column, Row, Table

if TYPE_CHECKING:
    from core.runs.rows import RunRow

COLUMNS = (
    Column("name", "name", 0),
    Column("state", "state", 11),
    Column("where", "where", 10, 100),
    Column("model", "model", 22, 110),
    Column("step", "step", 17, right=True),
    Column("eval", "eval loss", 9, right=True),
    Column("base", "base", 8, 88, right=True),
    Column("when", "started", 10),
)
IN_TRASH = (*COLUMNS[:-1], replace(COLUMNS[-1], label="deleted"))


class RunTable(Table):
    """Runs as rows; marked ones have letters.

    Attributes:
        runs: those that are shown, in their order.
    """

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(COLUMNS, id, marked=True)
        self.runs: list[RunRow] = []

    @property
    def run(self) -> RunRow | None:
        """The run under the cursor."""
        return self.runs[self.cursor] if self.runs else None

    def show_runs(self, runs: Sequence[RunRow], title: str, now: float, trash: bool = False) -> None:
        """Show these runs; the cursor stays on its run, or on its place when that run is gone.

        Args:
            runs: in their order.
            title: for the border.
            now: the time of day, for "4 h ago".
            trash: they are deleted ones.
        """
        self.runs = list(runs)
        columns = IN_TRASH if trash else COLUMNS
        if columns != self.columns:
            self.columns = columns
            self.refresh()
        self.show([_row(run, now, trash) for run in runs], title)


def _row(run: RunRow, now: float, trash: bool) -> Row:
    """A run's words by column."""
    total = f" / {count(run.total_steps)}" if run.total_steps else ""
    cells = {
        "name": one_line(run.name),
        "state": words(run.state),
        "where": one_line(f"{'here' if run.backend == 'local' else run.backend} {run.device}"),
        "model": one_line(run.model.rpartition("/")[2] or run.model),
        "step": f"{count(run.step)}{total}" if run.step or total else NONE,
        "eval": loss(run.eval_loss),
        "base": loss(run.base_eval_loss),
        "when": ago(run.trashed_at if trash else run.started or run.created, now),
    }
    return Row(run.id, cells, {"state": state_of(run.state).colour})
