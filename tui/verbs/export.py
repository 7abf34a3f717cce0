"""`finetui export|push`: a run's model as a folder for other programs, or on the Hugging Face hub."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from tui.verbs.output import errors_told, out, out_json, say

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="Id, the beginning of an id, or name.", show_default=False)
]
Step = Annotated[
    int | None,
    typer.Option(
        "--checkpoint", metavar="STEP", help="A checkpoint instead of the model.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("export")(export)
    app.command("push")(push)


def export(
    run: Run,
    to: Annotated[str, typer.Option(help="adapter, merged or ollama.", show_default=False)],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.", show_default=False)],
    checkpoint: Step = None,
    json: Json = False,
) -> None:
    """Write a run's model into a new folder: the adapter, merged weights, or a folder for Ollama."""
    from tui.exporting import KINDS, ChoiceError, find, new_folder

    with errors_told():
        if to not in KINDS:
            raise ChoiceError(f"--to is {to!r}.", "", f"Use {', '.join(KINDS)}.")
        what = find(run, checkpoint)
        result = _work("export", what, to=to, out=str(new_folder(str(folder))))
        _tell(result, result["path"], json)


def push(
    run: Run,
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Repository of the hub.", show_default=False)
    ],
    merged: Annotated[bool, typer.Option("--merged", help="Merged weights instead of the adapter.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Everybody may see it.")] = False,
    checkpoint: Step = None,
    json: Json = False,
) -> None:
    """Upload a run's model with a model card to the Hugging Face hub; private unless --public is given.

    The token comes from HF_TOKEN or `hf auth login`.
    """
    from tui.exporting import find

    with errors_told():
        to = "merged" if merged else "adapter"
        result = _work("push", find(run, checkpoint), to=to, repo=repo, public=public)
        _tell(result, result["url"], json)


def _work(op: str, what: Any, **arguments: Any) -> dict[str, Any]:
    from tui.exporting import work

    say(what.title)
    return asyncio.run(work(op, what, lambda phase: say(f"{phase} ..."), **arguments))


def _tell(result: dict[str, Any], where: str, json: bool) -> None:
    from tui.exporting import lines

    if json:
        out_json(result)
        return
    out(where)
    for line in lines(result):
        say(line)
