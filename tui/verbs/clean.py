"""`finetui clean`: what can go from the disk, and taking it away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from core.runs.clean import CleanError, Item, Outcome, propose, remove
from tui.format import size
from tui.verbs.output import EXIT_FAILED, columns, errors_told, interactive, out, out_json, say

WIDTH = 120


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("clean")(clean)


def clean(
    items: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ITEM]...", help="Only these, by the ids of the list.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what can go from the disk, with sizes; delete what is proposed ([x]), or the ITEMs named, after a question.

    Nothing goes that a run at work, a deployment or a run that can be resumed needs.
    """
    from tui.clean_text import lines, loses, sums

    with errors_told():
        found = propose()
        chosen = _chosen(found, items or [])
        if not json:
            for line in lines(chosen if items else found, columns(WIDTH)):
                out(line)
            say(sums(found) if found else "There is nothing to clean.")
        if chosen and not yes and interactive() and not json:
            yes = typer.confirm(f"Delete {len(chosen)}? {loses(chosen)}", err=True)
        elif chosen and not yes and not json:
            say(f"`finetui clean{' ' + ' '.join(items) if items else ''} --yes` deletes {len(chosen)}.")
        outcomes = remove([item.id for item in chosen], _teller(json)) if yes else []
        freed = sum(outcome.freed_bytes for outcome in outcomes)
        if json:
            out_json(
                {
                    "items": [item.as_dict() for item in found],
                    "removed": [outcome.as_dict() for outcome in outcomes],
                    "freed_bytes": freed,
                }
            )
        elif outcomes:
            say(f"{size(freed)} freed")
        if any(outcome.error for outcome in outcomes):
            raise typer.Exit(EXIT_FAILED)


def _chosen(found: list[Item], wanted: list[str]) -> list[Item]:
    """Those named, else those proposed.

    Raises:
        CleanError: a name is of nothing here, or of what can't go now.
    """
    if not wanted:
        return [item for item in found if item.proposed]
    here = {item.id: item for item in found}
    for name in wanted:
        if name not in here:
            raise CleanError(
                f"There is nothing called {name!r} to clean.", "", "`finetui clean` lists the ids."
            )
        if here[name].held:
            raise CleanError(f"{here[name].title} can't go now.", here[name].held, "Try again later.")
    return [here[name] for name in dict.fromkeys(wanted)]


def _teller(quiet: bool) -> Callable[[Outcome], None]:
    def tell(outcome: Outcome) -> None:
        if outcome.error is not None:
            say(f"  {outcome.item} stays: {outcome.error.what} {outcome.error.cause}".rstrip())
        elif not quiet:
            say(f"  {outcome.item}  {size(outcome.freed_bytes)}")

    return tell
