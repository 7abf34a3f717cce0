"""`finetui models list|fetch`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from core.catalog import entries
from core.catalog.fetch import resolve
from tui.verbs.output import errors_told, out, out_json


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    models = typer.Typer(
        help="The models finetui knows by name.", no_args_is_help=True, rich_markup_mode=None
    )
    models.command("list")(list_models)
    models.command("fetch")(fetch)
    app.add_typer(models, name="models")


def list_models(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the catalogue; `*` marks what is on this machine."""
    with errors_told():
        found = [(entry, resolve(entry.id).folder) for entry in entries()]
        if json:
            out_json([{**asdict(entry), "folder": folder} for entry, folder in found])
            return
        for entry, folder in found:
            size = f"{entry.parameters / 1e9:.2f} B"
            gated = "  gated" if entry.gated else ""
            out(
                f"{'*' if folder else ' '} {entry.id:<26} {size:>9}  {entry.context:>7} tokens  {entry.licence}{gated}"
            )


def fetch(
    model: Annotated[str, typer.Argument(help="Catalogue id, or hub id (owner/name).", show_default=False)],
) -> None:
    """Get a model onto this machine; an interrupted download is taken up again. Prints its folder."""
    command = [sys.executable, "-P", "-m", "core.catalog.fetch", model]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
