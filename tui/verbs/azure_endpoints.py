"""`finetui azure deploy|endpoints|rotate|undeploy|delete-model|sweep`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from tui.verbs.azure_text import Yes, confirm, connected, quote_text, sum_text
from tui.verbs.output import errors_told, out, out_json, say

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Its name.", show_default=False)]


def register(azure: typer.Typer) -> None:
    """Add the verbs."""
    azure.command("deploy")(deploy)
    azure.command("endpoints")(endpoints)
    azure.command("rotate")(rotate)
    azure.command("undeploy")(undeploy)
    azure.command("delete-model")(delete_model)
    azure.command("sweep")(sweep)


def deploy(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="RUN | MODEL[:VERSION]", help="A finished run, or a registered model.", show_default=False
        ),
    ],
    name: Annotated[
        str, typer.Option(help="Of the endpoint; the model's when left out.", show_default=False)
    ] = "",
    content_safety: Annotated[
        bool, typer.Option(help="Let Azure filter prompts and replies; off, nothing is filtered.")
    ] = True,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Put a tuned model behind a serverless endpoint. It is charged by the hour until it is deleted."""
    from core.azure import endpoints as service
    from core.azure import plain

    with errors_told():
        azure = connected()
        model, version, run = _model(azure, ref)
        called = name or model
        made = service.checked(azure, called, model, version, content_safety=content_safety)
        if made is not None:
            say(f"{called} exists already and serves {model}:{version}: nothing new is made or charged.")
        else:
            price = _tell_terms(azure, called, model, version, content_safety)
            confirm(yes, f"Make the endpoint {called} for {model}:{version}?")
            steps = service.deploy(azure, called, model, version, content_safety=content_safety, run=run)
            _follow(steps, called, price)
            made = service.get(azure, called)
        if json:
            out_json(plain.endpoint(made))
        else:
            out(f"{made.name} {made.state} {made.address}")
        say(f"`finetui chat azure:{called}` talks to it; `finetui azure undeploy {called}` ends its hours.")


def _follow(steps: Iterator[str], called: str, price: str) -> None:
    """Say how the making goes. Whoever interrupts it once Azure was asked is told that it goes on there, and costs."""
    from core.azure.endpoints import ASKING

    asked = False
    try:
        for text in steps:
            asked = asked or text == ASKING
            say(text)
    except KeyboardInterrupt:
        if asked:
            say(f"Azure goes on making {called}, charged by the hour ({price}) until it is deleted.")
            say(f"`finetui azure undeploy {called}` ends it; `finetui azure endpoints` shows its state.")
        raise


def _tell_terms(azure: Any, called: str, model: str, version: str, content_safety: bool) -> str:
    """Say what a new endpoint costs and what its filter does; returns the price of an hour in words."""
    from core.azure import endpoints as service
    from core.azure import sweep, tuned
    from core.azure.prices import HOURS_A_MONTH

    found = next((item for item in tuned.versions(azure, model) if item.version == version), None)
    quote = sweep.hosting(azure, found.base if found else "")
    month = sum_text(quote.cost(HOURS_A_MONTH), quote.currency)
    say(
        f"{called}: {quote_text(quote)}; a month of it: {month}. Hours are charged whether it is used or not."
    )
    say(service.SAFETY_ON if content_safety else service.SAFETY_OFF)
    return (
        f"{sum_text(quote.cost(1), quote.currency)} an hour" if quote.amount is not None else "price unknown"
    )


def _model(azure: Any, ref: str) -> tuple[str, str, str]:
    """(registered name, version, run id) of a run, or of `NAME:VERSION` or `NAME` in its newest version.

    Raises:
        AzureError: the run has no model in Azure.
        RunError: there is no such run.
    """
    import re

    from core.azure import tuned
    from core.azure.faults import AzureError
    from core.azure.record import read
    from core.runs import supervisor
    from core.runs.directory import RunDirectory, RunError

    if ":" in ref:
        name, _, version = ref.removeprefix("azureml:").partition(":")
        return name, version, ""
    try:
        row = supervisor.get(ref, whole=True)
    except RunError:
        found = tuned.newest(azure, ref) if re.fullmatch(r"[\w.-]+", ref) else None
        if found is None:
            raise
        return found.name, found.version, ""
    record = read(RunDirectory(row.directory).path)
    if record is None or not record.registered:
        deleted = f"{record.deleted} was deleted." if record and record.deleted else ""
        raise AzureError(
            f"{row.name} has no model in Azure.",
            deleted or (f"It is {row.state}." if record else "It did not train in Azure."),
            f"`finetui watch {row.id}`"
            if record and not deleted
            else "`finetui azure models --tuned` lists those that are there.",
        )
    name, _, version = record.registered.partition(":")
    return name, version, row.id


