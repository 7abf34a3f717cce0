"""What the deployments screen says of a deployment, its requests and its log. No widgets."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tui.deployment_watch import Period, Watched
from tui.format import NONE, ago, clock, count, duration, money, one_line, short, size, visible
from tui.states import state_of, words
from tui.widgets.table import Column, Row
from tui.widgets.textpane import Paragraph

if TYPE_CHECKING:
    from core.serving.deployments import Deployment
    from core.serving.request_log import Entry
    from core.serving.settings import ServedModel
    from core.serving.trash import Dependents, Removed
    from core.serving.watch import Spread

COLUMNS = (
    Column("name", "name", 0),
    Column("state", "state", 11),
    Column("models", "models", 26, 130),
    Column("address", "address", 20, 106),
    Column("requests", "requests", 8, right=True),
    Column("errors", "errors", 6, right=True),
    Column("blocked", "blocked", 7, 90, right=True),
    Column("p95", "p95 first", 9, right=True),
    Column("age", "made", 10),
)
HEAD = 10
"""Cells of the words before a line of the watch page."""

LEFT = 499
"""The status of a request whose client left before the end."""

MOST_KEPT = 300
"""Characters of a kept text that the list of requests shows."""

SAFETY = {
    "off": "off: nothing is blocked",
    "patterns": "a block list of patterns",
    "azure": "Azure AI Content Safety",
    "guard": "a guard model",
}


def ms(value: float | None) -> str:
    """Milliseconds as people read them: `4.2 ms`, `420 ms`, `1.8 s`; a dash where there are none."""
    if value is None:
        return NONE
    if value >= 999.5:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 9.95 else f"{value:.1f} ms"


# The list


def row(item: Watched, now: float, busy: str = "") -> Row:
    """A deployment in the list.

    Args:
        item: what was seen.
        now: UTC seconds.
        busy: what is being done to it, e.g. `stopping`; shown in place of its state.
    """
    here, summary = item.deployment, item.summary
    state = busy or here.state
    cells = {
        "name": one_line(here.name),
        "state": words(state),
        "models": ", ".join(one_line(model.name) for model in here.models) or NONE,
        "address": _address(here),
        "requests": count(summary.requests) if summary else NONE,
        "errors": count(summary.errors) if summary else NONE,
        "blocked": count(summary.blocked) if summary else NONE,
        "p95": ms(summary.first_token_ms.p95 if summary else None),
        "age": ago(here.created, now),
    }
    colours = {"state": state_of(state).colour}
    if summary and summary.errors:
        colours["errors"] = "text-error"
    if summary and summary.blocked:
        colours["blocked"] = "text-warning"
    return Row(here.name, cells, colours)


def _address(here: Deployment) -> str:
    return visible(here.url.removeprefix("http://").removesuffix("/v1")) if here.port else NONE


def haystack(item: Watched) -> str:
    """The words that the filter looks among."""
    here = item.deployment
    parts = [here.name, here.state, here.url, here.settings.safety.get("kind", "")]
    for model in here.models:
        parts += [model.name, model.kind, model.run, model.base]
    return " ".join(map(str, parts)).lower()


# The watch page


def title(item: Watched, busy: str = "") -> str:
    """Name and state, for the pane's border."""
    return f"{visible(item.deployment.name)}  {words(busy or item.deployment.state)}"


def watch_paragraphs(item: Watched, period: Period, now: float) -> list[Paragraph]:
    """The page of one deployment: what is wrong, where it is, what it serves, its figures, how it is set."""
    here = item.deployment
    return [
        *_trouble(item),
        *_where(here, now),
        *_models(item),
        *_figures(item, period),
        *_settings(item),
    ]


def _line(head: str, text: str, style: str = "") -> Paragraph:
    return Paragraph(text, style, head=f"{head:<{HEAD}}")


def _trouble(item: Watched) -> list[Paragraph]:
    here = item.deployment
    told = []
    if here.reason:
        told.append(Paragraph(visible(here.reason, lines=True), _severity(here)))
        if here.next_step:
            told.append(_line("next", visible(here.next_step, lines=True)))
    if item.error is not None:
        told.append(Paragraph(visible(item.error.what, lines=True), "error"))
        for head, text in (("cause", item.error.cause), ("next", item.error.next_step)):
            if text:
                told.append(_line(head, visible(text, lines=True)))
    return told


def _severity(here: Deployment) -> str:
    return "error" if here.state == "failed" else "warning"


