"""`finetui azure`: the account, the checklist, models and prices; jobs and endpoints are in the files beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from core.errors import FinetuiError
from tui.verbs import azure_data, azure_endpoints, azure_jobs
from tui.verbs.azure_text import IN_WORDS, Yes, confirm, connected, quote_text, sum_text, tell_note
from tui.verbs.output import errors_told, out, out_json, say

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Catalogue id, hub id or registry id.", show_default=False)
]
HINTS = {
    "choose": "finetui azure login",
    "connect_ai_services": "if wanted: finetui azure check --fix --ai-services NAME",
}
MARKS = {
    "ok": "ok",
    "missing": "MISSING",
    "warning": "warning",
    "unknown": "unknown",
    "waiting": "waits",
    "optional": "optional",
}


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    azure = typer.Typer(
        help="Azure serverless fine-tuning, from sign-in to clean-up.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    azure.command("login")(login)
    azure.command("account")(account)
    azure.command("check")(check)
    azure.command("models")(models)
    azure.command("subscribe")(subscribe)
    azure.command("prices")(prices)
    azure_data.register(azure)
    azure_jobs.register(azure)
    azure_endpoints.register(azure)
    app.add_typer(azure, name="azure")


def login(
    identity: Annotated[
        str,
        typer.Option(
            help="azure_cli, device_code, service_principal or managed_identity.", show_default=False
        ),
    ] = "",
    tenant: Annotated[str, typer.Option(help="Id or domain of the Entra tenant.", show_default=False)] = "",
    subscription: Annotated[
        str, typer.Option(help="Id or name of the one that pays.", show_default=False)
    ] = "",
    group: Annotated[str, typer.Option(help="Resource group.", show_default=False)] = "",
    project: Annotated[str, typer.Option(help="Project, or plain workspace.", show_default=False)] = "",
    region: Annotated[
        str, typer.Option(help="Where a new group or project would lie.", show_default=False)
    ] = "",
    json: Json = False,
) -> None:
    """Sign in and choose subscription, group and project; where there is but one it is chosen. No token is kept."""
    from core.azure import account as accounts
    from core.azure.fixes import refuse_names

    with errors_told():
        refuse_names(group or None, [project] if project else [])
        azure = connected(accounts.load().changed(identity=identity, tenant=tenant))
        _choose(azure, subscription, group, project, region)
        accounts.save(azure.account)  # only now: a sign-in that fails leaves the one that works
        say(f"Signed in by {accounts.IN_WORDS[azure.account.identity]}.")
        if azure.account.identity not in accounts.UNATTENDED:
            say("This sign-in ends with this command; each run shows a code of its own and waits for it.")
        _show(json)


def _choose(azure: Any, subscription: str, group: str, project: str, region: str) -> None:
    """Choose what was named; what was not is chosen where there is but one."""
    from core.azure import choices
    from core.azure.faults import AzureError

    every = choices.subscriptions(azure)
    named = [item for item in every if subscription in (item.id, item.name)]
    if subscription and not named:
        raise AzureError(
            f"There is no subscription {subscription!r} for you.",
            f"There are {', '.join(f'{item.name} ({item.id})' for item in every) or 'none'}.",
            "Name one of these.",
        )
    held = azure.account.subscription
    chosen = named[0].id if named else held or (every[0].id if len(every) == 1 else "")
    if not chosen:
        choices.refuse_without_subscription(every, group, project, region)
        say("Subscriptions: " + (", ".join(f"{item.name} ({item.id})" for item in every) or "none"))
        return
    azure.account = azure.account.changed(subscription=chosen, resource_group=group)
    if project or region:
        azure.account, to_make = choices.with_project(azure, project, region)
        if to_make:
            say(f"{to_make} is not there yet: `finetui azure check --fix --project {to_make}` makes it.")
    if not azure.account.project:
        there = choices.projects(azure)
        if len(there) == 1:
            azure.account = azure.account.changed(resource_group=there[0].group, project=there[0].name)
        elif there:
            say(
                "Projects: " + ", ".join(f"{item.name} (group {item.group}, {item.region})" for item in there)
            )
    if azure.account.project and not azure.account.region:
        where = next((it.region for it in choices.projects(azure) if it.name == azure.account.project), "")
        azure.account = azure.account.changed(region=where)


def account(
    every: Annotated[bool, typer.Option("--all", help="List what there is to choose from.")] = False,
    json: Json = False,
) -> None:
    """Show who is signed in how, and which subscription, group and project are in use."""
    from core.azure import choices

    with errors_told():
        if not every:
            tell_note()
            _show(json)
            return
        azure = connected()
        found: dict[str, list[Any]] = {"subscriptions": choices.subscriptions(azure)}
        if azure.account.subscription:
            found |= {"groups": choices.groups(azure), "projects": choices.projects(azure)}
        if json:
            out_json({name: [asdict(item) for item in items] for name, items in found.items()})
            return
        for name, items in found.items():
            out(name)
            for item in items:
                values = {**asdict(item), "own": "made by finetui" if getattr(item, "own", False) else ""}
                out("  " + "  ".join(str(value) for value in values.values() if value))


def _show(json: bool) -> None:
    from core.azure import plain

    chosen = plain.account()
    if json:
        out_json(chosen)
        return
    out(f"identity      {chosen['identity']}: {chosen['identity_words']}")
    for name in ("tenant", "subscription", "resource_group", "project", "region"):
        out(f"{name.replace('_', ' '):<13} {chosen[name] or '-'}")


def check(
    model: Annotated[str, typer.Option(help="A model that is to be tuned.", show_default=False)] = "",
    fix: Annotated[bool, typer.Option("--fix", help="Do what the lines offer.")] = False,
    group: Annotated[str, typer.Option(help="With --fix: the group to make.", show_default=False)] = "",
    project: Annotated[str, typer.Option(help="With --fix: the project to make.", show_default=False)] = "",
    hub: Annotated[str, typer.Option(help="With --fix: its hub.", show_default=False)] = "",
    region: Annotated[str, typer.Option(help="With --fix: where they lie.", show_default=False)] = "",
    ai_services: Annotated[
        str,
        typer.Option(help="With --fix: the AI services account to connect to the hub.", show_default=False),
    ] = "",
    json: Json = False,
) -> None:
    """The checklist: what fine-tuning needs, what each line means and costs, and what is missing. Ends with 2 then."""
    from core.azure import models as registry
    from core.azure.ai_services import refuse_name
    from core.azure.fixes import hub_of, refuse_names, refuse_options

    with errors_told():
        if not fix:
            _refuse_makings(group=group, project=project, hub=hub, region=region, ai_services=ai_services)
        if ai_services:
            refuse_name(ai_services)
        if model:
            registry.registry_id(model)
        azure = connected()
        if fix:
            refuse_names(group or None, filter(None, (project, hub or (project and hub_of(project)))))
        lines = _checked(azure, model, json)
        if fix:
            refuse_options(azure, lines, group, project, hub, region)
        while fix and (todo := next((line for line in lines if line.fix and line.state == "missing"), None)):
            _fix(azure, todo, group, project, hub, region)
            lines = _checked(azure, model, json, lines)
            if any(line.key == todo.key and line.state == "missing" for line in lines):
                break
        if fix and ai_services and any(line.key == "project" and line.state == "ok" for line in lines):
            _connect(azure, ai_services)
            lines = _checked(azure, model, json, lines)
        if json:
            out_json([asdict(line) for line in lines])
        raise typer.Exit(2 if any(line.state in ("missing", "waiting") for line in lines) else 0)


def _refuse_makings(**given: str) -> None:
    """Without --fix nothing is made: options that name what is to be made are a mistake."""
    if option := next((name.replace("_", "-") for name, value in given.items() if value), ""):
        raise FinetuiError(
            f"--{option} names what --fix makes, and --fix is not given.",
            "",
            "Add --fix, or leave it out; `finetui azure login` chooses a group or project that is there.",
        )


def _checked(azure: Any, model: str, json: bool, before: Sequence[Any] = ()) -> list[Any]:
    """The checklist's lines; those that are not as `before` are printed as they are known."""
    from core.azure.readiness import checklist

    lines = []
    for line in checklist(azure, model):
        lines.append(line)
        if json or line in before:
            continue
        out(f"{MARKS[line.state]:<8} {line.title}: {line.found}")
        out(f"         {line.meaning} Cost: {line.cost}")
        if line.fix and line.state in ("missing", "optional"):
            out(f"         -> {_hint(azure.account, line)}")
        if line.ask:
            out(f"         -> ask: {line.ask}")
    return lines


