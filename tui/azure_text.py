"""What the Azure pages say: account, checklist, prices, and errors whose next step names keys. No widgets are made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from core.errors import FinetuiError
from tui.format import ascii_only, one_line, visible
from tui.states import State
from tui.widgets.table import Row
from tui.widgets.textpane import Paragraph

Plain = dict[str, Any]

IDENTITIES = {
    "azure_cli": "Azure CLI",
    "device_code": "Device code",
    "service_principal": "Service principal",
    "managed_identity": "Managed identity",
}
"""Names of the ways to sign in; core.azure.account has a sentence for each."""

IN_SENTENCES = {
    "azure_cli": "the Azure CLI",
    "device_code": "a device code",
    "service_principal": "a service principal",
    "managed_identity": "a managed identity",
}
"""The same within a sentence."""

LINES: dict[str, State] = {
    "ok": State("✓", "+", "ok", "text-success"),
    "missing": State("✗", "x", "missing", "text-error"),
    "warning": State("!", "!", "warning", "text-warning"),
    "unknown": State("?", "?", "unknown", "foreground-muted"),
    "waiting": State("○", "o", "waits", "foreground-muted"),
    "optional": State("○", "o", "optional", "foreground-muted"),
    "asking": State("◔", ">", "asking", "text-accent"),
}
"""States of the checklist's lines."""

SIGN_IN = "sign_in"
SHORT_ID = 8
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
HEAD = 9
"""Cells of the words before a pane's lines."""

KEYS = (
    (r"`finetui azure login( --subscription \w+)?` (?P<verb>chooses)", "c on Get ready {verb}"),
    (r"`finetui azure login( --\w+)?`", "i on Get ready"),
    (r"`finetui azure check( --fix)?`", "enter on its line on Get ready"),
    (r"`finetui azure account`", "Get ready"),
    (r"Sign in with the code that is shown\.", "Sign in again: i on Get ready."),
    (r"`finetui azure models( --tuned)?`", "Models"),
    (r"`finetui azure jobs`", "Jobs"),
    (r"`finetui azure logs [^` ]+`", "l on Jobs"),
    (r"`finetui azure attach [^` ]+`", "enter on Jobs"),
    (r"`finetui azure cancel [^` ]+`", "x on Jobs"),
    (r"`finetui azure endpoints`", "Endpoints"),
    (r"`finetui azure data[^`]*`", "a on the form"),
    (r"`finetui azure undeploy (?P<name>[^` ]+)`", "x on {name} on Endpoints"),
)
"""The commands that errors name, and what does the same on these pages."""

FROM_FORM = (
    (r"`finetui azure (login|check|account)[^`]*`", "Get ready (z)"),
    (r"`finetui azure models[^`]*`", "Models (z, tab)"),
    (r"`finetui azure data[^`]*`", "a"),
)
"""The same on the form."""

FROM_RUN = (
    (r"`finetui azure logs [^`]+`", "l on Jobs (2, z)"),
    (r"`finetui azure (jobs|attach)[^`]*`", "Jobs (2, z)"),
    (r"`finetui azure models[^`]*`", "Models (2, z)"),
    (r"`finetui azure (login|check|account)[^`]*`", "Get ready (2, z)"),
    (r"`finetui (stop|azure cancel)[^`]*`", "s"),
    (r"`finetui resume[^`]*`", "r"),
)
"""The same in the monitor."""

FIXES = {
    SIGN_IN: "enter signs in",
    "choose": "enter chooses one",
    "register": "enter registers it: free, some minutes",
    "create_group": "enter chooses one, or makes one: free",
    "create_project": "enter chooses one, or makes a hub and a project",
    "connect_ai_services": "enter connects an account to the hub, if you want",
}


def by_keys(error: FinetuiError) -> FinetuiError:
    """The same error; where its parts name a command, they name the keys that do the same."""
    return FinetuiError(error.what, _keyed(error.cause), _keyed(error.next_step))


def from_form(text: str) -> str:
    """A remedy, with the pages that the form's keys open in place of commands."""
    return _replaced(text, FROM_FORM)


def from_run(text: str) -> str:
    """A remedy for a run in Azure, with keys in place of commands."""
    return _replaced(text, FROM_RUN)


def _replaced(text: str, places: Sequence[tuple[str, str]]) -> str:
    for command, place in places:
        text = re.sub(command, place, text)
    return text


def _keyed(text: str) -> str:
    for command, keys in KEYS:
        text = re.sub(command, lambda found, keys=keys: keys.format(**found.groupdict()), text)  # type: ignore[misc]
    return text


def sign(state: State) -> str:
    """Symbol and word."""
    return f"{state.ascii if ascii_only() else state.symbol} {state.word}"


# Account


