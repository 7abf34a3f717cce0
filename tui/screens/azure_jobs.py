"""The project's fine-tuning jobs, this machine's and others': watched here as a run, cancelled, their logs read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import time as now
from typing import Any

from textual import events, on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.errors import FinetuiError
from tui.actions import bindings
from tui.azure_job_text import job_details, job_rows, log_lines
from tui.azurework import Desk, Task
from tui.format import count, one_line
from tui.screens.azure_page import AzurePage
from tui.widgets.table import Column, Table
from tui.widgets.textpane import TextPane

Plain = dict[str, Any]
ASKING = "Asking Azure for the jobs ..."
NOT_SIGNED_IN = "The project is asked with your sign-in.\n\n[ [ goes to Get ready, where i signs in."
NONE_YET = (
    "No jobs.\n\nEvery fine-tuning job of the project is listed here, also those that were sent from other machines.\n"
    "esc goes to the form: a run in Azure sends one."
)


class AzureJobsScreen(AzurePage):
    """The jobs."""

    MODE = "azure_jobs"
    HELP = (
        "All fine-tuning jobs of the project, whoever sent them. enter watches one in the monitor: as the run that it "
        "is here, or as a new one, for which its recipe is read back and its rows are fetched to this machine. A job "
        "goes on whether or not somebody watches."
    )
    HOME = "#jobs"
    BINDINGS = bindings("azure_jobs")

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.empty = Static(ASKING, id="empty", markup=False)
        self.table = Table(
            (
                Column("title", "Job", 0),
                Column("state", "State", 18),
                Column("model", "Model", 26, from_width=100),
                Column("by", "Sent by", 26, from_width=130),
                Column("run", "Here", 9),
                Column("made", "Sent", 10),
            ),
            id="jobs",
        )
        self.details = TextPane("", follow=False, id="details")
        self.here: dict[str, str] = {}
        """Ids of this machine's runs by their job."""

    def compose_body(self) -> Iterable[Widget]:
        yield self.empty
        yield self.table
        yield self.details

    # -- the list

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        self._find_runs()

    @work(exclusive=True, group="runs")
    async def _find_runs(self) -> None:
        """See which jobs are runs of this machine by now."""
        self.here = await self.answer(asyncio.to_thread(_by_job)) or {}
        self.show()

    async def load(self) -> None:
        if self.desk.signed_in:
            self.desk.jobs = await self.answer(self.desk.ask("jobs"))
        self.show()

    def show(self) -> None:
        jobs = self.desk.jobs or []
        self.show_empty(not jobs)
        words = NONE_YET if self.desk.jobs == [] else ASKING
        self.empty.update(Content(words if self.desk.signed_in else NOT_SIGNED_IN))
        self.table.show(job_rows(jobs, self.here, now()), f"Jobs  {count(len(jobs))}")
        self._show_job()

    def job(self) -> Plain | None:
        """The one under the cursor."""
        return next((item for item in self.desk.jobs or () if item["name"] == self.table.chosen), None)

    @on(Table.Moved)
    def _show_job(self) -> None:
        job = self.job()
        if job is not None:
            self.details.title = one_line(job["name"])
            self.details.set_paragraphs(job_details(job, self.here.get(job["name"], ""), now()))
            self.details.show_titles()
        self.refresh_bindings()

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        job, free = self.job(), self.desk.task is None
        match action:
            case "look":
                return bool(self.desk.signed_in)
            case "watch":
                return job is not None and (free or job["name"] in self.here)
            case "cancel":
                return free and job is not None and not job["ended"]
            case "logs":
                return free and job is not None
            case "copy":
                return job is not None or bool(self.desk.code[1])
        return super().check_action(action, parameters)

    def action_look(self) -> None:
        self.desk.jobs = None
        self.show()
        self.begin()

    def copied(self) -> str:
        job = self.job()
        return "\n".join(filter(None, (job["name"], job["studio"]))) if job else ""

    @on(Table.Chosen)
    def _entered(self) -> None:
        if self.check_action("watch", ()):
            self.action_watch()

    @work(group="ask")
    async def action_watch(self) -> None:
        """Go to the job's run; one that was sent from elsewhere becomes a run here first."""
        from core.runs import attaching

        job = self.job()
        if job is None:
            return
        try:
            row = await asyncio.to_thread(attaching.watching, job["name"])
        except FinetuiError as error:
            self.problem.show_error(error)
            return
        if row is not None:
            self.finetui.open_run(row.id)
            return
        task = Task("attach", f"fetching recipe and rows of {one_line(job['name'])}")
        self.desk.begin(self.finetui, task, "attach", self._read, name=job["name"])

    def _read(self, found: Plain) -> None:
        self.finetui.run_worker(self._adopt(found), group="azure")

    async def _adopt(self, found: Plain) -> None:
        """Make a run of what was read, and go to it when this page is still looked at."""
        try:
            run_id = await asyncio.to_thread(_adopt, found)
        except FinetuiError as error:
            self.finetui.show_error(error)
            return
        self.finetui.notify(f"{run_id} watches the job; its rows are on this machine now.")
        if self.is_current:
            self.finetui.open_run(run_id)

    @work(group="ask")
    async def action_cancel(self) -> None:
        from tui.widgets.dialogs import Confirm

        job = self.job()
        if job is None:
            return
        loses = "What it has trained so far is not kept, what it has used is charged."
        title = one_line(job["title"] or job["name"])
        if await self.app.push_screen_wait(Confirm(f"Cancel {title} in Azure?", loses, "Cancel it")):
            task = Task("cancel", f"cancelling {one_line(job['name'])}")
            self.desk.begin(self.finetui, task, "cancel", self._cancelled, name=job["name"])

    def _cancelled(self, job: Plain) -> None:
        self.desk.forget_made()
        self.finetui.notify(f"{job['name']}: {job['words']}.")

    @work(group="ask")
    async def action_logs(self) -> None:
        """The job's logs in place of the list."""
        job = self.job()
        found = await self.answer(self.desk.ask("logs", name=job["name"])) if job else None
        if job is None or found is None:
            return
        self.details.title = f"Logs of {one_line(job['name'])}"
        self.details.set_paragraphs(log_lines(found))
        self.details.show_titles()
        if not self.has_class("-reading"):
            self.action_read()

    def close_overlay(self) -> None:
        """`esc` from the logs shows the job again."""
        super().close_overlay()
        if self.is_attached:
            self._show_job()


def _by_job() -> dict[str, str]:
    from core.runs import attaching

    return attaching.by_job()


def _adopt(found: Plain) -> str:
    """The id of the run that was made of what the worker's `attach` told."""
    from core.azure import account
    from core.azure.record import Record
    from core.recipe import build
    from core.runs import attaching

    made = Record(**{**found["record"], "account": account.of(found["record"]["account"])})
    return attaching.adopt(build(found["recipe"], f"the job {made.job}"), made).id
