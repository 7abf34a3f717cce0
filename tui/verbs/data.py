"""`finetui data open|check`, and the other verbs of data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tui.verbs import data_prepare, data_show
from tui.verbs.output import EXIT_USER, errors_told, out, out_json, say

if TYPE_CHECKING:
    from core.data.check import Check
    from core.data.problems import Problem


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    data = typer.Typer(
        help="Look at data files, check, repair and part them.", no_args_is_help=True, rich_markup_mode=None
    )
    data.command("open")(open_file)
    data.command("check")(check)
    data.command("fix")(data_prepare.fix)
    data.command("split")(data_prepare.split)
    data.command("sample")(data_prepare.sample)
    data.command("show")(data_show.show)
    data.command("stats")(data_show.stats)
    app.add_typer(data, name="data")


def open_file(
    file: Annotated[Path, typer.Argument(help="A file of conversations.", show_default=False)],
) -> None:
    """Open the app on a file."""
    from tui.app import FinetuiApp

    FinetuiApp(mode="data", file=file).run()


def check(
    files: Annotated[list[Path], typer.Argument(help="Files of conversations.", show_default=False)],
    validation: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file of validation rows; rows that are in FILE too are leaks.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Also check what this model makes of the rows.", show_default=False)
    ] = None,
    sequence_length: Annotated[int, typer.Option(min=1, help="Tokens of a row that are trained.")] = 2048,
    service: Annotated[
        Literal["azure"] | None,
        typer.Option("--for", help="Also check the service's own rules.", show_default=False),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Which column is what, e.g. prompt=question,completion=answer.", show_default=False
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Every check on every row, also over 200 MB.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what is wrong, by file and line, with a fix. Exits with 2 when there are errors."""
    from core.catalog.reference import folder_here
    from core.columns import parse_columns
    from core.data.check import Check, Options
    from core.data.check.report import report_lines

    with errors_told():
        options = Options(
            model_folder=folder_here(model) if model else None,
            sequence_length=sequence_length,
            azure=service == "azure",
            full=full,
            columns=parse_columns(columns) if columns else None,
        )
        result = Check(files, options, validation or ())
        errors = warnings = 0
        found: list[dict[str, Any]] = []
        for problem in _problems(result):
            errors += problem.severity == "error"
            warnings += problem.severity != "error"
            if json:
                found.append(problem.as_dict())
            else:
                out(f"{problem}  [{problem.code}]")
                out(f"    -> {problem.fix}")
        if json:
            out_json(found)
        for line in report_lines(result):
            say(line)
        number = len(files) + len(validation or ())
        say(f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')} in {_counted(number, 'file')}")
        raise typer.Exit(EXIT_USER if errors else 0)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _problems(check: Check) -> Iterator[Problem]:
    """What is wrong; that a file can't be read is a problem like any other."""
    from core.data.problems import DataError

    try:
        yield from check
    except DataError as error:
        yield error.problem
