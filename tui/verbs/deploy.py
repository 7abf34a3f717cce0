"""`finetui deploy`: models of runs behind an OpenAI-compatible address of this machine."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import Annotated, Any

import typer

from core.errors import FinetuiError
from tui.verbs.deployments import tell_check, wait
from tui.verbs.output import errors_told, out, out_json, say

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

SEVERITIES = {"low": 2, "medium": 4, "high": 6}
CATEGORIES = {"hate": "Hate", "selfharm": "SelfHarm", "sexual": "Sexual", "violence": "Violence"}


class WishError(FinetuiError):
    """An option says what can't be meant."""


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("deploy")(deploy)


def deploy(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Ids, beginnings of ids or names; RUN@STEP is a checkpoint.",
            show_default=False,
        ),
    ],
    checkpoint: Annotated[
        int | None,
        typer.Option(
            "--checkpoint", metavar="STEP", help="A checkpoint instead of the model.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the deployment; the run's when left out.", show_default=False)
    ] = None,
    with_base: Annotated[bool, typer.Option("--with-base", help="Serve the base model beside it.")] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="The first free one from 8100 on when left out.", show_default=False
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Another address lets others in, over plain HTTP.")
    ] = "127.0.0.1",
    safety: Annotated[
        str,
        typer.Option(
            metavar="FILE|azure|guard:NAME/MODEL|off", help="Patterns to block, one a line; or a judge."
        ),
    ] = "off",
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CATEGORY=SEVERITY",
            help="For azure: hate, selfharm, sexual, violence = low, medium, high.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        int, typer.Option(min=1, help="Requests of one peer in a minute, which may come all at once.")
    ] = 600,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait for a model.")] = 16,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply in tokens.")] = 4096,
    max_body: Annotated[int, typer.Option(min=1, help="Longest request in KiB.")] = 1024,
    keep_texts: Annotated[
        bool, typer.Option("--keep-texts", help="Keep prompts and replies in the request log.")
    ] = False,
    retention: Annotated[int, typer.Option(min=1, help="Days that the request log goes back.")] = 30,
    price_in: Annotated[
        float, typer.Option(min=0, help="USD for a million prompt tokens, for the sums shown.")
    ] = 0.0,
    price_out: Annotated[float, typer.Option(min=0, help="USD for a million reply tokens.")] = 0.0,
    warm: Annotated[bool, typer.Option(help="Load the models now, not at their first request.")] = True,
    skip_check: Annotated[
        bool, typer.Option("--skip-check", help="Don't compare refusals of base and tuned model.")
    ] = False,
    json: Json = False,
) -> None:
    """Serve models of runs at an address that OpenAI's clients can use. The key is shown once."""
    from core.serving.deploy import Wish
    from core.serving.deploy import deploy as work
    from core.serving.settings import Limits

    with errors_told():
        _check_address(listen)
        wish = Wish(
            runs=_refs(runs, checkpoint),
            name=name,
            with_base=with_base,
            host=listen,
            port=port,
            safety=_safety(safety, threshold or []),
            limits=Limits(
                per_minute=rate,
                burst=rate,
                queue=queue,
                max_tokens=max_tokens,
                body_bytes=max_body << 10,
            ),
            keep_texts=keep_texts,
            retention_days=retention,
            price_in_usd=price_in,
            price_out_usd=price_out,
            warm=warm,
            check=not skip_check,
        )
        made = asyncio.run(work(wish, lambda phase: say(f"{phase} ...")))
        here = made.deployment
        for note in made.notes:
            say(note)
        if not _loopback(listen):
            say(f"Whoever reaches {listen} can try keys there, over plain HTTP: put TLS in front of it.")
        tell_check(here.settings.regression or {})
        if json:
            out_json({**here.as_data(), "key": made.key})
        else:
            out(f"{'address':<9}{here.url}")
            out(f"{'key':<9}{made.key}")
            out(f"{'models':<9}{', '.join(model.name for model in here.models)}")
        say(f"The key is not shown again; `finetui deployments key {here.name} --rotate` makes another.")
        wait(here.name)


def _check_address(listen: str) -> None:
    """Raise for what is no address, before anything is done."""
    try:
        socket.getaddrinfo(listen, None)
    except (OSError, UnicodeError) as error:
        raise WishError(
            f"--listen is {listen!r}, which is no address.", str(error), "Give an address of this machine."
        ) from error


def _loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _refs(runs: list[str], checkpoint: int | None) -> list[str]:
    if checkpoint is None:
        return runs
    if len(runs) > 1:
        raise WishError(
            "--checkpoint is of one run, and several are named.", "", "Write RUN@STEP for each instead."
        )
    return [f"{runs[0]}@{checkpoint}"]


def _safety(text: str, thresholds: list[str]) -> dict[str, Any]:
    """What `--safety` and `--threshold` mean."""
    if thresholds and text != "azure":
        raise WishError("--threshold is for --safety azure.", "", "Leave it out.")
    if text == "off":
        return {"kind": "off"}
    if text == "azure":
        return {"kind": "azure", "thresholds": dict(_threshold(item) for item in thresholds)}
    if text.startswith("guard:"):
        deployment, _, model = text.removeprefix("guard:").partition("/")
        if not deployment or not model:
            raise WishError(f"--safety is {text!r}.", "", "Write guard:DEPLOYMENT/MODEL.")
        return {"kind": "guard", "deployment": deployment, "model": model}
    return {"kind": "patterns", "file": text}


def _threshold(text: str) -> tuple[str, int]:
    category, _, severity = text.lower().partition("=")
    if category not in CATEGORIES or severity not in SEVERITIES:
        raise WishError(
            f"--threshold is {text!r}.",
            "",
            f"Write CATEGORY=SEVERITY: one of {', '.join(CATEGORIES)}; one of {', '.join(SEVERITIES)}.",
        )
    return CATEGORIES[category], SEVERITIES[severity]
