"""Everything wrong with data files, by row, in one streaming pass."""

from __future__ import annotations

from core.data.check.rows import row_problems
from core.data.check.run import IN_FULL_BYTES, Check, Options, check_file

__all__ = ["IN_FULL_BYTES", "Check", "Options", "check_file", "row_problems"]