def account_lines(account: Plain, signed_in: bool | None, wide: bool, who: Plain) -> tuple[str, str]:
    """Who is signed in where, and what is chosen; ids in short where there is little room.

    Args:
        account: as the worker tells it.
        signed_in: whether there is a token; None: not known.
        wide: whether ids have room.
        who: `user` and `user_tenant` of the token, where there is one.
    """
    if not account:
        return "asking whose Azure it is ...", ""
    way = IDENTITIES[account["identity"]]
    state = {True: "signed in", False: "not signed in", None: "no token yet"}[signed_in]
    if signed_in and who.get("user"):
        state += f" as {_id(who['user'], wide)}"
    tenant = _id(account["tenant"] or who.get("user_tenant", ""), wide) or "the identity's own"
    subscription = _id(account["subscription"], wide) or "not chosen"
    first = f"{way}, {state} · tenant {tenant}"
    group, project = (one_line(account[name]) or "not chosen" for name in ("resource_group", "project"))
    region = f" in {one_line(account['region'])}" if account["region"] else ""
    return first, f"subscription {subscription} · group {group} · project {project}{region}"


def _id(text: str, wide: bool) -> str:
    short = GUID.fullmatch(text) and not wide
    return f"{text[:SHORT_ID]}{'~' if ascii_only() else '…'}" if short else one_line(text)


def form_note(account: Plain, signed_in: bool | None) -> str:
    """What the Train form says of Azure beside the backend, in a few words."""
    if not account or signed_in is None:
        return "asking who is signed in ..."
    if not signed_in:
        return "nobody is signed in (z)"
    if account["missing"]:
        return f"no {account['missing'][0].replace('_', ' ')} yet (z)"
    return f"{account['project']} in {account['region']}"


# Checklist


def sign_in_line(account: Plain, signed_in: bool | None, why: Plain) -> Plain:
    """The checklist's first line, made here: whether there is a token."""
    found = "Waiting for a token."
    if signed_in is not None and account:
        found = (
            f"{_capital(account['identity_words'])}."
            if signed_in
            else f"{why.get('what', '')} {why.get('cause', '')}"
        )
    unattended = account.get("unattended", True)
    meaning = (
        "It renews itself, so that a run watches its job without anybody."
        if unattended
        else "It lives while finetui is open; a run in the background shows a code of its own when it needs one."
    )
    return {
        "key": SIGN_IN,
        "title": "Sign-in",
        "state": "asking" if signed_in is None else "ok" if signed_in else "missing",
        "found": found.strip(),
        "meaning": f"Tokens stay in memory; nothing is kept on the disk. {meaning}",
        "cost": "Nothing.",
        "fix": SIGN_IN,
        "ask": "",
        "next": why.get("next_step", "") if signed_in is False else "",
    }


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def check_rows(lines: Sequence[Plain]) -> list[Row]:
    """The checklist as rows of a table."""
    rows = []
    for line in lines:
        state = LINES[line["state"]]
        title = line["title"].removeprefix("Resource provider ")
        cells = {"state": sign(state), "title": title, "found": one_line(line["found"])}
        rows.append(Row(line["key"], cells, {"state": state.colour}))
    return rows


def check_title(lines: Sequence[Plain], checking: bool) -> str:
    """The table's title: what is still missing."""
    if checking:
        return "Get ready   checking ..."
    if len(lines) < 2 or lines[0]["state"] == "asking":
        return "Get ready"
    missing = sum(line["state"] in ("missing", "waiting") for line in lines)
    if missing:
        return f"Get ready   {missing} to do"
    open_ends = [
        f"{word}: {', '.join(titles)}"
        for state, word in (("warning", "to look at"), ("unknown", "unknown"))
        if (titles := [line["title"] for line in lines if line["state"] == state])
    ]
    return f"Get ready   nothing is missing; {'; '.join(open_ends)}" if open_ends else "Get ready   all there"


def check_details(line: Plain) -> list[Paragraph]:
    """A line in full: what was found, what it is for, what it costs, and the way out."""
    found = [
        ("found", line["found"], LINES[line["state"]].colour.removeprefix("text-")),
        ("fix", fix_words(line), "strong"),
        ("ask", line["ask"], "warning"),
        ("next", _keyed(line.get("next", "")), ""),
        ("costs", line["cost"], ""),
        ("means", line["meaning"], ""),
    ]
    styles = {"success": "good", "foreground-muted": "muted"}
    return [
        Paragraph(visible(text), styles.get(style, style), head=f"{head:<{HEAD}}")
        for head, text, style in found
        if text
    ]


def fix_words(line: Plain) -> str:
    """What `enter` does about a line; empty where there is nothing to do, or nobody here can."""
    if line["key"] == SIGN_IN:
        return "enter signs in by another way" if line["state"] == "ok" else FIXES[SIGN_IN]
    return FIXES.get(str(line["fix"]).partition(" ")[0], "")
