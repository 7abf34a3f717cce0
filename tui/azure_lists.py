"""What the Azure pages list: models, endpoints, and what finetui made. No widgets are made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tui.azure_text import HEAD, LINES, sign
from tui.format import NONE, ago, count, money, one_line, visible
from tui.states import State
from tui.widgets.picklist import Pick
from tui.widgets.table import Row
from tui.widgets.textpane import Paragraph

Plain = dict[str, Any]

RETIRED = State("■", "#", "retired", "foreground-muted")
ELSEWHERE = State("✗", "x", "not in", "text-warning")
TUNED = State("✓", "+", "tuned in", "text-success")
NOWHERE = State("?", "?", "no region known", "foreground-muted")

ENDPOINTS: dict[str, State] = {
    "Online": State("●", "*", "Online", "text-success"),
    "Creating": State("◔", ">", "Creating", "text-accent"),
    "Deleting": State("■", "#", "Deleting", "text-warning"),
    "Suspended": State("‖", "=", "Suspended", "text-warning"),
    "CreationFailed": State("✗", "x", "failed", "text-error"),
    "DeletionFailed": State("✗", "x", "not deleted", "text-error"),
}

KINDS = {
    "endpoint": "Endpoints",
    "model": "Models",
    "data": "Rows that were uploaded",
    "job": "Jobs",
    "project": "Projects",
    "hub": "Hubs",
    "ai_services": "AI services accounts",
}
ONE = {"endpoint": "endpoint", "model": "model", "data": "upload", "job": "job"}
HOURS_A_DAY, HOURS_A_MONTH = 24, 730
MILLION = 1_000_000
ONE_FILE = "uri_file"
"""The kind of data asset that a job takes."""


def details(parts: Iterable[tuple[str, str, str]]) -> list[Paragraph]:
    """(head, text, style) as the lines of a pane; nothing of those without a text."""
    return [Paragraph(visible(text), style, head=f"{head:<{HEAD}}") for head, text, style in parts if text]


# Prices


def per_million(quote: Plain) -> str:
    """A price by the token, for a million; unknown says why."""
    if quote["amount"] is None:
        return f"unknown: {quote['why']}"
    return f"{money(quote['amount'] / quote['per'] * MILLION, quote['currency'])} for a million tokens"


def per_hour(quote: Plain | None) -> str:
    """A price by the hour; unknown says why."""
    if quote is None:
        return "nothing by the hour"
    if quote["amount"] is None:
        return f"unknown by the hour: {quote['why']}"
    hour = quote["amount"] / quote["per"]
    month = money(hour * HOURS_A_MONTH, quote["currency"])
    return f"{money(hour, quote['currency'])} an hour ({month} a month), used or not"


def short_price(quotes: Plain | None, kind: str) -> str:
    """A price for a table's cell."""
    if not quotes:
        return NONE
    quote = quotes[kind]
    if quote["amount"] is None:
        return "unknown"
    return money(quote["amount"] / quote["per"] * (1 if kind == "hosting" else MILLION), quote["currency"])


# Models


def model_state(model: Plain, region: str) -> tuple[State, str]:
    """How a model is shown: its state for a project in a region, and the words."""
    if model["retired"]:
        after = f": use {model['successor']}" if model["successor"] else ""
        return RETIRED, f"{sign(RETIRED)}{after}"
    if not model["regions"]:
        return NOWHERE, sign(NOWHERE)
    if region and region not in model["regions"]:
        others = len(model["regions"])
        return ELSEWHERE, f"{sign(ELSEWHERE)} {region}, in {count(others)} other{'s' if others > 1 else ''}"
    where = region or f"{count(len(model['regions']))} regions"
    return TUNED, f"{sign(TUNED)} {where}"


def sorted_models(models: Iterable[Plain], region: str) -> list[Plain]:
    """Those that a project in a region can tune first, the retired ones last."""
    order = (TUNED, ELSEWHERE, NOWHERE, RETIRED)
    return sorted(models, key=lambda model: order.index(model_state(model, region)[0]))


def model_rows(models: Sequence[Plain], region: str, prices: dict[str, Plain]) -> list[Row]:
    """The models as rows of a table."""
    rows = []
    for model in models:
        state, words = model_state(model, region)
        cells = {
            "name": one_line(model["name"]),
            "state": one_line(words),
            "context": count(model["context"]) if model["context"] else NONE,
            "licence": one_line(model["licence"]) or NONE,
            "training": short_price(prices.get(model["name"]), "training"),
            "hosting": short_price(prices.get(model["name"]), "hosting"),
        }
        rows.append(Row(model["name"], cells, {"state": state.colour}))
    return rows


