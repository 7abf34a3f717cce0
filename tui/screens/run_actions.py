"""What the monitor and the list of runs both do to a run: stop, pause, resume, and waiting for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from textual import work

from core.errors import FinetuiError
from tui.format import count, one_line
from tui.screens.base import ModeScreen

if TYPE_CHECKING:
    from core.runs.rows import RunRow

Result = TypeVar("Result")
IN_AZURE = "azureml:"
"""Begins the name of a model that is in Azure."""


class RunActions(ModeScreen):
    """A screen with a chosen run."""

    def chosen(self) -> RunRow | None:
        """The run that the keys are about."""
        raise NotImplementedError

    def changed(self, row: RunRow) -> None:
        """Called when something was done to a run."""
        raise NotImplementedError

    async def attempt(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result | None:
        """Call a blocking function in a thread; its error for users is shown, and None returned."""
        try:
            return await asyncio.to_thread(function, *arguments, **named)
        except FinetuiError as error:
            self.finetui.show_error(error)
            return None

    async def change(self, function: Callable[[str], RunRow], run_id: str) -> None:
        """Do something to a run and show how it is then."""
        row = await self.attempt(function, run_id)
        if row is not None:
            self.changed(row)

    @work(group="change")
    async def action_stop(self) -> None:
        from core.runs import supervisor
        from tui.widgets.dialogs import Confirm

        row = self.chosen()
        if row is None:
            return
        if row.state == "stopping" or await self.app.push_screen_wait(Confirm(*_stop_question(row))):
            await self.change(supervisor.stop, row.id)

    @work(group="change")
    async def action_pause(self) -> None:
        from core.runs import supervisor

        if (row := self.chosen()) is not None:
            await self.change(supervisor.pause, row.id)

    @work(group="change")
    async def action_resume(self) -> None:
        from core.runs import supervisor
        from tui.azure_job_text import new_job
        from tui.widgets.dialogs import Confirm

        row = self.chosen()
        if row is None:
            return
        told = await self.attempt(new_job, row)
        if told is None:
            return
        if not told or await self.app.push_screen_wait(Confirm("Send a new job to Azure?", told, "Send")):
            await self.change(supervisor.resume, row.id)

    def action_chat(self) -> None:
        row = self.chosen()
        if row is not None and row.backend == "azure":
            self.finetui.serve_in_azure("chat", registered(row))
        elif row is not None:
            self.finetui.chat_with(row.id)

    def possible(self, verb: str) -> bool:
        """Whether a verb makes sense for the chosen run; asking twice is left to the supervisor to refuse."""
        row = self.chosen()
        if row is None:
            return False
        match verb:
            case "stop":
                return row.active or row.state in ("paused", "lost")
            case "pause" | "checkpoint" | "sample" | "change":
                return row.active and row.backend != "azure"  # a job there can only be cancelled
            case "resume":
                return not row.active and row.state != "finished"
            case "chat":
                return has_model(row) or bool(registered(row))
            case "export":
                return has_model(row)
        return True


def has_model(row: RunRow) -> bool:
    """Whether there is something trained on this machine to talk to."""
    return row.backend != "azure" and bool(row.summary.model or row.summary.last_checkpoint)


def registered(row: RunRow) -> str:
    """`name:version` of the model that a run left in Azure; empty where there is none."""
    model = str(row.summary.model or "")
    return model.removeprefix(IN_AZURE) if model.startswith(IN_AZURE) else ""


def _stop_question(row: RunRow) -> tuple[str, str, str]:
    """Question, what is kept and lost, and the words of the answer."""
    name = one_line(row.name)
    if row.backend == "azure":
        return (
            f"Cancel {name} in Azure?",
            "What it has trained so far is not kept, what it has used is charged. Resuming it sends a new job.",
            "Cancel it",
        )
    if row.state in ("paused", "lost"):
        kept = f"Its checkpoint of step {count(row.summary.last_checkpoint_step)} is kept."
        if not row.summary.last_checkpoint:
            kept = "It has no checkpoint yet, so nothing trained is kept."
        return (f"Stop {name}?", f"It is {row.state}. {kept} It can be resumed later.", "Stop it")
    left = f", {count(row.total_steps - row.step)} of {count(row.total_steps)} steps are left"
    return (
        f"Stop {name} after step {count(row.step)}?",
        "A checkpoint and the model are written first and kept; it can be resumed later"
        f"{left if row.total_steps else ''}.",
        "Stop it",
    )
