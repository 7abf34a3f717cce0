"""`finetui deployments|undeploy|logs`: the deployments of this machine, their state, keys and requests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import FinetuiError
from tui.format import ago, size
from tui.verbs.output import errors_told, interactive, out, out_json, say

if TYPE_CHECKING:
    from core.serving.deployments import Deployment
    from core.serving.request_log import Entry
    from core.serving.watch import Summary

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the deployment.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Trash = Annotated[bool, typer.Option("--trash", help="Removed ones, kept for 30 days.")]

FOLLOW_S = 0.5


class AskedError(FinetuiError):
    """What was asked of a deployment can't be done."""


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("undeploy")(undeploy)
    app.command("logs")(logs)
    room = typer.Typer(
        invoke_without_command=True, no_args_is_help=False, help="List deployments, or change one."
    )
    room.callback()(_default)
    for name, verb in (
        ("list", listed), ("show", show), ("key", key), ("start", start), ("stop", stop), ("restart", restart),
        ("restore", restore),
    ):  # fmt: skip
        room.command(name)(verb)
    app.add_typer(room, name="deployments")


def tell_check(found: dict[str, Any]) -> None:
    """What the check against the base said."""
    from core.serving.regression import sentence

    for model, result in found.items():
        say(f"{model}: {sentence(result)}")


def wait(name: str) -> None:
    """Say how the models load, until they have or one can't."""
    from core.serving import deployments

    told: dict[str, str] = {}
    try:
        while True:
            here = deployments.find(name)
            for model, found in here.upstreams.items():
                if told.get(model) != found["state"]:
                    told[model] = found["state"]
                    say(f"{model} is {found['state']}" + (f": {found['reason']}" if found["reason"] else ""))
            if here.state != "starting":
                break
            time.sleep(0.2)
    except KeyboardInterrupt:
        say(f"Not waiting any longer; `finetui deployments show {name}` tells how it is.")
        return
    say(f"{name} is {here.state}" + (f": {here.reason}" if here.reason else ""))
    if here.state == "failed":
        raise AskedError(f"{name} failed.", here.reason, here.next_step)


def undeploy(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask, in a terminal.")] = False,
    json: Json = False,
) -> None:
    """Stop a deployment and move it to the trash, where it stays for 30 days. Its runs stay."""
    from core.serving import deployments, trash
    from tui.deployment_text import dependents_lines

    with errors_told():
        here = deployments.find(name)
        found = trash.dependents(here.name)
        for line in dependents_lines(found):
            say(line)
        lost = f"{here.url} gives no answer then. `finetui deployments restore {here.name}` brings it back."
        if interactive() and not yes and not typer.confirm(f"Remove {here.name}? {lost}", err=True):
            raise typer.Exit(0)
        gone = trash.remove(here.name)
        say(
            f"{here.name} is in the trash for 30 days; `finetui deployments restore {here.name}` brings it back. "
            f"Its {size(gone.bytes)} are freed then, or now with `finetui clean deployment:{gone.id} --yes`"
        )
        if json:
            out_json({**gone.as_data(), "dependents": found.as_data()})


def _default(context: typer.Context, trash: Trash = False, json: Json = False) -> None:
    """List deployments, or change one."""
    if context.invoked_subcommand is None:
        listed(trash, json)


def listed(trash: Trash = False, json: Json = False) -> None:
    """List the deployments, newest first."""
    from core.serving import deployments
    from core.serving.trash import sweep

    with errors_told():
        sweep()
        if trash:
            _list_removed(json)
            return
        found = deployments.all_deployments()
        if json:
            out_json([item.as_data() for item in found])
            return
        if not found:
            say("No deployments yet. `finetui deploy RUN` makes one.")
        for item in found:
            models = ", ".join(model.name for model in item.models)
            out(
                f"{item.name:<24} {item.state:<9} {item.url:<30} {models}  {ago(item.created, time.time())}"
                + (f"\n  {item.reason}" if item.reason else "")
            )


def _list_removed(json: bool) -> None:
    from core.serving.trash import all_removed

    found = all_removed()
    if json:
        out_json([item.as_data() for item in found])
        return
    if not found:
        say("No removed deployments.")
    for item in found:
        left = f"kept for {item.left_s / 86400:.0f} more days"
        models = ", ".join(item.models)
        out(f"{item.id:<36} {size(item.bytes):>8}  {ago(item.removed, time.time())}, {left}  {models}")


def restore(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Of the deployment, or its id in the trash.", show_default=False),
    ],
    json: Json = False,
) -> None:
    """Bring a removed deployment back, with its key and its request log; it is stopped."""
    from core.serving import trash

    with errors_told():
        here = trash.restore(name)
        say(f"{here.name} is back; `finetui deployments start {here.name}` starts it")
        if json:
            out_json(here.as_data())


def show(
    name: Name,
    hours: Annotated[float, typer.Option(min=0, help="Sum up the requests of so many hours; 0 all.")] = 24.0,
    json: Json = False,
) -> None:
    """How a deployment is and what it has done."""
    from core.serving import deployments, watch

    with errors_told():
        here = deployments.find(name)
        since = time.time() - hours * 3600 if hours else 0.0
        found = watch.summary(here.directory, here.settings, since)
        if json:
            out_json({**here.as_data(), "summary": found.as_data()})
            return
        out(f"{here.name} is {here.state}" + (f": {here.reason}" if here.reason else ""))
        out(f"  address     {here.url}   socket {here.socket}")
        for model in here.models:
            state = here.upstreams.get(model.name, {}).get("state", "not running")
            out(f"  model       {model.name}  {model.kind} of {model.run}, base {model.base}  {state}")
        kept = "kept" if here.settings.keep_texts else "not kept"
        out(f"  safety      {here.settings.safety['kind']}; texts are {kept}")
        _tell_summary(found, hours)
        tell_check(here.settings.regression or {})