def model_details(model: Plain, region: str, quotes: Plain | None) -> list[Paragraph]:
    """Everything that is known of a model."""
    _, words = model_state(model, region)
    if model["retired"]:
        words += f", since {model['retired']}"
        words += "; it can still be trained on this machine" if model["catalogue_id"] else ""
    whose = {
        "registry": "  (by its registry entry)",
        "catalogue": "  (by Microsoft's table, as finetui has it)",
    }
    regions = ", ".join(model["regions"])
    regions += whose.get(model["regions_from"], "") if regions else ""
    defaults = ", ".join(f"{name} {value}" for name, value in model["defaults"].items())
    return details(
        [
            ("state", words, "error" if model["retired"] else ""),
            *([] if model["retired"] else _price_parts(quotes)),
            ("regions", regions, ""),
            ("tasks", ", ".join(model["tasks"]) or "none that is known", ""),
            ("context", f"{count(model['context'])} tokens" if model["context"] else "unknown", ""),
            ("licence", model["licence"] or "unknown", ""),
            ("unset", f"the service's own settings: {defaults}" if defaults else "", "muted"),
        ]
    )


def _price_parts(quotes: Plain | None) -> list[tuple[str, str, str]]:
    if quotes is None:
        return [("price", "asking the public price list ...", "muted")]
    meters = "; ".join(dict.fromkeys(quote["meter"] for quote in quotes.values() if quote["meter"]))
    asked = next((quote["asked"] for quote in quotes.values() if quote["asked"]), "")
    return [
        ("training", per_million(quotes["training"]), ""),
        ("endpoint", per_hour(quotes["hosting"]), ""),
        ("prompts", per_million(quotes["input"]), ""),
        ("replies", per_million(quotes["output"]), ""),
        ("meters", f"{meters}  (public list of {asked})" if meters else "", "muted"),
    ]


# Data


def asset_options(assets: Iterable[Plain], now: float) -> list[tuple[str, str, str]]:
    """The data assets that a job takes as options of a dialog, newest first: as recipes name them, what they are, and
    when they were made."""
    options = []
    for item in sorted(assets, key=lambda item: -item["created"]):
        name = item["ref"].removeprefix("azureml:")
        made = ago(item["created"], now) if item["created"] else ""
        beside = (made, name) if item["description"] else (made,)
        if item["kind"] == ONE_FILE:
            title, note = item["description"] or name, ", ".join(filter(None, beside))
            options.append((item["ref"], one_line(title), one_line(note)))
    return options


def looked_at(found: Plain) -> str:
    """What is in a data asset, in a line: its rows, or why they can't be had, and the first that can't be sent."""
    if found["why"]:
        return str(found["why"])
    words = f"{count(found['rows'])} rows"
    if faults := found["faults"]:
        words += f", {count(len(faults))} that Azure can't take; line {count(faults[0]['line'])}: {faults[0]['why']}"
    return words


# Endpoints


def endpoint_rows(endpoints: Sequence[Plain], now: float) -> list[Row]:
    """The endpoints as rows of a table."""
    rows = []
    for item in endpoints:
        state = ENDPOINTS.get(item["state"], LINES["unknown"])
        words = sign(state) if item["state"] in ENDPOINTS else f"? {one_line(item['state'])}"
        quote = item["hosting"]
        cost = NONE if quote is None else "unknown" if quote["amount"] is None else _hourly(quote)
        cells = {
            "name": one_line(item["name"]),
            "state": words,
            "model": one_line(item["model"]),
            "cost": cost,
            "use": _use(item, now),
            "safety": {"Enabled": "filter on", "Disabled": "filter off"}.get(item["content_safety"], NONE),
            "by": "finetui" if item["run"] else "elsewhere",
        }
        rows.append(
            Row(
                item["name"],
                cells,
                {"state": state.colour, "use": "text-warning"} if item["idle"] else {"state": state.colour},
            )
        )
    return rows


def _hourly(quote: Plain) -> str:
    return money(quote["amount"] / quote["per"], quote["currency"])


def _use(item: Plain, now: float) -> str:
    """When it was last talked to from this machine."""
    if item["idle"]:
        return f"! idle {ago(max(item['created'], item['used']), now).removesuffix(' ago')}"
    return f"used {ago(item['used'], now)}" if item["used"] else "not used yet"


def endpoint_details(item: Plain, now: float) -> list[Paragraph]:
    """Everything that is known of an endpoint."""
    safety = {
        "Enabled": "on: prompts and replies pass Azure's filter",
        "Disabled": "off: nothing is filtered",
    }
    made = (
        f"{ago(item['created'], now)}, for the run {item['run']}"
        if item["run"] not in ("", "-")
        else ago(item["created"], now)
    )
    idle = "! nobody on this machine has talked to it for a day or more; others may" if item["idle"] else ""
    return details(
        [
            ("model", item["model"], ""),
            ("costs", per_hour(item["hosting"]), ""),
            ("idle", idle, "warning"),
            ("address", item["address"] or "none yet", ""),
            ("filter", safety.get(item["content_safety"], "Azure doesn't say"), ""),
            ("region", item["region"], ""),
            ("made", made if item["run"] else f"{made}, not by finetui", ""),
        ]
    )


