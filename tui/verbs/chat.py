"""`finetui chat`: in the app, or prompt by prompt in a pipe."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from core import paths
from core.pipes import PipeClient
from tui.verbs.output import errors_told, interactive, out, out_json, say


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("chat")(chat)


def chat(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id, the beginning of an id, or name.", show_default=False)
    ],
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", help="Ask this and print the replies; may be repeated."),
    ] = None,
    side: Annotated[str, typer.Option(help="tuned, base or both.")] = "both",
    system: Annotated[
        str | None, typer.Option(help="System message; the training rows' own when left out.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply in tokens.")] = 128,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=10.0, help="0 takes the likeliest token each time.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the random choice above temperature 0.")] = 42,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one line a reply.")] = False,
) -> None:
    """Talk to a run's model beside its base. In a terminal it opens the app; prompts can also come by stdin."""
    from core.serving.targets import TargetError, target

    with errors_told():
        if side not in ("tuned", "base", "both"):
            raise TargetError(f"--side is {side!r}.", "", "Use tuned, base or both.")
        here = target(run)
        if not prompt and interactive():
            from tui.app import FinetuiApp

            FinetuiApp(mode="chat", run=here.run_id).run()
            return
        prompts = prompt or [line.rstrip("\n") for line in sys.stdin if line.strip()]
        if not prompts:
            raise TargetError(
                "Nothing was asked.", "", "Give --prompt TEXT, or prompts by stdin, one a line."
            )
        sides = ("base", "tuned") if side == "both" else (side,)
        settings = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        asyncio.run(ask(here, prompts, sides, here.system if system is None else system, settings, json))


async def ask(
    here: Any,
    prompts: Sequence[str],
    sides: Sequence[str],
    system: str,
    settings: dict[str, Any],
    json: bool = False,
) -> list[dict[str, Any]]:
    """Each prompt to each side, printed as they come; returns the replies with their figures."""
    client = PipeClient("core.serving.chat_worker", paths.make_private(paths.logs_dir()) / "chat-worker.log")
    replies = []
    try:
        async for kind, value in client.stream(
            "load", model_folder=str(here.model_folder), adapter=str(here.adapter)
        ):
            if kind == "chunk":
                say(f"{value['phase']} ...")
        before = [{"role": "system", "content": system}] if system else []
        for prompt in prompts:
            messages = [*before, {"role": "user", "content": prompt}]
            if not json:
                out(f"\n> {prompt}")
            for side in sides:
                reply = await client.call("reply", messages=messages, side=side, **settings)
                replies.append({"prompt": prompt, "side": side, **reply})
                if json:
                    out_json(replies[-1])
                else:
                    out(f"  {side:<6} {reply['text'].strip()}")
    finally:
        await client.close()
    return replies
