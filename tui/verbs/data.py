"""`finetui data open|check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tui.verbs.output import EXIT_USER, errors_told, out, out_json, say

if TYPE_CHECKING:
    from core.data.problems import Problem


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    data = typer.Typer(help="Look at data files and check them.", no_args_is_help=True, rich_markup_mode=None)
    data.command("open")(open_file)
    data.command("check")(check)
    app.add_typer(data, name="data")


def open_file(
    file: Annotated[Path, typer.Argument(help="A file of conversations.", show_default=False)],
) -> None:
    """Open the app on a file."""
    from tui.app import FinetuiApp

    FinetuiApp(mode="data", file=file).run()


def check(
    files: Annotated[list[Path], typer.Argument(help="Files of conversations.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what is wrong, by file and line, with a fix. Exits with 2 when there are errors."""
    with errors_told():
        found = [problem for file in files for problem in _problems(file)]
        if json:
            out_json([problem.as_dict() for problem in found])
        for problem in found if not json else ():
            out(f"{problem}  [{problem.code}]")
            if problem.fix:
                out(f"    -> {problem.fix}")
        errors = sum(problem.severity == "error" for problem in found)
        say(f"{errors} errors, {len(found) - errors} warnings in {len(files)} files")
        raise typer.Exit(EXIT_USER if errors else 0)


def _problems(file: Path) -> list[Problem]:
    """What is wrong with a file; one that can't be read has one problem and hides none of the others."""
    from core.data.check import check_file
    from core.data.problems import DataError

    try:
        return list(check_file(file))
    except DataError as error:
        return [error.problem]
