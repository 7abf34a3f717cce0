"""All rows at a glance: how long they are, what they hold, what is wrong with them."""

from __future__ import annotations

from typing import Any

from rich.style import Style
from rich.text import Text

from tui.format import ascii_only, count, one_line
from tui.problembook import ProblemBook
from tui.widgets.reading import Paragraph

LABELS_SHOWN = 8
_NAME_CELLS = 9
_BARS = " ▁▂▃▄▅▆▇█"
_ASCII_BARS = " .:-=+*#@"
_BOLD = Style(bold=True)


def overview_lines(stats: dict[str, Any] | None, problems: ProblemBook, length: int) -> list[Paragraph]:
    """The figures that the data worker has so far.

    Args:
        stats: its answer to `stats`; None while there is none.
        problems: what the check has found.
        length: the sequence length of the figures in tokens.
    """
    if stats is None:
        return [_line("rows", "being read and checked ..."), *_problem_lines(problems)]
    return [*stats_lines(stats, length), *_problem_lines(problems)]


def stats_lines(stats: dict[str, Any], length: int) -> list[Paragraph]:
    """The figures of core.data.statistics."""
    lines = [_line("rows", _rows(stats))]
    for name, key in (("tokens", "tokens"), ("trained", "trained_tokens"), ("turns", "turns")):
        if stats.get(key):
            lines.append(_line(name, _spread(stats[key])))
    if "total_tokens" in stats:
        lines.append(_line("an epoch", _totals(stats, length)))
    else:
        lines.append(_line("tokens", "unknown without a model on this machine"))
    if stats["labels"]:
        lines.append(_line("labels", _labels(stats["labels"])))
    return lines


def _line(name: str, text: str) -> Paragraph:
    return Paragraph(Text.assemble((f"{name:<{_NAME_CELLS}}", _BOLD), text))


def _rows(stats: dict[str, Any]) -> str:
    whole = stats["sampled"] == stats["rows"]
    words = (
        count(stats["rows"]) if whole else f"{count(stats['rows'])}; a sample of {count(stats['sampled'])}"
    )
    useless = stats["sampled"] - stats["usable"]
    shapes = ", ".join(
        f"{name} {count(number)}" if len(stats["shapes"]) > 1 else name
        for name, number in stats["shapes"].items()
    )
    return f"{words}   {shapes}" + (f"   {count(useless)} can't be used" if useless else "")


def _spread(figures: dict[str, Any]) -> str:
    histogram = figures["histogram"]
    bars = _bars(histogram["counts"])
    end = histogram["start"] + histogram["width"] * len(histogram["counts"]) - 1
    more = "+" if figures["max"] > end else ""
    return (
        f"{count(histogram['start'])} {bars} {count(min(end, figures['max']))}{more}   median "
        f"{count(figures['median'])}, 95 % up to {count(figures['p95'])}, most {count(figures['max'])}"
    )


def _bars(counts: list[int]) -> str:
    signs = _ASCII_BARS if ascii_only() else _BARS
    top = max(counts)
    return "".join(signs[-(-number * (len(signs) - 1) // top)] for number in counts)


def _totals(stats: dict[str, Any], length: int) -> str:
    about = "" if stats["sampled"] == stats["rows"] else "about "
    words = (
        f"{about}{count(stats['total_tokens'])} tokens, {count(stats['total_trained'])} trained; "
        f"{100 * stats['shared']:.0f} % in beginnings that rows share"
    )
    if stats["cut"]:
        words += f"; longer than {count(length)}: {count(stats['cut'])}"
    if stats["lost"]:
        words += f"; training nothing: {count(stats['lost'])}"
    if stats["refused"]:
        words += f"; refused by the template: {count(stats['refused'])}"
    return words


def _labels(labels: dict[str, int]) -> str:
    shown = list(labels.items())[:LABELS_SHOWN]
    words = "   ".join(f"{one_line(name)[:24]} {count(number)}" for name, number in shown)
    return words + (f"   and {len(labels) - len(shown)} more" if len(labels) > len(shown) else "")


def _problem_lines(problems: ProblemBook) -> list[Paragraph]:
    words = "   ".join(f"{code} {count(number)}" for code, number in problems.codes.most_common())
    lines = [_line("problems", words or ("none" if problems.done else "none so far"))]
    sampled = [name for name, figures in problems.tiers.items() if figures["sampled"]]
    if sampled:
        every = problems.tiers[sampled[0]]["every"]
        lines.append(_line("", f"of {', '.join(sampled)} only every {every}. row was checked"))
    return lines
