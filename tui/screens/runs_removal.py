"""Deleting runs and bringing them back, from the list: what depends on one is named before it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import work

from tui.format import one_line, size
from tui.screens.run_actions import has_model
from tui.screens.runs_export import RunExports

if TYPE_CHECKING:
    from core.runs.trash import Dependents


class RunRemoval(RunExports):
    """A screen from which runs go to the trash."""

    in_trash: bool = False

    def __init__(self) -> None:
        super().__init__()
        self._deleted: list[str] = []

    @work(thread=True, group="sweep")
    def sweep_trash(self) -> None:
        """Remove for good what has been in the trash for 30 days."""
        from core.runs import trash
        from tui.screens import trashes

        trashes.sweep(self, trash.sweep, "run")

    @work(group="change")
    async def action_delete(self) -> None:
        from core.runs import supervisor
        from core.runs.directory import RunDirectory
        from core.runs.needs import refuse_served
        from core.serving.lineage import dependents
        from tui.widgets.dialogs import Confirm

        row = self.chosen()
        if row is None:
            return
        if row.active:  # refused, and the refusal says what to do
            await self.attempt(supervisor.delete, row.id)
            return
        run = RunDirectory(row.directory)
        found = await self.attempt(dependents, run)
        if found is None:
            return
        if found.deployments:
            await self.attempt(refuse_served, run, row.name)
            return
        goes = "its model, checkpoints, log and figures" if has_model(row) else "its log and figures"
        question = Confirm(f"Delete {one_line(row.name)}?", _loses(goes, found), "Delete")
        if await self.app.push_screen_wait(question):
            gone = await self.attempt(supervisor.delete, row.id)
            if gone is not None:
                self._deleted.append(gone.id)
                self.notify(
                    f"{row.name} is in the trash. u brings it back; f frees its {size(found.bytes)} now."
                )
                self.changed(gone)

    def action_undo(self) -> None:
        row = self.chosen()
        if self.in_trash:
            if row is not None:
                self._restore(row.id)
        elif self._deleted:
            self._restore(self._deleted[-1])
        else:
            self.notify("Nothing was deleted since finetui was opened. t shows the trash.")

    @work(group="change")
    async def _restore(self, run_id: str) -> None:
        from core.runs import supervisor

        row = await self.attempt(supervisor.restore, run_id)
        if row is not None:
            if run_id in self._deleted:
                self._deleted.remove(run_id)
            self.notify(f"{row.name} is back.")
            self.changed(row)


def _loses(goes: str, found: Dependents) -> str:
    """What goes, and who would miss it."""
    from tui.rundetails import dependents_lines

    first = f"It goes to the trash with {goes} ({size(found.bytes)}) and can be brought back for 30 days (u)."
    return "\n".join([first, *dependents_lines(found)])