def _tell_summary(found: Summary, hours: float) -> None:
    over = f"in {hours:g} h" if hours else "in all"
    out(
        f"  requests    {found.requests} {over}, {found.errors} errors, {found.blocked} blocked, "
        f"{found.left} left by their client"
    )
    for title, spread in (("first token", found.first_token_ms), ("per token", found.per_token_ms)):
        if spread.p50 is not None:
            out(f"  {title:<11} p50 {spread.p50:.1f} ms, p95 {spread.p95:.1f} ms")
    cost = f", {found.cost_usd:.4f} USD" if found.cost_usd is not None else ""
    out(f"  tokens      {found.prompt_tokens} read, {found.completion_tokens} written{cost}")
    if found.flagged:
        flags = ", ".join(f"{flag} {count}" for flag, count in found.flags.items())
        out(f"  unlike      {found.flagged} prompts unlike the training data: {flags}")
    for category, count in found.categories.items():
        out(f"  blocked     {category}: {count}")
    for error, count in found.turned_away.items():
        out(f"  turned away {error}: {count}")


def key(
    name: Name,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make another key; the old one ends at once.")
    ] = False,
    json: Json = False,
) -> None:
    """Make another key for a deployment. The present one can't be shown: only its hash is kept."""
    from core.serving import deployments

    with errors_told():
        if not rotate:
            raise AskedError(
                f"The key of {name} can't be shown.",
                "Only its hash is kept.",
                f"`finetui deployments key {name} --rotate` makes another; the old one ends at once.",
            )
        fresh = deployments.rotate_key(name)
        if json:
            out_json({"name": name, "key": fresh})
        else:
            out(fresh)
        say("The key is not shown again.")


def start(name: Name, json: Json = False) -> None:
    """Start a stopped or failed deployment."""
    _change(name, "start", json)


def stop(name: Name, json: Json = False) -> None:
    """Stop a deployment; streams that run may end first."""
    _change(name, "stop", json)


def restart(name: Name, json: Json = False) -> None:
    """Stop a deployment and start it again."""
    _change(name, "restart", json)


def _change(name: str, verb: str, json: bool) -> None:
    from core.serving import deployments

    with errors_told():
        here = getattr(deployments, verb)(name)
        if verb == "stop":
            say(f"{name} is {here.state}")
        else:
            wait(name)
        if json:
            out_json(deployments.find(name).as_data())


def logs(
    name: Name,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="The last so many requests.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those that come.")] = False,
    rows: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Append the chats among them, where texts are kept, to a file of training rows.",
            show_default=False,
        ),
    ] = None,
    request: Annotated[
        list[int] | None,
        typer.Option(metavar="ID", help="With --rows: only these, by their numbers.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one line a request.")] = False,
) -> None:
    """The requests of a deployment, one line each."""
    from core.serving import deployments, request_log

    with errors_told():
        here = deployments.find(name)
        directory = here.directory
        if rows is not None:
            _collect(here, rows, lines, request, json)
            return
        found = request_log.entries(directory, limit=lines, newest=True)
        for entry in found:
            _tell_request(entry, json)
        last = found[-1].id if found else _newest(directory)
        try:
            while follow:
                time.sleep(FOLLOW_S)
                for entry in request_log.entries(directory, after=last):
                    _tell_request(entry, json)
                    last = entry.id
        except KeyboardInterrupt:
            return


def _collect(here: Deployment, path: Path, lines: int, wanted: list[int] | None, json: bool) -> None:
    """Append kept chats to a file of training rows."""
    from core.serving import request_log
    from core.serving.rows import append_row, row_of

    found = request_log.kept_chats(here.directory, limit=len(wanted) if wanted else lines, ids=wanted)
    missing = sorted(set(wanted or ()) - {entry.id for entry in found})
    if missing or not found:
        ids = ", ".join(map(str, missing))
        texts = (
            ""
            if here.settings.keep_texts
            else f" {here.name} keeps no texts (`finetui deploy --keep-texts`)."
        )
        raise AskedError(
            f"There is no kept chat of request {ids}." if missing else "There are no kept chats.",
            f"Only chats that were answered to their end, with their texts kept, make rows.{texts}",
            f"`finetui logs {here.name} --json` shows what is kept.",
        )
    for entry in found:
        number = append_row(path, row_of(entry))
    say(f"{len(found)} row{'' if len(found) == 1 else 's'} appended to {path}, which has {number} now")
    if json:
        out_json({"path": str(path), "appended": [entry.id for entry in found], "rows": number})


def _newest(directory: Path) -> int:
    """Id of a log's last entry; 0 where it is empty."""
    from core.serving import request_log

    newest = request_log.entries(directory, limit=1, newest=True)
    return newest[-1].id if newest else 0


def _tell_request(entry: Entry, json: bool) -> None:
    if json:
        out_json(entry.as_data())
        return
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at))
    parts = [f"{entry.id:>6}", when, str(entry.status), f"{entry.model or '-':<24}", f"{entry.kind:<10}"]
    if entry.prompt_tokens is not None:
        parts.append(f"{entry.prompt_tokens}+{entry.completion_tokens} tokens")
    if entry.first_token_ms is not None:
        parts.append(f"first {entry.first_token_ms:.0f} ms")
    parts.append(f"{entry.duration_ms:.0f} ms")
    parts += [
        word for word in (entry.error, f"{entry.blocked}: {entry.category}" if entry.blocked else "") if word
    ]
    if entry.flags:
        parts.append(f"unlike the training data: {entry.flags}")
    out("  ".join(parts))
    for text in (entry.prompt, entry.completion):
        if text:
            out(f"    {text}")