def _hint(account: Any, line: Any) -> str:
    """What repairs a line, as a command; what is chosen already is not to be named."""
    if line.fix not in ("create_group", "create_project"):
        return HINTS.get(line.fix, "--fix does it")
    moves = line.key == "region"  # a project where the model is tuned
    project = "NAME" if moves else account.project or "NAME"  # it is made only where it is named
    wanted = (
        ("--group NAME", line.fix == "create_group" and not account.resource_group),
        (f"--project {project}", True),
        ("--region REGION", moves or not account.region),
    )
    return " ".join(
        ["--fix does it: finetui azure check --fix", *(option for option, lacks in wanted if lacks)]
    )


def _fix(azure: Any, line: Any, group: str, project: str, hub: str, region: str) -> None:
    from core.azure.fixes import fixed

    name = group if line.fix == "create_group" else project
    for text in fixed(azure, line.fix, name, hub, region):
        say(f"{line.title}: {text}")


def _connect(azure: Any, name: str) -> None:
    from core.azure.fixes import connect_ai_services

    for text in connect_ai_services(azure, name):
        say(f"AI services: {text}")


def models(
    words: Annotated[list[str] | None, typer.Argument(help="Parts of the name.", show_default=False)] = None,
    region: Annotated[str, typer.Option(help="Only those tuned there.", show_default=False)] = "",
    tuned: Annotated[bool, typer.Option("--tuned", help="The project's own tuned models instead.")] = False,
    partners: Annotated[
        bool, typer.Option("--partners", help="Those tuned through the Azure Marketplace only, instead.")
    ] = False,
    prices: Annotated[
        bool, typer.Option("--prices", help="With what training each costs in the project's region.")
    ] = False,
    json: Json = False,
) -> None:
    """Search Azure's model registry: what each can be tuned for, where, and since when it is retired."""
    from core.azure import models as registry
    from core.azure import plain

    with errors_told():
        azure = connected()
        if tuned:
            azure_endpoints.tell_tuned(azure, json)
            return
        if partners:
            found = registry.partners(azure, " ".join(words or []))
            found = [item for item in found if not region or not item.why_not(region)]
        else:
            found = registry.search(azure, " ".join(words or []), region)
        if json:
            out_json([plain.model(item) for item in found])
            return
        if not found:
            say("No such models" + (f" that are tuned in {region}." if region else "."))
        for item in found:
            where = ", ".join(item.regions) or "no region known"
            state = f"retired {item.retired}, see {item.successor}" if item.retired else where
            out(
                f"{item.name:<28} {item.version:>3}  {item.context or '?':>7}  {item.licence or '?':<8}  {state}"
            )
            if item.tasks and not item.retired:
                out(f"  tuned for {', '.join(item.tasks)}{_training(item, region, prices)}")
            if not item.catalogue_id and not item.partner:
                out(f"  as a model of a recipe: {item.id}")
            if item.partner:
                out(f"  {item.partner}'s, through the Azure Marketplace: finetui azure subscribe {item.id}")


