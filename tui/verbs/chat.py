"""`finetui chat`: in the app, or prompt by prompt in a pipe."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core import paths
from core.pipes import PipeClient
from tui.verbs.output import errors_told, interactive, out, out_json, say

if TYPE_CHECKING:
    from core.serving.targets import Side

FORMS = "RUN, RUN@STEP, RUN@base, deployment:NAME/MODEL, azure:NAME or https://HOST/v1#MODEL,key=VARIABLE"

WORDS = ("A", "B", "tuned", "base", "both")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("chat")(chat)


def chat(
    a: Annotated[str, typer.Argument(metavar="A", help=f"{FORMS}.", show_default=False)],
    b: Annotated[
        str, typer.Argument(metavar="B", help="Who answers beside it; of a run its base when left out.")
    ] = "",
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", help="Ask this and print the replies; may be repeated."),
    ] = None,
    side: Annotated[
        str, typer.Option(help="Who answers: A, B or both; of a run alone also `tuned` and `base`.")
    ] = "both",
    system: Annotated[
        str | None, typer.Option(help="System message; the training rows' own when left out.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply in tokens.")] = 128,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=10.0, help="0 takes the likeliest token each time.")
    ] = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Only the likeliest tokens that add up to this.")
    ] = 1.0,
    stop: Annotated[
        list[str] | None, typer.Option(help="The reply ends before this text; up to four.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random choice above temperature 0.")] = 42,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one line a reply.")] = False,
) -> None:
    """Talk to a run's model beside its base, or to any two models. In a terminal it opens the app; prompts can also
    come by stdin."""
    from core.serving.reply import MOST_STOPS
    from core.serving.targets import TargetError
    from core.serving.targets import side as find

    with errors_told():
        side = next((word for word in WORDS if word.lower() == side.lower()), side)
        if side not in WORDS:
            raise TargetError(f"--side is {side!r}.", "", f"Use {', '.join(WORDS[:-1])} or {WORDS[-1]}.")
        first, second = find(a), find(b) if b else None
        answering = named(first, second, side)
        if not prompt and interactive():
            from tui.app import FinetuiApp

            FinetuiApp(mode="chat", run=first.spec, beside=second.spec if second else "").run()
            return
        if prompt and not all(text.strip() for text in prompt):
            raise TargetError("--prompt is empty.", "", "Give --prompt TEXT.")
        prompts = prompt or [line.rstrip("\n") for line in sys.stdin if line.strip()]
        if not prompts:
            raise TargetError(
                "Nothing was asked.", "", "Give --prompt TEXT, or prompts by stdin, one a line."
            )
        if stop and len(stop) > MOST_STOPS:
            raise TargetError(
                f"There are {len(stop)} stop strings.",
                f"At most {MOST_STOPS} are taken.",
                "Give fewer --stop.",
            )
        settings = {
            "max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "stop": stop or [], "seed": seed
        }  # fmt: skip
        asyncio.run(ask(answering, prompts, first.system if system is None else system, settings, json))


def named(first: Side, second: Side | None, wanted: str) -> dict[str, Side]:
    """The sides that answer, in order, by the names that replies are printed under.

    Raises:
        TargetError: `wanted` names none of them.
    """
    from core.serving.targets import Target, TargetError, target

    sides: dict[str, Side]
    letters = {}
    if second is not None:
        sides = {"A": first, "B": second}
    elif isinstance(first, Target) and first.adapter is not None:
        sides = {"base": target(first.base_spec), "tuned": first}
        letters = {"A": "tuned", "B": "base"}
    else:
        sides = {"A": first}
    if wanted == "both":
        return sides
    name = letters.get(wanted, wanted)
    if name not in sides:
        use = " or ".join([*letters, *sides, "both"])
        raise TargetError(f"There is no side {wanted!r} here.", "", f"Use {use}.")
    return {name: sides[name]}


async def ask(
    sides: Mapping[str, Side],
    prompts: Sequence[str],
    system: str,
    settings: dict[str, Any],
    json: bool = False,
) -> list[dict[str, Any]]:
    """Each prompt to each side, printed as they come; returns the replies with their figures.

    Args:
        sides: by the name that their replies are printed under.
        prompts: each begins a conversation.
        system: a system message before each, or empty.
        settings: of the replies, see core.serving.reply.Sampling.
        json: print JSON instead of lines.
    """
    client = PipeClient("core.serving.chat_worker", paths.make_private(paths.logs_dir()) / "chat-worker.log")
    replies = []
    try:
        wanted = {name: found.request() for name, found in sides.items()}
        async for kind, value in client.stream("load", sides=wanted):
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