def endpoints(
    currency: Annotated[str, typer.Option(help="Of the prices.")] = "USD", json: Json = False
) -> None:
    """List all endpoints of the project with what an hour costs, also those that finetui did not make."""
    from core.azure import plain
    from core.azure.prices import currency_of

    with errors_told():
        currency = currency_of(currency)
        found = plain.endpoints_priced(connected(), currency)
        if json:
            out_json(found)
            return
        for item in found:
            hosting = item["hosting"]
            price = "-" if hosting is None else sum_text(_hourly(hosting), hosting["currency"]) + " an hour"
            idle = "  idle: not used from this machine for a day or more" if item["idle"] else ""
            made = {"": "not finetui's", "-": "finetui"}.get(item["run"], f"run {item['run']}")
            safety = {"Enabled": "safety on", "Disabled": "SAFETY OFF"}.get(item["content_safety"], "")
            out(
                f"{item['name']:<32} {item['state']:<14} {price:<18} {item['model']:<32} {made}  {safety}{idle}"
            )
        if not found:
            say("No endpoints.")


def _hourly(hosting: dict[str, Any]) -> float | None:
    from core.azure.prices import Quote

    return Quote(**hosting).cost(1)


def rotate(
    name: Name,
    secondary: Annotated[
        bool, typer.Option("--secondary", help="The second key instead of the first.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a new key for an endpoint; the old one is refused from now on. Keys are never shown."""
    from core.azure import endpoints as service

    with errors_told():
        which = "Secondary" if secondary else "Primary"
        service.rotate(connected(), name, which)
        say(f"{name} has a new {which.lower()} key.")
        if json:
            out_json({"rotated": name, "which": which})


def undeploy(name: Name, yes: Yes = False, json: Json = False) -> None:
    """Delete an endpoint: its hours end. The model stays."""
    from core.azure import endpoints as service

    with errors_told():
        azure = connected()
        found = service.get(azure, name)
        confirm(yes, f"Delete the endpoint {name} ({found.model}, {found.state})?")
        service.undeploy(azure, name)
        say(f"{name} is deleted.")
        if json:
            out_json({"deleted": name})


def delete_model(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[:VERSION]", help="A registered model.", show_default=False)
    ],
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete a tuned model; refused while an endpoint serves it, with the endpoint's name."""
    from core.azure import sweep as service
    from core.azure import tuned
    from core.azure.faults import AzureError

    with errors_told():
        name, _, version = model.partition(":")
        version = version or "1"
        azure = connected()
        if not any(item.version == version for item in tuned.versions(azure, name)):
            raise AzureError(
                f"There is no model {name}:{version} in {azure.account.project}.",
                "",
                "`finetui azure models --tuned` lists them.",
            )
        used = service.users(azure, name, version)
        if not used:
            confirm(yes, f"Delete the model {name}:{version} for good?")
        tuned.delete(azure, name, version, used)
        say(f"{name}:{version} is deleted.")
        if json:
            out_json({"deleted": f"{name}:{version}"})


def tell_tuned(azure: Any, json: bool) -> None:
    """Print the project's tuned models."""
    from core.azure import plain

    found = plain.tuned_models(azure)
    if json:
        out_json(found)
        return
    for item in found:
        served = f"served by {item['endpoint']}" if item["endpoint"] else "not deployed"
        out(f"{item['name']}:{item['version']:<4} run {item['run'] or '-'}  {served}")
    if not found:
        say("No tuned models.")


def sweep(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Only these; all when left out.", show_default=False),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them, after asking.")] = False,
    currency: Annotated[str, typer.Option(help="Of the prices.")] = "USD",
    yes: Yes = False,
    json: Json = False,
) -> None:
    """List everything finetui made in the project and what it costs; with --delete, delete it."""
    from core.azure import sweep as service
    from core.azure.faults import AzureError
    from core.azure.prices import currency_of

    with errors_told():
        currency = currency_of(currency)
        azure = connected()
        failed: list[AzureError] = []
        found = service.things(azure, currency, failed)
        for against in failed:
            say(f"Not listed: {against.what} {against.cause}")
        ended = typer.Exit(1 if failed else 0)
        if unknown := next((name for name in names or () if name not in {item.name for item in found}), ""):
            raise AzureError(
                f"finetui made nothing called {unknown} in {azure.account.project}.",
                "",
                "`finetui azure sweep` lists what there is; models and data have their version, NAME:1.",
            )
        found = [item for item in found if not names or item.name in names]
        if json and not delete:
            out_json([{**asdict(item), "key": item.key} for item in found])
            raise ended
        for item in found:
            notes = [item.state, f"run {item.run}" if item.run else "", item.stays]
            (say if json else out)(
                f"{item.kind:<11} {item.name:<44} {item.cost}  {'  '.join(filter(None, notes))}"
            )
        if not found and not failed:
            say("finetui has nothing in this project.")
        deleted = [item for item in found if not item.stays]
        if not delete or not deleted:
            raise ended
        confirm(yes, f"Delete {len(deleted)} of these for good?")
        results = list(service.delete(azure, deleted))
        for item, error in results:
            say(f"{item.kind} {item.name}: {error.what + ' ' + error.cause if error else 'deleted'}")
        if json:
            out_json(
                [{"key": item.key, "error": error.as_dict() if error else None} for item, error in results]
            )
        raise typer.Exit(1 if failed or any(error for _, error in results) else 0)
