"""How a deployment does, from its request log. Cheap to import; reads at most what it is asked for."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from core.serving.request_log import reading
from core.serving.settings import Settings

MILLION = 1e6
LEFT = 499
"""The status of a request whose client left."""


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
        turned_away: of those, how many never came to a model's door and for which reason: no key, too many.
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
    turned_away: dict[str, int] = field(default_factory=dict)
    since: float = 0.0

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summary(directory: Path, settings: Settings, since: float = 0.0) -> Summary:
    """What the log adds up to; for arguments and errors see `summaries`."""
    return summaries(directory, settings, since)[0]


def summaries(directory: Path, settings: Settings, since: float = 0.0) -> tuple[Summary, dict[str, Summary]]:
    """What the log adds up to: all of it, and each served model's requests.

    Args:
        directory: the deployment's.
        settings: its prices and models.
        since: UTC seconds; earlier requests are left out.

    Raises:
        DeploymentError: the log is damaged.
    """
    with reading(directory) as database:
        if database is None:
            return Summary(), {model.name: Summary() for model in settings.models}
        found = {name: _read(database, name, since) for name in _models(database)}
        whole = _turned_away(database, since)
    for figures in found.values():
        whole.add(figures)
    nothing = _Figures()
    models = {model.name: found.get(model.name, nothing) for model in settings.models}
    return whole.summary(settings), {name: figures.summary(settings) for name, figures in models.items()}


@dataclass
class _Figures:
    """Sums of which a summary is made; times are milliseconds, in no order."""

    requests: int = 0
    errors: int = 0
    blocked: int = 0
    left: int = 0
    read: int = 0
    written: int = 0
    flagged: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    turned_away: Counter[str] = field(default_factory=Counter)
    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    since: float = math.inf

    def add(self, other: _Figures) -> None:
        """Add another's sums to these."""
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(other, item.name)
            setattr(self, item.name, min(mine, theirs) if item.name == "since" else mine + theirs)

    def summary(self, settings: Settings) -> Summary:
        """With percentiles, and the costs at a deployment's prices."""
        cost = (self.read * settings.price_in_usd + self.written * settings.price_out_usd) / MILLION
        return Summary(
            requests=self.requests,
            errors=self.errors,
            blocked=self.blocked,
            left=self.left,
            first_token_ms=_spread(self.first),
            per_token_ms=_spread(self.between),
            prompt_tokens=self.read,
            completion_tokens=self.written,
            cost_usd=cost if settings.price_in_usd or settings.price_out_usd else None,
            flagged=self.flagged,
            flags=dict(self.flags.most_common()),
            categories=dict(self.categories.most_common()),
            turned_away=dict(self.turned_away.most_common()),
            since=0.0 if math.isinf(self.since) else self.since,
        )


def _models(database: sqlite3.Connection) -> list[str]:
    """Every model that the log names, found by steps through an index."""
    rows = database.execute(
        """WITH RECURSIVE named(model) AS (SELECT min(model) FROM requests
            UNION ALL SELECT (SELECT min(model) FROM requests WHERE model > named.model) FROM named
            WHERE named.model IS NOT NULL)
        SELECT model FROM named WHERE model IS NOT NULL"""
    )
    return [model for (model,) in rows]


def _read(database: sqlite3.Connection, model: str, since: float) -> _Figures:
    """One model's figures. Each query finds all it needs in an index: texts that are kept are not passed over."""
    where, values = "FROM requests WHERE model = ? AND at >= ?", (model, since)
    row = database.execute(
        f"SELECT count(*), sum(prompt_tokens), sum(completion_tokens), min(at) {where}", values
    ).fetchone()
    found = _Figures(requests=row[0], read=row[1] or 0, written=row[2] or 0, since=row[3] or math.inf)
    for kind, status, error, blocked, category, flags, count in database.execute(
        f"""SELECT kind, status, error, blocked, category, flags, count(*) {where}
            AND (status != 200 OR blocked != '' OR flags != '') GROUP BY 1, 2, 3, 4, 5, 6""",
        values,
    ):
        found.left += count * (status == LEFT)
        found.errors += count * (status >= 400 and status != LEFT and not blocked)
        if blocked:
            found.blocked += count
            found.categories[f"{blocked}: {category}"] += count
        if flags:
            found.flagged += count
            found.flags.update(dict.fromkeys(flags.split(","), count))
        if not kind:
            found.turned_away[error] += count
    for column, times in (("first_token_ms", found.first), ("per_token_ms", found.between)):
        rows = database.execute(f"SELECT {column} {where} AND {column} IS NOT NULL", values)
        times += [value for (value,) in rows]
    return found


def _turned_away(database: sqlite3.Connection, since: float) -> _Figures:
    """Those that were counted only; a log that an older gateway writes has no counts."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'refusals'").fetchone():
        return _Figures()
    rows = database.execute(
        "SELECT error, sum(count), min(second) FROM refusals WHERE second >= ? GROUP BY error", (since,)
    ).fetchall()
    found = _Figures(turned_away=Counter({error: count for error, count, _ in rows}))
    found.requests = found.errors = found.turned_away.total()
    found.since = min((second for _, _, second in rows), default=math.inf)
    return found


def _spread(times: list[float]) -> Spread:
    """Nearest-rank percentiles."""
    if not times:
        return Spread()
    ordered = sorted(times)
    return Spread(*(ordered[max(0, -(-len(ordered) * percent // 100) - 1)] for percent in (50, 95)))
