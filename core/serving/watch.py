"""How a deployment does, from its request log. Cheap to import; reads at most what it is asked for."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.serving.request_log import reading
from core.serving.settings import Settings

MILLION = 1e6


@dataclass(frozen=True)
class Spread:
    """Of a measure in milliseconds: its middle and what 95 of 100 stay within; None where nothing was measured."""

    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True)
class Summary:
    """A deployment's requests, or one model's.

    Attributes:
        requests: that came.
        errors: answered with an error, those turned away among them; blocked ones are not errors.
        blocked: by safety.
        left: whose client went before the end.
        first_token_ms: from request to first token.
        per_token_ms: between tokens.
        prompt_tokens, completion_tokens: sums.
        cost_usd: at the deployment's prices, None where it has none.
        flagged: requests whose prompts look unlike the training data.
        flags: of those, how many for which reason.
        categories: what safety found, and how often.
        since: time of the earliest request counted, 0 when there is none.
    """

    requests: int = 0
    errors: int = 0
    blocked: int = 0
    left: int = 0
    first_token_ms: Spread = field(default_factory=Spread)
    per_token_ms: Spread = field(default_factory=Spread)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    flagged: int = 0
    flags: dict[str, int] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)
    since: float = 0.0

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summary(directory: Path, settings: Settings, since: float = 0.0, model: str | None = None) -> Summary:
    """What the log adds up to.

    Args:
        directory: the deployment's.
        settings: its prices.
        since: UTC seconds; earlier requests are left out.
        model: only requests for this model.

    Raises:
        DeploymentError: the log is damaged.
    """
    with reading(directory) as database:
        if database is None:
            return Summary()
        return _summed(database, settings, since, model)


def _summed(database: sqlite3.Connection, settings: Settings, since: float, model: str | None) -> Summary:
    where, values = "at >= ?", [since]
    if model is not None:
        where, values = where + " AND model = ?", [since, model]  # type: ignore[list-item]
    row = database.execute(
        f"""SELECT count(*), sum(status >= 400 AND status != 499 AND blocked = ''), sum(blocked != ''),
            sum(status = 499), sum(prompt_tokens), sum(completion_tokens), sum(flags != ''), min(at)
            FROM requests WHERE {where}""",
        values,
    ).fetchone()
    requests, errors, blocked, left, read, written, flagged, earliest = (value or 0 for value in row)
    flags: Counter[str] = Counter()
    for text, count in database.execute(
        f"SELECT flags, count(*) FROM requests WHERE flags != '' AND {where} GROUP BY flags", values
    ):
        flags.update(dict.fromkeys(text.split(","), count))
    found = database.execute(
        f"SELECT blocked || ': ' || category, count(*) FROM requests WHERE blocked != '' AND {where} GROUP BY 1",
        values,
    )
    priced = settings.price_in_usd or settings.price_out_usd
    cost = (read * settings.price_in_usd + written * settings.price_out_usd) / MILLION
    return Summary(
        requests=requests,
        errors=errors,
        blocked=blocked,
        left=left,
        first_token_ms=_spread(database, "first_token_ms", where, values),
        per_token_ms=_spread(database, "per_token_ms", where, values),
        prompt_tokens=read,
        completion_tokens=written,
        cost_usd=cost if priced else None,
        flagged=flagged,
        flags=dict(flags.most_common()),
        categories=dict(found.fetchall()),
        since=earliest,
    )


def _spread(database: sqlite3.Connection, column: str, where: str, values: list[Any]) -> Spread:
    """Nearest-rank percentiles."""
    where = f"{column} IS NOT NULL AND {where}"
    count = database.execute(f"SELECT count(*) FROM requests WHERE {where}", values).fetchone()[0]
    if not count:
        return Spread()
    found = [
        database.execute(
            f"SELECT {column} FROM requests WHERE {where} ORDER BY {column} LIMIT 1 OFFSET ?",
            [*values, max(0, -(-count * percent // 100) - 1)],
        ).fetchone()[0]
        for percent in (50, 95)
    ]
    return Spread(*found)
