"""What Azure was found to have of late, kept on this machine: what a model lacked there, which endpoint serves what.

It spares questions and finds the right words; nothing is sent or refused by it. Nothing in it is secret.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import paths
from core.azure.account import Account

KEPT_S = 7 * 24 * 3600.0
"""How long a checklist's answer stands: roles and registrations seldom change."""


@dataclass(frozen=True)
class Checked:
    """What the checklist found for a model.

    Args:
        when: UTC seconds.
        lacks: titles of the lines that were missing; empty: all was there.
    """

    when: float
    lacks: tuple[str, ...]

    @property
    def day(self) -> str:
        """The day it was, in this machine's time: `2026-11-27`."""
        return time.strftime("%Y-%m-%d", time.localtime(self.when))


def note_checked(account: Account, model: str, lacks: list[str]) -> None:
    """Keep what the checklist found.

    Args:
        account: that was asked about.
        model: registry id.
        lacks: titles of the lines that are missing.
    """
    content = _read()
    content["checked"][_key(account, model)] = {"when": time.time(), "lacks": lacks}
    _write(content)


def checked(account: Account, model: str) -> Checked | None:
    """What the checklist found for a model, by its registry id; None where it was not asked within `KEPT_S`."""
    found = _read()["checked"].get(_key(account, model))
    if found is None or time.time() - found["when"] > KEPT_S:
        return None
    return Checked(float(found["when"]), tuple(found["lacks"]))


def note_endpoints(account: Account, serving: dict[str, str]) -> None:
    """Keep which model (`name:version`) each endpoint of a project serves: all of them."""
    content = _read()
    content["endpoints"][_project(account)] = serving
    _write(content)


def note_endpoint(account: Account, name: str, model: str) -> None:
    """Keep what one endpoint serves; nothing (an empty model) where it is gone."""
    serving = endpoints(account)
    if serving.get(name, "") != model:
        note_endpoints(account, {key: value for key, value in {**serving, name: model}.items() if value})


def endpoints(account: Account) -> dict[str, str]:
    """The model of each endpoint of a project, as they were last seen from here."""
    return dict(_read()["endpoints"].get(_project(account), {}))


def _project(account: Account) -> str:
    return account.workspace.lower()


def _key(account: Account, model: str) -> str:
    return f"{_project(account)} {model.lower()}"


def _path() -> Path:
    return paths.data_dir() / "azure-known.json"


def _read() -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(_path().read_text(encoding="utf-8"))
        return {part: dict(content[part]) for part in ("checked", "endpoints")}
    except (OSError, ValueError, KeyError, TypeError):  # not there yet, or of another version: asked anew
        return {"checked": {}, "endpoints": {}}


def _write(content: dict[str, Any]) -> None:
    paths.make_private(_path().parent)
    paths.write_private(_path(), json.dumps(content, indent=2).encode() + b"\n")