def _where(here: Deployment, now: float) -> list[Paragraph]:
    told = []
    if here.started:
        told.append(_line("started", f"{ago(here.started, now)}, process {here.pid}"))
    if here.port:
        told.append(_line("address", visible(here.url), "accent"))
    if here.host not in ("127.0.0.1", "::1", "localhost", ""):
        told.append(_line("", "others in the network reach it, over plain HTTP", "warning"))
    return told


def _models(item: Watched) -> list[Paragraph]:
    told = []
    for number, model in enumerate(item.deployment.models):
        head = "" if number else "models" if len(item.deployment.models) > 1 else "model"
        told.append(_line(head, _model(item.deployment, model)))
        reason = item.deployment.upstreams.get(model.name, {}).get("reason", "")
        if reason:
            told.append(_line("", visible(str(reason)), "warning"))
        own = item.models.get(model.name)
        if own is not None and own.requests:
            figures = f"{_many(own.requests, 'request')}, first token p95 {ms(own.first_token_ms.p95)}"
            told.append(_line("", figures, "muted"))
    return told


def _model(here: Deployment, model: ServedModel) -> str:
    upstream = here.upstreams.get(model.name, {})
    state = f"  {visible(str(upstream.get('state', '')))}" if upstream else ""
    restarts = upstream.get("restarts", 0)
    again = f", {_many(restarts, 'restart')}" if restarts else ""
    if model.kind == "base":
        return f"{visible(model.name)}  the base, {size(model.bytes)}{state}{again}"
    step = f" @{count(model.checkpoint)}" if model.checkpoint is not None else ""
    made = f"from {visible(model.run)}{step}, base {visible(model.base)}, {size(model.bytes)}"
    return f"{visible(model.name)}  {made}{state}{again}"


def _figures(item: Watched, period: Period) -> list[Paragraph]:
    summary = item.summary
    if summary is None:
        return [] if item.error is not None else [_line("requests", "being counted", "muted")]
    if not summary.requests:
        when = "yet" if not period.seconds else f"in {period.words}"
        return [_line("requests", f"none {when}", "muted")]
    left = f", {count(summary.left)} left by their client" if summary.left else ""
    told = [
        _line(
            "requests",
            f"{count(summary.requests)} {'in ' + period.words if period.seconds else 'in all'}: "
            f"{_many(summary.errors, 'error')}, {count(summary.blocked)} blocked{left}",
        ),
        _line("to first", _spread(summary.first_token_ms)),
        _line("per token", _spread(summary.per_token_ms)),
        _line("tokens", f"{short(summary.prompt_tokens)} read, {short(summary.completion_tokens)} written"),
    ]
    if summary.cost_usd is not None:
        told.append(_line("cost", money(summary.cost_usd)))
    if summary.flagged:
        told.append(
            _line("unlike", f"{_many(summary.flagged, 'prompt')} unlike the training data: {_counts(summary.flags)}",
                  "warning")
        )  # fmt: skip
    if summary.categories:
        told.append(_line("blocked", _counts(summary.categories), "warning"))
    if summary.turned_away:
        told.append(_line("away", f"turned away: {_counts(summary.turned_away)}", "warning"))
    return told


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{one_line(name)} ({count(number)})" for name, number in found.items())


def _many(number: int, word: str) -> str:
    return f"{count(number)} {word}{'' if number == 1 else 's'}"


def _spread(found: Spread) -> str:
    return f"p50 {ms(found.p50)}   p95 {ms(found.p95)}" if found.p95 is not None else NONE


def _settings(item: Watched) -> list[Paragraph]:
    here = item.deployment
    settings, limits = here.settings, here.settings.limits
    if not settings.created:
        return [_line("folder", visible(str(here.directory)), "muted")]
    kind = str(settings.safety.get("kind", ""))
    safety = SAFETY.get(kind, visible(kind))
    if kind == "guard":
        model, where = (visible(str(settings.safety.get(name, ""))) for name in ("model", "deployment"))
        safety += f": {model} at {where}"
    texts = "kept" if settings.keep_texts else "not kept"
    days = _many(settings.retention_days, "day")
    at_once = "" if limits.burst == limits.per_minute else f" (at once {count(limits.burst)})"
    told = [_line("safety", safety)]
    told += [
        _line("check" if not number else "", visible(sentence), "warning" if _warns(sentence) else "")
        for number, sentence in enumerate(item.check)
    ]
    told += [
        _line("log", f"{size(item.bytes)}, goes back {days}; texts are {texts}"),
        _line(
            "limits",
            f"{_many(limits.per_minute, 'request')} a minute{at_once}, {count(limits.queue)} waiting, replies up to "
            f"{count(limits.max_tokens)} tokens",
            "muted",
        ),
        _line("folder", visible(str(here.directory)), "muted"),
    ]
    return told


