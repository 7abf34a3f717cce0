"""`finetui data fix|split|sample`: new files made of data files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui.verbs.output import errors_told, out, out_json, say

if TYPE_CHECKING:
    from core.data.repair import Context, Step

PREVIEWED = 20
File = Annotated[Path, typer.Argument(help="The data file; it stays as it is.", show_default=False)]
Columns = Annotated[
    str | None,
    typer.Option(help="Which column is what, e.g. prompt=question,completion=answer.", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(help="Decides which rows.")]


def fix(
    file: File,
    output: Annotated[
        Path | None, typer.Option(help="The new file; without it the changes are shown.", show_default=False)
    ] = None,
    code: Annotated[
        list[str] | None, typer.Option(help="Repair the rows with this problem.", show_default=False)
    ] = None,
    repair: Annotated[
        list[str] | None,
        typer.Option(help="Do this repair, on all rows or those of --row.", show_default=False),
    ] = None,
    row: Annotated[
        list[int] | None, typer.Option(min=1, help="Only this row, from 1.", show_default=False)
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Drop rows that are in this file too.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model, for problems in tokens.", show_default=False)
    ] = None,
    sequence_length: Annotated[int, typer.Option(min=1, help="Tokens of a row that are trained.")] = 2048,
    columns: Columns = None,
    changes: Annotated[int, typer.Option(min=1, help="How many changes to show.")] = PREVIEWED,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Repair rows: without --output show what would change, with it write a new file and its lineage.

    Repairs: strip-control, fix-mojibake, redact, to-text, rename-role, decode-arguments, move-system, merge-turns,
    trim-end, convert, re-encode, deduplicate, drop. Codes are those that `finetui data check` prints.
    """
    from core.catalog.reference import folder_here
    from core.columns import parse_columns
    from core.data.repair import Context, write

    with errors_told():
        steps = _steps(code, repair, row, against)
        context = Context(
            columns=parse_columns(columns) if columns else None,
            model_folder=folder_here(model) if model else None,
            sequence_length=sequence_length,
            against=tuple(against or ()),
        )
        if output is None:
            _show(file, steps, changes, context, json)
            return
        report = write(file, steps, output, context, overwrite)
        if json:
            out_json(report.as_dict())
        else:
            out(str(output))
        say(
            f"{report.rows:,} rows: {report.changed:,} changed, {report.dropped:,} dropped, "
            f"{report.written:,} written"
        )


def _steps(
    codes: list[str] | None, repairs: list[str] | None, rows: list[int] | None, against: list[Path] | None
) -> list[Step]:
    from core.data.repair import RepairError, Step, in_order, steps_for

    wanted = [*(codes or ()), *(["leak"] if against and "leak" not in (codes or ()) else ())]
    chosen = tuple(rows) if rows else None
    steps = [Step(step.repair, step.codes, chosen) for step in steps_for(wanted)]
    steps += [Step(name, (), chosen) for name in repairs or ()]
    if not steps:
        raise RepairError("there is nothing to do.", "", "Say --code, --repair or --against.")
    unknown = next((step for step in steps if step.repair == "edit"), None)
    if unknown:
        raise RepairError("rows are edited in the app.", "", "Open the file with `finetui data open`.")
    return in_order(steps)


def _show(file: Path, steps: list[Step], limit: int, context: Context, json: bool) -> None:
    from core.data.repair import diff_lines, preview

    shown = 0
    for change in preview(file, steps, limit, context):
        shown += 1
        if json:
            out_json({"row": change.row, "line": change.line, "before": change.before, "after": change.after})
        else:
            out("\n".join(diff_lines(change)))
    more = f"the first {limit} changes; " if shown == limit else ""
    say(f"{more}{shown} rows would change; nothing was written: --output FILE writes them")


def split(
    file: File,
    train: Annotated[Path, typer.Option(help="Where the rows to train on go.", show_default=False)],
    validation: Annotated[Path, typer.Option(help="Where the others go.", show_default=False)],
    fraction: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of the rows for validation.", show_default=False),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Number of rows for validation.", show_default=False)
    ] = None,
    seed: Seed = 42,
    group: Annotated[
        str | None,
        typer.Option(
            help="Rows with the same value of this field stay together, e.g. meta.user.", show_default=False
        ),
    ] = None,
    stratify: Annotated[
        str | None,
        typer.Option(help="Both sides get the same shares of this field's values.", show_default=False),
    ] = None,
    near: Annotated[
        bool, typer.Option("--near", help="Rows that are nearly the same stay together too.")
    ] = False,
    columns: Columns = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Part a file into training and validation rows; rows that say the same are never on both sides."""
    from core.columns import parse_columns
    from core.data.prepare import split_file

    with errors_told():
        report = split_file(
            file, train, validation, fraction=fraction, rows=rows, seed=seed, group=group, stratify=stratify,
            near=near, columns=parse_columns(columns) if columns else None, overwrite=overwrite,
        )  # fmt: skip
        _tell(report.as_dict(), json)


def sample(
    file: File,
    output: Annotated[Path, typer.Option(help="The new file.", show_default=False)],
    rows: Annotated[int | None, typer.Option(min=1, help="How many rows.", show_default=False)] = None,
    seed: Seed = 42,
    balance: Annotated[
        str | None,
        typer.Option(help="The same number of each value of this field, e.g. label.", show_default=False),
    ] = None,
    columns: Columns = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Take a seeded sample of the rows, or balance them by a field."""
    from core.columns import parse_columns
    from core.data.prepare import sample_file

    with errors_told():
        report = sample_file(
            file, output, rows=rows, seed=seed, balance=balance,
            columns=parse_columns(columns) if columns else None, overwrite=overwrite,
        )  # fmt: skip
        _tell(report.as_dict(), json)


def _tell(report: dict[str, Any], json: bool) -> None:
    if json:
        out_json(report)
    for path, rows in report["written"].items():
        if not json:
            out(path)
        say(f"{rows:,} rows in {path}")
    if report["left_out"]:
        say(f"{report['left_out']:,} of {report['rows']:,} rows can't be used and are left out: `data check`")
