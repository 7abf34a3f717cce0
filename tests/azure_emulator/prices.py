"""The public price list: `GET /api/retail/prices` with an OData filter, page by page.

The rows have the real list's shape. The meters' names and the amounts are invented: no text shows which meters carry
the fine-tuning of Phi models.
"""

from __future__ import annotations

import re
import urllib.parse
import uuid
from collections.abc import Callable
from typing import Any

from tests.azure_emulator import arm
from tests.azure_emulator.registry import LIVE, REGIONS
from tests.azure_emulator.wire import Answer, Call, Refusal, Table

Row = dict[str, Any]
METERS = (
    ("Training Tokens", "1K", 0.003),
    ("Hosting Unit", "1 Hour", 0.8),
    ("Input Tokens", "1K", 0.000075),
    ("Output Tokens", "1K", 0.0003),
)
RATES = {"USD": 1.0, "EUR": 0.92, "GBP": 0.79}
TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<mark>[(),])|(?P<word>[^\s(),']+))")


def routes(table: Table) -> None:
    table.add("GET", "/api/retail/prices", prices, "open")


def all_rows() -> list[Row]:
    """One row a model, meter and region; and one that has nothing to do with models in each region there is."""
    return [
        {**_row("Hot LRS", region, "Data Stored", "1 GB/Month", 0.02), "productName": "Blob Storage"}
        for region in arm.REGIONS
    ] + [
        _row(model.name, region, meter, unit, amount * (4 if model.name == "Phi-4" else 1))
        for model in LIVE
        if model.regions
        for region in REGIONS
        for meter, unit, amount in METERS
    ]


def _row(model: str, region: str, meter: str, unit: str, amount: float) -> Row:
    name = f"{model} FT {meter}" if meter in ("Training Tokens", "Hosting Unit") else f"{model} {meter}"
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": amount,
        "unitPrice": amount,
        "armRegionName": region,
        "location": arm.REGIONS[region],
        "effectiveStartDate": "2026-01-01T00:00:00Z",
        "meterId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name}/{region}")),
        "meterName": name,
        "productId": "DZH318Z0LOOP",
        "skuId": "DZH318Z0LOOP/0001",
        "productName": "Phi Models" if model != "Phi-4" else "Phi-4 Models",
        "skuName": name,
        "serviceName": "Foundry Models",
        "serviceId": "DZH318Z0LOOP",
        "serviceFamily": "AI + Machine Learning",
        "unitOfMeasure": unit,
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": "",
    }


def prices(call: Call) -> Answer:
    """Rows that the filter lets through, in the currency asked for."""
    currency = call.query.get("currencyCode", "USD").strip("'").upper()
    if currency not in RATES:
        raise Refusal(400, "BadRequest", f"Currency {currency} is not known.")
    wanted = call.query.get("$filter")
    matches = parse(wanted) if wanted else lambda row: True
    rows = [_in(currency, row) for row in call.azure.price_rows if matches(row)]
    begin, page = int(call.query.get("$skip", 0)), call.azure.state.settings.prices_page
    following = None
    if begin + page < len(rows):
        query = urllib.parse.urlencode({**call.query, "$skip": begin + page})
        following = f"{call.azure.url}/api/retail/prices?{query}"
    shown = rows[begin : begin + page]
    return Answer(
        body={
            "BillingCurrency": currency,
            "CustomerEntityId": "Default",
            "CustomerEntityType": "Retail",
            "Items": shown,
            "NextPageLink": following,
            "Count": len(shown),
        }
    )


def _in(currency: str, row: Row) -> Row:
    rate = RATES[currency]
    amount = round(row["unitPrice"] * rate, 10)
    return {**row, "currencyCode": currency, "retailPrice": amount, "unitPrice": amount}


def parse(text: str) -> Callable[[Row], bool]:
    """A filter of `eq`, `ne`, `contains(,)`, `startswith(,)`, `endswith(,)`, `and`, `or` and brackets; values as
    case-sensitive as the list's own. A `Refusal` 400 for anything else."""
    tokens = [found.group().strip() for found in TOKEN.finditer(text)]
    condition, rest = _either(tokens)
    if rest:
        raise _invalid(text)
    return condition


def _invalid(text: str) -> Refusal:
    return Refusal(400, "BadRequest", f"Invalid OData parameters supplied: {text}")


def _either(tokens: list[str]) -> tuple[Callable[[Row], bool], list[str]]:
    left, rest = _both(tokens)
    while rest and rest[0] == "or":
        right, rest = _both(rest[1:])
        left = _join(left, right, any)
    return left, rest


def _both(tokens: list[str]) -> tuple[Callable[[Row], bool], list[str]]:
    left, rest = _one(tokens)
    while rest and rest[0] == "and":
        right, rest = _one(rest[1:])
        left = _join(left, right, all)
    return left, rest


def _join(
    left: Callable[[Row], bool], right: Callable[[Row], bool], how: Callable[[list[bool]], bool]
) -> Callable[[Row], bool]:
    return lambda row: how([left(row), right(row)])


def _one(tokens: list[str]) -> tuple[Callable[[Row], bool], list[str]]:
    match tokens:
        case ["(", *inside]:
            condition, rest = _either(inside)
            if rest[:1] != [")"]:
                raise _invalid(" ".join(tokens))
            return condition, rest[1:]
        case ["contains" | "startswith" | "endswith" as how, "(", name, ",", value, ")", *rest]:
            wanted = _value(value)
            tests: dict[str, Callable[[str], bool]] = {
                "contains": lambda held: wanted in held,
                "startswith": lambda held: held.startswith(wanted),
                "endswith": lambda held: held.endswith(wanted),
            }
            return (lambda row: tests[how](str(_held(row, name)))), rest
        case [name, "eq" | "ne" as how, value, *rest]:
            wanted = _value(value)
            return (lambda row: (str(_held(row, name)) == wanted) == (how == "eq")), rest
    raise _invalid(" ".join(tokens))


def _value(token: str) -> str:
    return token[1:-1].replace("''", "'") if token.startswith("'") else token.capitalize()


def _held(row: Row, name: str) -> Any:
    # `meterRegion eq 'primary'` filters by a field that the rows carry under another name.
    if name == "meterRegion":
        return "primary" if row["isPrimaryMeterRegion"] else "secondary"
    if name not in row:
        raise _invalid(name)
    return row[name]
