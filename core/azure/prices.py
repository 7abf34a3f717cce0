"""What Azure asks for, from its public price list (no sign-in). A price that can't be told for certain is unknown."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlsplit

from core.azure.faults import AzureError, scrubbed

if TYPE_CHECKING:
    import httpx

VARIABLE = "FINETUI_AZURE_PRICES_URL"
ADDRESS = "https://prices.azure.com"
VERSION = "2023-01-01-preview"
TIMEOUT_S = 10.0
TRIES = 3
MOST_PAGES = 20
KEPT_S = 600.0
HOURS_A_MONTH = 730

Kind = Literal["training", "hosting", "input", "output"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WORDS: dict[Kind, tuple[str, ...]] = {
    "training": ("training", "train"),
    "hosting": ("hosting", "hosted"),
    "input": ("input", "inp", "inputs"),
    "output": ("output", "outp", "outputs"),
}
TUNED = ("ft", "finetuned", "finetuning", "fine")
"""In a meter's name: it is of tuned models; where there are meters with and without, that with it is meant."""
FAMILY_WORDS = frozenset(
    (
        "mini",
        "small",
        "medium",
        "large",
        "multimodal",
        "vision",
        "moe",
        "reasoning",
        "plus",
        "4k",
        "8k",
        "128k",
        "flash",
    )
)
"""Words that tell one model of a family from another: a meter must have those of the model, and no others."""
CURRENCIES = (
    "USD", "AUD", "BRL", "CAD", "CHF", "CNY", "DKK", "EUR", "GBP",
    "INR", "JPY", "KRW", "NOK", "NZD", "RUB", "SEK", "TWD",
)  # fmt: skip
"""Those of the price list, by Microsoft's documentation of it."""
REGION = re.compile(r"[a-z0-9]{2,40}")
UNIT = re.compile(r"(?P<count>[\d.,]+)?\s*(?P<scale>[KM](?![a-z]))?\s*(?P<rest>.*)", re.IGNORECASE)


@dataclass(frozen=True)
class Quote:
    """One price of the list.

    Args:
        kind: training (by the token), hosting (by the hour), input or output (by the token).
        amount: for one unit; None: unknown.
        per: units that the amount is for: tokens, or hours.
        currency: of the amount.
        unit: as the list writes it.
        meter: the list's name of what is measured.
        product: under which it is listed.
        since: day from which the price holds.
        asked: day it was asked (UTC).
        why: why it is unknown; empty where it is known.
    """

    kind: Kind
    amount: float | None
    per: float = 1.0
    currency: str = "USD"
    unit: str = ""
    meter: str = ""
    product: str = ""
    since: str = ""
    asked: str = ""
    why: str = ""

    def cost(self, units: float) -> float | None:
        """What so many tokens or hours cost; None where the price is unknown."""
        return None if self.amount is None else units / self.per * self.amount


def quotes(model: str, region: str, currency: str = "USD") -> dict[Kind, Quote]:
    """The prices of tuning and using a model in a region; each is unknown where no meter, or several, may be it.

    Never raises for a price list that can't be had: its prices are unknown then, and say why.

    Args:
        model: its name in the registry, or its registry id.
        region: where the project lies.
        currency: three letters; prices in others than USD are Microsoft's reference only.
    """
    today = datetime.now(UTC).date().isoformat()
    model = model.rpartition("/")[2]
    if not region:
        return _unknown("the project's region is not known", currency, today)
    if not REGION.fullmatch(region):  # it goes into the list's filter
        return _unknown(f"{region!r} is no region's name", currency, today)
    try:
        rows = _rows(model, region, currency)
        if not rows and not _knows(region, currency):
            return _unknown(f"the price list has no region {region!r}", currency, today)
    except AzureError as error:
        return _unknown(f"{error.what} {error.cause}", currency, today)
    return {kind: _match(kind, model, rows, currency, today) for kind in KINDS}


def _unknown(why: str, currency: str, today: str) -> dict[Kind, Quote]:
    return {kind: Quote(kind, None, currency=currency, asked=today, why=why) for kind in KINDS}


def words_of(text: str) -> list[str]:
    """The words of a name, as they are compared: `Phi-4-mini FT` is phi, 4, mini, ft."""
    return re.findall(r"[a-z0-9.]+", text.lower())


def _match(kind: Kind, model: str, rows: list[dict[str, Any]], currency: str, today: str) -> Quote:
    fitting = [row for row in rows if _is_of(model, row) and _is_kind(kind, row)]
    tuned = [row for row in fitting if set(words_of(str(row.get("meterName")))) & set(TUNED)]
    found = {str(row.get("meterId") or row.get("meterName")): row for row in tuned or fitting}
    if len(found) != 1:
        names = ", ".join(sorted({str(row.get("meterName")) for row in found.values()})[:3])
        why = (
            f"{len(found)} meters may be it: {names}"
            if found
            else "the price list has no meter with its name"
        )
        return Quote(kind, None, currency=currency, asked=today, why=why)
    row = next(iter(found.values()))
    unit = str(row.get("unitOfMeasure") or "")
    per = _per(kind, unit)
    if per is None:
        return Quote(
            kind,
            None,
            currency=currency,
            asked=today,
            why=f"its unit is {unit!r}",
            meter=str(row["meterName"]),
        )
    return Quote(
        kind,
        float(row["unitPrice"]),
        per,
        str(row.get("currencyCode") or currency),
        unit,
        str(row["meterName"]),
        str(row.get("productName") or ""),
        str(row.get("effectiveStartDate") or "")[:10],
        today,
    )


