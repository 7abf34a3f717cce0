"""`finetui runs|show|watch|stop|pause|resume|set|rename|delete|restore`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from core.runs import supervisor
from core.runs.directory import RunDirectory
from core.runs.rows import RunRow
from core.runs.trash import delete_checkpoint, folder_bytes, sweep
from core.serving import lineage
from tui.format import ago, size
from tui.rundetails import dependents_lines
from tui.verbs.output import errors_told, interactive, out, out_json, say

Ref = Annotated[
    str, typer.Argument(metavar="RUN", help="Id, the beginning of an id, or name.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CANCEL_S = 20.0
"""Azure may take minutes to cancel a job, and can't be asked at all without a network: nobody waits for that here."""


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("runs")(runs)
    app.command("show")(show)
    app.command("watch")(watch)
    app.command("stop")(stop)
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("set")(change)
    app.command("rename")(rename)
    app.command("delete")(delete)
    app.command("restore")(restore)


def as_data(row: RunRow) -> dict[str, Any]:
    """A run for JSON."""
    content = asdict(row)
    del content["summary"]
    return {**content, "directory": str(row.directory)}


def runs(
    json: Json = False,
    trash: Annotated[bool, typer.Option("--trash", help="Deleted runs, kept for 30 days.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make the list anew from the run directories.")
    ] = False,
) -> None:
    """List the runs, newest first."""
    with errors_told():
        if rebuild:
            supervisor.rebuild()
        sweep()
        rows = supervisor.list_runs(trash=trash)
        for notice in supervisor.notices():
            say(notice)
        if json:
            out_json([as_data(row) for row in rows])
            return
        if not rows:
            say(
                "No deleted runs."
                if trash
                else "No runs yet. `finetui demo` makes one; `finetui train FILE` yours."
            )
        for row in rows:
            out(_line(row))


def _line(row: RunRow) -> str:
    loss = f"{row.eval_loss:.4f}" if row.eval_loss is not None else "-"
    step = f"{row.step}/{row.total_steps}" if row.total_steps else str(row.step)
    device = row.device.partition(":")[0]
    return (
        f"{row.id:<28} {row.state:<9} {step:>11}  eval {loss:>7}  {device:<4}  {row.model}"
        f"  {ago(row.created, time.time())}"
    )


def watch(
    ref: Ref,
    json: Json = False,
    plain: Annotated[bool, typer.Option(help="Lines instead of the app.")] = False,
) -> None:
    """Watch a run: in the app's monitor, or as plain lines where there is no terminal."""
    with errors_told():
        row = supervisor.get(ref)
        if interactive() and not plain and not json:
            from tui.app import FinetuiApp

            FinetuiApp(mode="monitor", run=row.id).run()
            return
        from tui.verbs.follow import follow

        raise typer.Exit(follow(row.id, json=json))


def stop(ref: Ref, json: Json = False) -> None:
    """Stop a run after its present step; a checkpoint and the model are kept. A job in Azure is cancelled."""
    with errors_told():
        remote = supervisor.get(ref).backend == "azure"
    if remote:
        _change(supervisor.stop, ref, json, "stopped", "stopping: the job is cancelled", CANCEL_S)
    else:
        _change(supervisor.stop, ref, json, "stopped", "stopping: it writes a checkpoint and the model first")


def pause(ref: Ref, json: Json = False) -> None:
    """Pause a run: it writes a checkpoint and leaves, so that its device is free."""
    _change(supervisor.pause, ref, json, "paused", "pausing: it writes a checkpoint first")


def resume(
    ref: Ref,
    json: Json = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Don't ask before a new job in Azure is paid for.")
    ] = False,
) -> None:
    """Go on with a paused, stopped, failed or lost run from its last checkpoint.

    A run in Azure watches its job again; where that has failed or was cancelled, a new one is sent and paid for.
    """
    from tui.azure_job_text import new_job
    from tui.verbs.azure_text import confirm

    with errors_told():
        if told := new_job(supervisor.get(ref)):
            supervisor.get(ref, whole=True)
            say(told)
            confirm(yes, "Send a new job?")
    _change(supervisor.resume, ref, json, "", f"goes on; `finetui watch {ref}` shows it")


def change(
    ref: Ref,
    name: Annotated[
        str,
        typer.Argument(
            metavar="DIAL", help="learning_rate, evaluate_every or stop_after.", show_default=False
        ),
    ],
    value: Annotated[str, typer.Argument(help="A number; for stop_after also `end`.", show_default=False)],
    json: Json = False,
) -> None:
    """Change a setting of a run while it goes, from its next step on."""
    from core.training.dials import checked, refuse_past

    with errors_told():
        found = checked(name, value)
        row = supervisor.get(ref)
        if name == "stop_after" and found is not None:
            refuse_past(found, row.summary.step)
        supervisor.ask(row.id, "change", name=name, value=found)
        say(f"{row.id} has {name} {value} from its next step on")
        if json:
            out_json({"run": row.id, "name": name, "value": found})