def _training(item: Any, region: str, wanted: bool) -> str:
    """What training a model costs, as the end of its line; empty where nobody asks."""
    from core.azure import account as accounts
    from core.azure.prices import quotes

    if not wanted:
        return ""
    return f"; training {quote_text(quotes(item.id, region or accounts.load().region)['training'])}"


def subscribe(model: Model, yes: Yes = False, json: Json = False) -> None:
    """Take a partner's offer in the Azure Marketplace for the project, and accept its terms. Microsoft's own models
    need none."""
    from core.azure import marketplace
    from core.azure import models as registry

    with errors_told():
        wanted = registry.registry_id(model)
        azure = connected()
        marketplace.refuse_useless(azure, wanted)
        if marketplace.status(azure, wanted) == marketplace.SUBSCRIBED:
            say(f"{azure.account.project} has the offer already.")
        else:
            say(
                f"{registry.partner_of(wanted)}'s terms and prices for {wanted} are in the Azure Marketplace."
            )
            say("Taking the offer accepts them.")
            confirm(yes, f"Take the offer for the project {azure.account.project}?")
            marketplace.subscribe(azure, wanted)
            say(f"{azure.account.project} has the offer.")
        say(f"`finetui azure submit FILE --model {wanted}` tunes it on the rows of FILE.")
        if json:
            out_json({"model": wanted, "subscribed": True})


def prices(
    model: Model,
    tokens: Annotated[int, typer.Option(min=0, help="Tokens trained, epochs counted.")] = 0,
    region: Annotated[str, typer.Option(help="The project's when left out.", show_default=False)] = "",
    currency: Annotated[str, typer.Option(help="Others than USD are for reference only.")] = "USD",
    json: Json = False,
) -> None:
    """Prices of tuning and using a model, from Azure's public list; what can't be told for certain is unknown."""
    from core.azure import account as accounts
    from core.azure import models as registry
    from core.azure.prices import HOURS_A_MONTH, currency_of, quotes, refuse_region

    with errors_told():
        tell_note()
        currency = currency_of(currency)
        name = registry.registry_id(model).removeprefix(registry.PREFIX)
        if region:
            refuse_region(region)
        found = quotes(name, region or accounts.load().region, currency)
        if json:
            units: dict[Any, float] = {"training": float(tokens), "hosting": float(HOURS_A_MONTH)}
            sums = {kind: {"units": n, "cost": found[kind].cost(n)} for kind, n in units.items() if n}
            out_json({kind: {**asdict(quote), **sums.get(kind, {})} for kind, quote in found.items()})
            return
        for kind, quote in found.items():
            out(f"{IN_WORDS[kind]:<38} {quote_text(quote)}")
        if tokens:
            out(f"training {tokens:,} tokens: {sum_text(found['training'].cost(tokens), currency)}")
        out(f"an endpoint for a month: {sum_text(found['hosting'].cost(HOURS_A_MONTH), currency)}")
