"""What the page of Azure's jobs lists. No widgets are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tui.azure_lists import details
from tui.azure_text import sign
from tui.format import NONE, ago, money, one_line, visible
from tui.states import State
from tui.widgets.table import Row
from tui.widgets.textpane import Paragraph

if TYPE_CHECKING:
    from core.runs.rows import RunRow

Plain = dict[str, Any]

JOBS: dict[str, State] = {
    "Running": State("●", "*", "", "text-success"),
    "Completed": State("✓", "+", "", "text-success"),
    "Failed": State("✗", "x", "", "text-error"),
    "Canceled": State("■", "#", "", "text-warning"),
    "CancelRequested": State("■", "#", "", "text-warning"),
    "NotResponding": State("!", "!", "", "text-warning"),
    "Paused": State("‖", "=", "", "text-warning"),
}
"""Signs of a job's statuses; its words are core's."""
UNDER_WAY = State("◔", ">", "", "text-accent")


def job_state(job: Plain) -> tuple[State, str]:
    """How a job is shown: its state, sign and words."""
    state = JOBS.get(job["status"], UNDER_WAY)
    return state, f"{sign(state).strip()} {one_line(job['words'])}"


def job_rows(jobs: Sequence[Plain], here: dict[str, str], now: float) -> list[Row]:
    """The jobs as rows of a table.

    Args:
        jobs: as the worker tells them.
        here: ids of this machine's runs by their job.
        now: in UTC seconds.
    """
    rows = []
    for job in jobs:
        state, words = job_state(job)
        cells = {
            "title": one_line(job["title"] or job["name"]),
            "state": words,
            "model": one_line(_base(job)),
            "by": one_line(job["by"]) or NONE,
            "run": "a run" if job["name"] in here else NONE,
            "made": ago(job["created"], now) if job["created"] else NONE,
        }
        rows.append(Row(job["name"], cells, {"state": state.colour}))
    return rows


def _base(job: Plain) -> str:
    """The base model's name, without registry and version."""
    return str(job["model"]).partition("/models/")[2].partition("/")[0] or NONE


def job_details(job: Plain, run: str, now: float) -> list[Paragraph]:
    """Everything that is known of a job."""
    state, words = job_state(job)
    there = f"the run {run}: enter goes to it"
    sent = f"{ago(job['created'], now)} by {job['by'] or 'somebody'}" if job["created"] else "unknown when"
    sent += f", for the run {job['run']}" if job["run"] else ", not by finetui"
    settings = ", ".join(f"{name} {value}" for name, value in job["hyperparameters"].items())
    return details(
        [
            ("state", words, {"text-error": "error", "text-warning": "warning"}.get(state.colour, "")),
            ("here", there if run else "no run yet: enter makes one, and fetches the job's rows", "strong"),
            ("sent", sent, ""),
            ("model", f"{_base(job)}, tuned as {job['output'] or 'nothing yet'}", ""),
            ("settings", settings or "the service's own", ""),
            ("page", job["studio"], "muted"),
            *(("rows", item.rpartition("/providers/")[2] or item, "muted") for item in job["inputs"]),
        ]
    )


def log_lines(logs: Sequence[Plain]) -> list[Paragraph]:
    """A job's logs, one after the other."""
    if not logs:
        return [Paragraph("Azure has no logs of it yet.", "muted")]
    found: list[Paragraph] = []
    for log in logs:
        found += [
            Paragraph(visible(log["name"]), "strong"),
            Paragraph(visible(log["text"], lines=True)),
            Paragraph(""),
        ]
    return found


def new_job(row: RunRow) -> str:
    """What to know before a run is resumed by another job in Azure; empty where none is sent.

    Raises:
        AzureError: what the run knows of its job is damaged.
    """
    if row.backend != "azure" or row.active or row.state == "finished":
        return ""
    from core.azure.jobs import ENDED, IN_WORDS
    from core.azure.record import read

    record = read(row.directory)
    if record is None or record.status not in ENDED[1:]:
        return ""
    cost = row.summary.cost_usd
    price = "what it costs is unknown" if cost is None else f"the first was priced at about {money(cost)}"
    return (
        f"The job {record.job} is over ({IN_WORDS[record.status]}): a new one is sent, trains from the beginning and "
        f"is paid for anew; {price}."
    )
