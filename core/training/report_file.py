"""A run's `report.json`: what training wrote of its end, and under `evaluation` what was measured of that model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson

from core.errors import FinetuiError
from core.paths import write_private

KEY = "evaluation"


class ReportError(FinetuiError):
    """A run's report can't be read, or the run has nothing to report on."""


def read(path: Path) -> dict[str, Any]:
    """Everything in a report; nothing where there is none yet.

    Raises:
        ReportError: the file is damaged.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(content, dict):
        raise _damaged(path, "It is not a JSON object.")
    return content


def put_training(path: Path, ended: dict[str, Any]) -> None:
    """Write how training ended into a report. An evaluation goes, since it is of the weights that were there before;
    all else stays.

    Raises:
        ReportError: the file is damaged.
        OSError: e.g. the disk is full.
    """
    kept = {name: value for name, value in read(path).items() if name != KEY}
    write_private(path, json.dumps({**kept, **ended}, indent=2).encode())


def put_evaluation(path: Path, evaluation: dict[str, Any]) -> None:
    """Write an evaluation into a report, in place of an earlier one; all else in it stays.

    Raises:
        ReportError: the file is damaged.
        OSError: e.g. the disk is full.
    """
    content = {**read(path), KEY: evaluation}
    write_private(path, orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def _damaged(path: Path, cause: str) -> ReportError:
    return ReportError(f"{path} can't be read.", cause, "Move the file away, then evaluate again.")
