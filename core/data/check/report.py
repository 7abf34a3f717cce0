"""A check's figures as lines of text: what each tier looked at, how fast, and what it left out."""

from __future__ import annotations

from core.data.check.run import Check
from core.data.codes import CODES, Tier

NAMES: dict[Tier, str] = {
    "structure": "structure",
    "text": "text",
    "near": "near duplicates",
    "tokens": "tokens",
}


def report_lines(check: Check) -> list[str]:
    """The figures of a finished check: the counts of each code, then the rate of each tier."""
    return [*_code_lines(check), *_tier_lines(check)]


def _code_lines(check: Check) -> list[str]:
    worst_first = sorted(check.codes.items(), key=lambda item: (CODES[item[0]].severity != "error", -item[1]))
    return [
        f"{number:>9,}  {CODES[code].severity:<7}  {code}: {CODES[code].meaning}"
        for code, number in worst_first
    ]


def _tier_lines(check: Check) -> list[str]:
    lines = []
    for tier, name in NAMES.items():
        figures = check.tiers.get(tier)
        if figures is None:
            continue
        rows = f"{figures['rows']:,} rows"
        if figures["sampled"]:
            rows += f" (a sample, every {_ordinal(figures['every'])}; --full checks all)"
        seconds, rate = figures["seconds"], figures["mb_per_s"]
        line = f"{name}: {rows}, {_megabytes(figures['bytes'])} MB in {seconds:.2g} s, {_megabytes(rate * 1e6)} MB/s"
        if "tokens" in figures:
            line += f", {figures['tokens']:,} tokens"
        lines.append(line)
    cores = f"{check.cores} processes" if check.cores > 1 else "one process"
    if lines:
        lines[0] += f" ({cores})"
    if "tokens" not in check.tiers:
        lines.append("tokens: not checked; name a model with --model")
    return lines


def _megabytes(size: float) -> str:
    """Three digits, whatever the size."""
    return f"{size / 1e6:,.0f}" if size >= 1e8 else f"{size / 1e6:.3g}"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
