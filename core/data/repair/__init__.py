"""Repairs of data files: chosen as steps, looked at before, written to a new file with a record of what was done."""

from __future__ import annotations

from core.data.repair.diff import diff_lines
from core.data.repair.run import Change, Context, Report, preview, write
from core.data.repair.steps import NAMES, RepairError, Step, in_order, steps_for

__all__ = [
    "NAMES", "Change", "Context", "RepairError", "Report", "Step", "diff_lines", "in_order", "preview", "steps_for",
    "write",
]  # fmt: skip