def show(ref: Ref, json: Json = False) -> None:
    """Show one run: state and figures, its data and base model, runs before and after it, deployments, its size."""
    from tui.rundetails import details

    with errors_told():
        row = supervisor.get(ref)
        run = RunDirectory(row.directory)
        found, taken = lineage.of(run), folder_bytes(run.path)
        kept = [{"step": item.step, "bytes": item.bytes} for item in run.checkpoints()]
        if json:
            content = {**as_data(row), "bytes": taken, "checkpoints": kept, "lineage": found.as_dict()}
            out_json(content)
            return
        out(f"{row.id}  {row.name}  {row.state}")
        for paragraph in details(row, time.time(), found):
            out(paragraph.head + paragraph.text)
        steps = ", ".join(str(item["step"]) for item in kept)
        out(f"disk    {size(taken)}" + (f", checkpoints {steps}" if steps else ""))


def delete(
    ref: Ref,
    json: Json = False,
    checkpoint: Annotated[
        int | None,
        typer.Option(
            "--checkpoint", metavar="STEP", help="Only this checkpoint, for good.", show_default=False
        ),
    ] = None,
    even_best: Annotated[
        bool, typer.Option("--even-best", help="Also the checkpoint with the lowest validation loss.")
    ] = False,
) -> None:
    """Move a run to the trash, where it stays for 30 days; or delete one of its checkpoints for good.

    Refused while a deployment serves it. A checkpoint that the run would go on from stays.
    """
    with errors_told():
        if checkpoint is not None:
            row = supervisor.get(ref)
            freed = delete_checkpoint(row.id, checkpoint, even_best)
            say(f"The checkpoint of step {checkpoint} of {row.id} is gone; {size(freed)} freed")
            if json:
                out_json({"run": row.id, "checkpoint": checkpoint, "freed_bytes": freed})
            return
        found = lineage.dependents(RunDirectory(supervisor.get(ref).directory))
        row = supervisor.delete(ref)
        say(
            f"{row.id} is in the trash for 30 days; `finetui restore {ref}` brings it back. "
            f"Its {size(found.bytes)} are freed then, or now with `finetui clean trash:{row.id} --yes`"
        )
        for line in dependents_lines(found):
            say(line)
        if json:
            out_json({**as_data(row), "dependents": found.as_dict()})


def restore(ref: Ref, json: Json = False) -> None:
    """Bring a run back from the trash."""
    _change(supervisor.restore, ref, json, "", "is back")


def rename(
    ref: Ref,
    name: Annotated[str, typer.Argument(help="The new name.", show_default=False)],
    json: Json = False,
) -> None:
    """Give a run another name; its id stays."""
    _change(lambda given: supervisor.rename(given, name), ref, json, "", f"is now called {name}")


def _change(verb: Any, ref: str, json: bool, until: str, words: str, longest_s: float | None = None) -> None:
    """Do it, say so, and wait for what takes a moment; of what Azure has to do not longer than `longest_s`."""
    with errors_told():
        row = verb(ref)
        say(f"{row.id} {words}")
        if until and row.state != until:
            try:
                row = _waited(row, longest_s)
            except KeyboardInterrupt:
                say(f"Not waiting any longer; it will be {until} all the same.")
            else:
                say(
                    _not_yet(row)
                    if row.active
                    else f"{row.id} is {row.state} at step {row.step}"
                    + (f" of {row.total_steps}" if row.total_steps else "")
                )
        if json:
            out_json(as_data(row))


def _waited(row: RunRow, longest_s: float | None) -> RunRow:
    """The run when it has ended, or as it is after the longest wait."""
    try:
        return supervisor.wait(row.id, timeout_s=longest_s)
    except supervisor.RunError:
        found = supervisor.get(row.id)
        if longest_s is None or not found.active:
            raise
        return found


def _not_yet(row: RunRow) -> str:
    """Of a run in Azure whose cancelling takes longer than one waits for it."""
    from core.azure.jobs import ASKED_TO_CANCEL, IN_WORDS

    if row.phase in (ASKED_TO_CANCEL, IN_WORDS["CancelRequested"]):
        return f"Azure cancels the job and takes its time; `finetui watch {row.id}` shows when it is done."
    return (
        "The cancel has not reached Azure yet: the job goes on there, and costs, until it does. "
        f"The run's worker keeps trying; `finetui watch {row.id}` shows how it goes."
    )
