"""The judgements that are kept: with the run that one side is of, in its report.json; of two endpoints with the chats.

Cheap to import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from core.paths import write_private
from core.serving.chats import Chats
from core.training.report_file import read

KEY = "judged"
MOST_JUDGEMENTS = 5
"""Kept with a run."""


def keep(result: dict[str, Any], run: Path | None) -> None:
    """Put a judgement before the earlier ones of a run, or with the chats where there is no run.

    Raises:
        ReportError: the run's report is damaged.
        ChatError: the chats can't be written.
        OSError: e.g. the disk is full.
    """
    if run is None:
        Chats().put_judgement(result)
        return
    report = run / "report.json"
    content = {**read(report), KEY: [result, *judged(run)][:MOST_JUDGEMENTS]}
    write_private(report, orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def judged(run: Path) -> list[dict[str, Any]]:
    """The judgements kept with a run, the newest first.

    Raises:
        ReportError: its report is damaged.
    """
    found = read(run / "report.json").get(KEY)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def latest(specs: tuple[str, str], run: Path | None) -> dict[str, Any] | None:
    """The newest judgement of two sides, or None.

    Args:
        specs: of A and B.
        run: the directory of the run that one of them is of.

    Raises:
        ReportError: its report is damaged.
        ChatError: the chats can't be read.
    """
    kept = judged(run) if run is not None else Chats().judgements(*specs)
    return next((item for item in kept if (item["A"]["spec"], item["B"]["spec"]) == specs), None)
