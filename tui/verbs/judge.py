"""`finetui judge`: any two models asked the same, and held against each other."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tui.evaluating import Step
from tui.judging import MAX_TOKENS, ROWS, Settings, wanted
from tui.verbs.chat import FORMS
from tui.verbs.evaluate import must_exist, teller
from tui.verbs.output import errors_told, out, out_json, say

WIDTH = 100


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("judge")(judge)


def judge(
    a: Annotated[str, typer.Argument(metavar="A", help=f"{FORMS}.", show_default=False)],
    b: Annotated[
        str, typer.Argument(metavar="B", help="Held against A; of a run its base when left out.")
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="FILE", help="Other rows than the run's validation rows.", show_default=False
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help='Prompts, one a line, or {"prompt": ..., "expected": ...} a line.',
            show_default=False,
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows at most.")] = ROWS,
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Longest reply.")] = MAX_TOKENS,
    system: Annotated[
        str | None, typer.Option(help="System message before each prompt; A's own when left out.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides which rows are asked.")] = 42,
    worse: Annotated[
        str, typer.Option(help="List only the replies where `A` or `B` is worse than the other.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask two models the same rows or prompts, greedily: scores of both, and the replies that differ.

    What comes out is kept with the run that one of them is of (report.json, under `judged`), of two endpoints with
    the chats.
    """
    from core.serving.targets import Target, TargetError, side, target
    from tui.judge_text import lines, reply_paragraphs

    with errors_told():
        if worse not in ("", "A", "B"):
            raise TargetError(f"--worse is {worse!r}.", "", "Use A or B.")
        if data is not None and prompts is not None:
            raise TargetError("There are rows and prompts.", "", "Give --data or --prompts, not both.")
        first = side(a)
        if not b and not (isinstance(first, Target) and first.adapter is not None):
            raise TargetError(f"{first.title} has no base to be held against.", "", "Name B too.")
        second = side(b) if b or not isinstance(first, Target) else target(first.base_spec)
        sides = {"A": first, "B": second}
        must_exist(data, prompts)
        say(f"A  {first.title}")
        say(f"B  {second.title}")
        asked = wanted(
            sides, Settings(rows, max_tokens, data, prompts), seed, first.system if system is None else system
        )
        found = asyncio.run(_judge({name: item.request() for name, item in sides.items()}, asked))
        if json:
            out_json(found)
            return
        for line in lines(found, time.time(), WIDTH):
            out(line)
        for paragraph in reply_paragraphs(found, worse or "all"):
            out(f"{paragraph.head}{paragraph.text}" + (f"   [{paragraph.tail}]" if paragraph.tail else ""))


async def _judge(sides: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    from core import paths
    from core.pipes import PipeClient

    client = PipeClient("core.serving.chat_worker", paths.make_private(paths.logs_dir()) / "chat-worker.log")
    tell = teller()
    result: dict[str, Any] = {}
    try:
        async for kind, value in client.stream("judge", sides=sides, wanted=asked):
            if kind == "chunk":
                tell(Step(**value))
            else:
                result = value
    finally:
        await client.close()
    return result
