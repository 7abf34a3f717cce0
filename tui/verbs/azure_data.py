"""`finetui azure data`: the project's data assets, and what is in one."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tui.format import ago, count
from tui.verbs.azure_text import connected
from tui.verbs.output import errors_told, out, out_json, say

SHOWN = 20


def register(azure: typer.Typer) -> None:
    """Add the verb."""
    azure.command("data")(data)


def data(
    asset: Annotated[
        str, typer.Argument(metavar="NAME:VERSION", help="Look into this one.", show_default=False)
    ] = "",
    task: Annotated[str, typer.Option(help="What its rows are for: chat or completion.")] = "chat",
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write its rows here too.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the project's data assets; with a name, check that one's rows by Azure's rules. Ends with 2 if some can't
    be used.

    A recipe takes an asset as it is: `data: azureml:NAME:VERSION`, or `finetui azure submit azureml:NAME:VERSION`.
    """
    from core.azure import assets
    from core.azure.faults import AzureError
    from core.azure.settings import TASKS

    with errors_told():
        if task not in TASKS:
            raise AzureError(f"--task is {task}.", "", f"Use {' or '.join(TASKS)}.")
        if save is not None and save.exists():
            raise AzureError(f"{save} is there already.", "", "Name another file, or delete it.")
        azure = connected()
        if not asset:
            _tell_all(assets.listed(azure), json)
            return
        looked = assets.look(azure, f"azureml:{asset.removeprefix('azureml:')}", task)
        if save is not None:
            if looked.file is None:
                raise AzureError(f"The rows of {looked.asset.ref} can't be had.", looked.why, "")
            try:
                shutil.copyfile(looked.file, save)
            except OSError as error:
                raise AzureError(
                    f"{save} can't be written.", error.strerror or "", "Name another file."
                ) from error
            say(f"{save} has its rows.")
        _tell(looked, json)
        raise typer.Exit(2 if looked.faults else 0)


def _tell_all(found: list[Any], json: bool) -> None:
    if json:
        out_json([asdict(item) for item in found])
        return
    for item in found:
        when = ago(item.created, time.time()) if item.created else "-"
        made = f"run {item.run}" if item.run else item.description
        out(f"{item.ref:<64} {item.kind:<11} {when:<12} {made}")
    if not found:
        say("The project has no data assets.")


def _tell(looked: Any, json: bool) -> None:
    if json:
        faults = [{"line": line, "why": why} for line, why in looked.faults]
        out_json({"asset": asdict(looked.asset), "rows": looked.rows, "why": looked.why, "faults": faults})
        return
    if looked.why:
        out(f"{looked.asset.ref}: {looked.why}")
        return
    for line, why in looked.faults[:SHOWN]:
        out(f"error    line {line}: {why}")
    if len(looked.faults) > SHOWN:
        out(f"         and {count(len(looked.faults) - SHOWN)} more")
    out(f"{looked.asset.ref}: {count(looked.rows)} rows, {count(len(looked.faults))} can't be used")
