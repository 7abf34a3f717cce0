"""What the monitor shows of a run in Azure beside its events: the job, its page, and a code that waits to be typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from core.errors import FinetuiError
from tui.format import one_line
from tui.screens.monitor_actions import MonitorActions
from tui.widgets.signin import SignIn

if TYPE_CHECKING:
    from core.azure.record import Record
    from core.runs.rows import RunRow

AZURE = "azure"
NO_SAMPLES = "None yet: they come with each evaluation; a asks for one now."
NO_SAMPLES_THERE = "Azure gives none while it trains: chat with the model once it is deployed."
CODE_KEYS = {True: "y copies it; the job goes on meanwhile", False: "y copies it; no job is sent before"}
"""By whether there is a job."""


class MonitorAzure(MonitorActions):
    """The monitor with a line about the job."""

    def __init__(self) -> None:
        super().__init__()
        self.sign_in = SignIn(id="sign-in")
        self.job_line = Static("", id="job", markup=False)

    @property
    def code(self) -> str:
        """The code that the run waits for, or empty."""
        waits = self.story.sign_in
        return waits.code if waits is not None and self.row is not None and self.row.active else ""

    def about(self, row: RunRow, device: str) -> str:
        """Model and place."""
        if row.backend != AZURE:
            return f"{row.model}{f' on {device}' if device else ''}"
        from core.azure.account import note

        return f"Azure{f' ({note()})' if note() else ''}: {row.model}"

    def remedy(self, text: str) -> str:
        """What to do about a run's trouble; of one in Azure by keys."""
        from tui.azure_text import from_run

        return from_run(text) if self.row is not None and self.row.backend == AZURE else text

    def show_remote(self) -> None:
        """Bring the job's line and the code up to date."""
        waits = self.story.sign_in
        record = _record(self.row)
        self.sign_in.show(waits.url if waits else "", self.code, CODE_KEYS[record is not None])
        empty = NO_SAMPLES_THERE if self.row is not None and self.row.backend == AZURE else NO_SAMPLES
        if empty != self.samples.empty:
            self.samples.empty = empty
            self.samples.refresh()
        self.set_class(record is not None, "-remote")
        self.set_class(bool(self.code), "-code")
        if record is not None:
            words = ("job", record.job, "· y copies it and its page ·", record.studio)
            self.job_line.update(Content(one_line(" ".join(words))))

    def remote_lines(self) -> list[str]:
        """What `y` copies of the job."""
        record = _record(self.row)
        if record is None:
            return []
        parts = (("job", record.job), ("page", record.studio), ("model", record.registered))
        return [f"{name} {text}" for name, text in parts if text]

    def action_copy(self) -> None:
        """The code while one waits; else the run's figures."""
        if self.code:
            self.finetui.copy(self.code)
        else:
            super().action_copy()


def _record(row: RunRow | None) -> Record | None:
    """What the run knows of its job; None for one on this machine, and before there is a job."""
    if row is None or row.backend != AZURE:
        return None
    from core.azure.record import read

    try:
        found = read(row.directory)
    except FinetuiError:  # damaged: its worker says so
        return None
    return found if found is not None and found.submitted else None