def deploy_costs(quotes: Plain, region: str) -> str:
    """What a new endpoint will cost, in a sentence or two."""
    words = f"In {region or 'the region of the project'}. Costs: {per_hour(quotes['hosting'])}, until it is deleted."
    kinds = (("prompts", quotes["input"]), ("replies", quotes["output"]))
    known = [f"{word} {per_million(quote)}" for word, quote in kinds if quote["amount"] is not None]
    words += f" Beside: {', '.join(known)}." if known else ""
    asked = quotes["hosting"]["asked"]
    return f"{words} Azure's public list of {asked}." if asked else words


def deploy_terms(licence: str, partner: str) -> str:
    """What is agreed to with a new endpoint, by the base model's licence and the partner whose it is, if any."""
    if partner:
        return f"Terms: those of {partner}'s offer in the Azure Marketplace."
    model = f"; the base model's licence: {licence}" if licence else ""
    return f"Terms: Microsoft's Product Terms (https://www.microsoft.com/licensing/terms){model}."


def bill(endpoints: Sequence[Plain]) -> str:
    """A warning while anything is charged by the hour; empty when nothing is."""
    billed = [item for item in endpoints if item["billed"]]
    if not billed:
        return ""
    known = [item["hosting"] for item in billed if item["hosting"] and item["hosting"]["amount"] is not None]
    text = f"! {count(len(billed))} endpoint{'s' if len(billed) > 1 else ''} charged by the hour, used or not"
    if known:
        hour, currency = sum(quote["amount"] / quote["per"] for quote in known), known[0]["currency"]
        text += f": {money(hour, currency)}/h, {money(hour * HOURS_A_DAY, currency)} a day"
    if len(known) < len(billed):
        text += f"; the price of {count(len(billed) - len(known))} is unknown"
    return text


# Clean-up


def thing_picks(things: Sequence[Plain]) -> list[Pick]:
    """What finetui made as lines to mark, by kind."""
    picks: list[Pick] = []
    kind = ""
    for thing in things:
        if thing["kind"] != kind:
            kind = thing["kind"]
            picks.append(Pick("", KINDS[kind]))
        picks.append(
            Pick(thing["key"], one_line(thing["name"]), _cost(thing), _note(thing), bool(thing["stays"]))
        )
    return picks


def _cost(thing: Plain) -> str:
    """What a thing costs, in ten cells."""
    if thing["per_hour"] is not None:
        return f"{money(thing['per_hour'], thing['currency'])}/h"
    if thing["cost"].startswith("nothing"):
        return "nothing"
    return "storage" if thing["kind"] in ("model", "data") else "unknown"


def _note(thing: Plain) -> str:
    if thing["stays"]:
        return f"not now: {one_line(thing['stays'])}"
    parts = (
        f"in use by {thing['used_by']}" if thing["used_by"] else "",
        thing["state"],
        f"run {thing['run']}",
    )
    return ", ".join(one_line(part) for part in parts if part)


def thing_details(thing: Plain, now: float) -> list[Paragraph]:
    """Everything that is known of a thing."""
    kept = {
        "endpoint": "its model stays",
        "model": "it can't be deployed again",
        "data": "a later run uploads the same rows again",
        "job": "its metrics in Azure go with it; the run here stays",
    }
    return details(
        [
            ("costs", thing["cost"], ""),
            (
                "in use",
                f"by the endpoint {thing['used_by']}, which goes first" if thing["used_by"] else "",
                "warning",
            ),
            ("stays", thing["stays"], "warning"),
            ("made", f"{ago(thing['created'], now)}, for the run {thing['run']}" if thing["run"] else "", ""),
            ("lost", kept.get(thing["kind"], ""), ""),
        ]
    )


def in_use(thing: Plain, marked: set[str]) -> str:
    """The endpoint that serves a model and is not to go with it; empty when nothing keeps it."""
    user = str(thing["used_by"])
    return user if user and f"endpoint {user}" not in marked else ""


def loses(things: Sequence[Plain]) -> str:
    """What goes with these, and what no longer costs."""
    counts = [
        f"{count(number)} {word}{'s' if number > 1 else ''}"
        for kind, word in ONE.items()
        if (number := sum(thing["kind"] == kind for thing in things))
    ]
    hourly = [thing for thing in things if thing["per_hour"] is not None]
    text = f"{', '.join(counts)}. What is deleted in Azure can't be brought back."
    if hourly:
        saved = money(sum(thing["per_hour"] for thing in hourly), hourly[0]["currency"])
        text += f" {saved} an hour are no longer charged."
    return text
