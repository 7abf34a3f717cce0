"""`finetui azure submit|jobs|attach|cancel|logs`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tui.format import ago
from tui.verbs.azure_text import connected
from tui.verbs.output import errors_told, out, out_json, say
from tui.verbs.train import train, with_settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Job = Annotated[str, typer.Argument(metavar="JOB", help="Name of the job in Azure.", show_default=False)]


def register(azure: typer.Typer) -> None:
    """Add the verbs."""
    azure.command("submit")(with_settings(submit))
    azure.command("jobs")(jobs)
    azure.command("attach")(attach)
    azure.command("cancel")(cancel)
    azure.command("logs")(logs)


def submit(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECIPE.yaml | DATA...", help="A recipe, or files of rows.", show_default=False
        ),
    ],
    detach: Annotated[bool, typer.Option("--detach", help="Start it and return at once.")] = False,
    app: Annotated[bool, typer.Option("--app", help="Open the app on it.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say what is wrong and what it costs.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    **settings: Any,
) -> None:
    """Train in Azure: `finetui train` with `backend: azure`, whatever the recipe says."""
    train(files, detach=detach, app=app, check=check, json=json, **{**settings, "backend": "azure"})


def jobs(json: Json = False) -> None:
    """List the project's fine-tuning jobs, newest first; those of finetui name their run."""
    from core.azure import jobs as service
    from core.azure import plain

    with errors_told():
        found = service.jobs(connected())
        if json:
            out_json([plain.job(item) for item in found])
            return
        for item in found:
            model = item.model.partition("/models/")[2].partition("/")[0]
            when = ago(item.created, time.time()) if item.created else "-"
            out(f"{item.name:<40} {item.words:<18} {model:<24} run {item.run or '-'}  {when}")
            if item.studio:
                out(f"  {item.studio}")
        if not found:
            say("No fine-tuning jobs.")


def attach(
    job: Job,
    detach: Annotated[bool, typer.Option("--detach", help="Start watching and return at once.")] = False,
    json: Json = False,
) -> None:
    """Watch a job as a run of this machine, also one that was sent from another."""
    from core.azure.attach import reconstruct
    from core.runs import attaching
    from tui.verbs.follow import follow
    from tui.verbs.runs import as_data

    with errors_told():
        row = attaching.watching(job)
        if row is None:
            row = attaching.adopt(*reconstruct(connected(), job))
        say(f"{row.id} watches {job}; `finetui watch {row.id}` comes back to it.")
        if not detach:
            raise typer.Exit(follow(row.id, json=json))
        if json:
            out_json(as_data(row))
        else:
            out(row.id)


def cancel(job: Job, json: Json = False) -> None:
    """Cancel a job. For one of a run here `finetui stop RUN` does the same."""
    from core.azure import jobs as service
    from core.azure import plain
    from core.azure.faults import AzureError

    with errors_told():
        azure = connected()
        found = service.get(azure, job)
        if found.ended:
            raise AzureError(
                f"There is nothing to cancel: {job} is {found.words}.",
                "",
                "`finetui azure jobs` lists those that go on.",
                code="ended",
            )
        service.cancel(azure, job)
        found = service.get(azure, job)
        say(f"{job} is {found.words}")
        if json:
            out_json(plain.job(found))


def logs(job: Job, json: Json = False) -> None:
    """Print a job's logs."""
    from core.azure import jobs as service

    with errors_told():
        found = list(service.logs(connected(), job))
        if json:
            out_json([{"name": name, "text": text} for name, text in found])
            return
        for name, text in found:
            say(f"== {name}")
            out(text.rstrip())
        if not found:
            say(f"{job} has no logs yet.")
