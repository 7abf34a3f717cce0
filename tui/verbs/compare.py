"""`finetui compare`: two to four runs side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from core.runs.compare import choose, comparison
from core.runs.prices import set_hour_usd
from tui.verbs.output import columns, errors_told, out, out_json

WIDTH = 100


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("compare")(compare)


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Ids, beginnings of ids, or names; two to four.", show_default=False
        ),
    ],
    hour_usd: Annotated[
        float | None,
        typer.Option(
            help="What an hour of this machine costs; kept for later. An Azure job has Azure's price.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare runs: where their recipes differ, what came out and what it cost, whether the rows were the same."""
    from tui.compare_text import lines

    with errors_told():
        if hour_usd is not None:
            set_hour_usd(hour_usd)
        sides = choose(runs)
        for side in sides:
            side.read_all()
        found = comparison(sides)
        if json:
            out_json(found.as_dict())
            return
        for line in lines(found, columns(WIDTH)):
            out(line)