def _warns(sentence: str) -> bool:
    return "think of --safety" in sentence or "Tuning made it refuse" in sentence


# Requests and log


def request_paragraphs(entries: Iterable[Entry]) -> list[Paragraph]:
    """Requests, a line each; where their texts are kept, their beginnings under it."""
    told = []
    for entry in entries:
        text, style = _request(entry)
        told.append(Paragraph(text, style, head=f"{clock(entry.at)}  "))
        for head, kept in (("prompt", entry.prompt), ("reply", entry.completion)):
            if kept:
                told.append(Paragraph(one_line(kept[:MOST_KEPT]), "muted", head=f"{head:>8}  "))
    return told


def _request(entry: Entry) -> tuple[str, str]:
    """Words and style of a request."""
    parts = [one_line(entry.model) or "-", str(entry.status)]
    if entry.prompt_tokens is not None or entry.completion_tokens is not None:
        parts.append(f"{count(entry.prompt_tokens or 0)}+{count(entry.completion_tokens or 0)} tokens")
    if entry.first_token_ms is not None:
        parts.append(f"first {ms(entry.first_token_ms)}")
    parts.append(ms(entry.duration_ms))
    style = ""
    if entry.flags:
        parts.append(f"! unlike the training data: {one_line(entry.flags.replace(',', ', '))}")
        style = "accent"
    if entry.blocked:
        parts.append(f"✗ blocked in the {one_line(entry.blocked)}: {one_line(entry.category)}")
        style = "warning"
    elif entry.status == LEFT:
        parts.append("the client left")
        style = "muted"
    elif entry.status >= 400:
        parts.append(f"✗ {one_line(entry.error) or 'error'}")
        style = "error"
    return "  ".join(parts), style


def log_paragraphs(lines: Iterable[str]) -> list[Paragraph]:
    """Lines of the gateway's log, as they are."""
    return [Paragraph(visible(line, lines=True)) for line in lines]


# Questions


def _who(here: Deployment) -> str:
    return f"{visible(here.url)}" if here.port else "its address"


def stop_question(here: Deployment, again: bool) -> tuple[str, str, str]:
    """Question, what is lost, and the words of the answer.

    Args:
        here: the deployment.
        again: it is started again at once.
    """
    grace = duration(here.settings.limits.grace_s)
    verb = "Restart" if again else "Stop"
    until = "until its models are loaded again" if again else f"until {visible(here.name)} is started again"
    return (
        f"{verb} {visible(here.name)}?",
        f"Replies that are being written have {grace} to end. Then {_who(here)} gives no answer {until}.",
        f"{verb} it",
    )


def key_question(here: Deployment) -> tuple[str, str, str]:
    """The same for another key."""
    return (
        f"Make another key for {visible(here.name)}?",
        f"The old one ends at once: programs that use it are refused at {_who(here)} until they have the new "
        "one, which is shown once.",
        "Make another",
    )


def remove_question(item: Watched, folder_bytes: int, found: Dependents) -> tuple[str, str, str]:
    """The same for removing it.

    Args:
        item: the deployment.
        folder_bytes: what its directory takes.
        found: what depends on it.
    """
    here = item.deployment
    goes = "It goes to the trash with its merged weights, its request log and its logs"
    loses = (
        f"{goes} ({size(folder_bytes)}) and can be brought back for 30 days (u). Meanwhile {_who(here)} gives "
        "no answer. Its runs stay."
    )
    return f"Remove {visible(here.name)}?", "\n".join([loses, *dependents_lines(found)]), "Remove"


def dependents_lines(found: Dependents) -> list[str]:
    """Who would miss a deployment, a sentence each."""
    lines = []
    if found.guarded:
        asks = "asks" if len(found.guarded) == 1 else "ask"
        names = ", ".join(map(visible, found.guarded))
        lines.append(f"{names} {asks} it about each text, and will refuse everything.")
    if found.chats:
        titles = ", ".join(one_line(title) for title in found.chats[:3])
        more = " and others" if len(found.chats) > 3 else ""
        lines.append(f"Kept chats with it stay to be read, without new replies: {titles}{more}.")
    return lines


def removed_words(item: Removed) -> str:
    """When a deployment was removed, what it takes, and how long it stays."""
    days = max(0, round(item.left_s / 86400))
    return f"removed {ago(item.removed, time.time())}, {size(item.bytes)}, kept for {days} more days"