def _is_of(model: str, row: dict[str, Any]) -> bool:
    """Whether a meter is a model's and no relative's."""
    mine = set(words_of(model)) - {"instruct", "chat"}
    its = set(words_of(f"{row.get('meterName')} {row.get('skuName')}"))
    return mine <= its and not (its & FAMILY_WORDS) - mine


def _is_kind(kind: Kind, row: dict[str, Any]) -> bool:
    its = set(words_of(str(row.get("meterName"))))
    return bool(its & set(WORDS[kind])) and not any(
        its & set(WORDS[other]) for other in KINDS if other != kind
    )


def _per(kind: Kind, unit: str) -> float | None:
    """Tokens or hours of a unit such as `1K` or `1 Hour`; None for one that is neither."""
    found = UNIT.fullmatch(unit.strip())
    if found is None:
        return None
    count = float((found["count"] or "1").replace(",", ""))
    rest = found["rest"].lower().strip("/ ")
    if kind == "hosting":
        return count if rest in ("hour", "hours") and not found["scale"] else None
    if rest not in ("", "token", "tokens"):
        return None
    return count * {"K": 1e3, "M": 1e6}.get((found["scale"] or "").upper(), 1.0)


def refuse_region(region: str) -> None:
    """Refuse what the price list has no region of that name of.

    Raises:
        AzureError: there is none, or the list can't be had.
    """
    if not REGION.fullmatch(region) or not _knows(region, "USD"):
        raise AzureError(
            f"Azure's price list has no region {region!r}.",
            "",
            "Regions are named as in `eastus2`; `finetui azure models` names those that tune each model.",
            code="region",
        )


def currency_of(code: str) -> str:
    """A currency's code as the price list writes it.

    Raises:
        AzureError: the list has no such currency.
    """
    if code.upper() not in CURRENCIES:
        raise AzureError(
            f"There is no such currency as {code!r} in Azure's price list.",
            "",
            f"Use one of {', '.join(CURRENCIES)}.",
            code="currency",
        )
    return code.upper()


def _knows(region: str, currency: str) -> bool:
    """Whether the list has anything at all for a region.

    Raises:
        AzureError: the list can't be had.
    """
    return bool(_ask(_query(currency, f"armRegionName eq '{region}'"), most_pages=1))


_kept: dict[tuple[str, str, str], tuple[float, list[dict[str, Any]]]] = {}


def _rows(model: str, region: str, currency: str) -> list[dict[str, Any]]:
    """The list's rows of a model's family in a region, asked once in ten minutes."""
    family = model.partition("-")[0]
    key = (family, region, currency)
    then, rows = _kept.get(key, (0.0, []))
    if not then or time.monotonic() - then > KEPT_S:
        quoted = family.replace("'", "''")
        named = " or ".join(f"contains({field}, '{quoted}')" for field in ("productName", "meterName"))
        rows = _ask(_query(currency, f"armRegionName eq '{region}' and ({named})"))
        _kept[key] = (time.monotonic(), rows)
    return rows


def _query(currency: str, wanted: str) -> dict[str, str]:
    return {"api-version": VERSION, "currencyCode": f"'{currency}'", "$filter": wanted}


def _ask(query: dict[str, str], most_pages: int = MOST_PAGES) -> list[dict[str, Any]]:
    """Every row of a query, page by page.

    Raises:
        AzureError: the list can't be had.
    """
    import httpx

    base = os.environ.get(VARIABLE, ADDRESS).rstrip("/")
    address: str | None = str(httpx.URL(f"{base}/api/retail/prices", params=query))
    rows: list[dict[str, Any]] = []
    with _client() as client:
        for _ in range(most_pages):
            page = _page(client, str(address))
            rows += page.get("Items") or []
            address = page.get("NextPageLink")
            if not address or urlsplit(address).netloc != urlsplit(base).netloc:
                break
    return rows


def _client() -> httpx.Client:
    """A client; it reads the trusted certificates when it is made.

    Raises:
        AzureError: they can't be read; the variables that name them are named.
    """
    import httpx

    try:
        return httpx.Client(timeout=TIMEOUT_S)
    except OSError as error:
        named = " and ".join(
            f"{name}={os.environ[name]}" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)
        )
        raise AzureError(
            "Azure's price list can't be had.",
            f"The trusted certificates can't be read ({named}): {error}.",
            "Set the variable to what is there, or unset it.",
        ) from error


def _page(client: Any, address: str) -> dict[str, Any]:
    import httpx

    cause = ""
    for tried in range(TRIES):
        try:
            answer = client.get(address)
            if answer.status_code == 200:
                page: dict[str, Any] = answer.json()
                return page
            cause = f"It answers {answer.status_code}."
            if answer.status_code < 500 and answer.status_code != 429:
                break
        except (httpx.HTTPError, ValueError) as error:
            cause = scrubbed(f"{type(error).__name__}: {error}")
        if tried + 1 < TRIES:
            time.sleep(0.5 * 2**tried)
    raise AzureError("Azure's price list can't be had.", cause, "Try again later.", transient=True)
