"""All rows at a glance: how long they are, what they hold, what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.style import Style
from rich.text import Text

from tui.format import ascii_only, count, duration, one_line
from tui.problembook import ProblemBook
from tui.widgets.reading import Paragraph

if TYPE_CHECKING:
    from core.runs.speed import Speed

LABELS_SHOWN = 8
_NAME_CELLS = 9
_BARS = " ▁▂▃▄▅▆▇█"
_ASCII_BARS = " .:-=+*#@"
_BOLD = Style(bold=True)


@dataclass(frozen=True)
class Basis:
    """What tokens are turned into time and money by.

    Attributes:
        epochs: times each row is used.
        speed: how fast this machine trained the model before, or None.
        price: of a million tokens, in any currency, or None.
    """

    epochs: float
    speed: Speed | None = None
    price: float | None = None

    def cost(self, tokens: int) -> dict[str, float | None]:
        """Of an epoch of so many tokens: `epochs`, `tokens`, `seconds` and `money`, None where it can't be told."""
        total = tokens * self.epochs
        return {
            "epochs": self.epochs,
            "tokens": total,
            "seconds": None if self.speed is None else total / self.speed.tokens_per_s,
            "money": None if self.price is None else total / 1e6 * self.price,
        }


def overview_lines(
    stats: dict[str, Any] | None, problems: ProblemBook, length: int, basis: Basis | None
) -> list[Paragraph]:
    """The figures that the data worker has so far.

    Args:
        stats: its answer to `stats`; None while there is none.
        problems: what the check has found.
        length: the sequence length of the figures in tokens.
        basis: what the cost is told by; None while it is not known.
    """
    if stats is None:
        return [_line("rows", "being read and checked ..."), *_problem_lines(problems)]
    return [*stats_lines(stats, length, basis), *_problem_lines(problems)]


def cost_basis(model: str, epochs: float | None = None, price: float | None = None) -> Basis:
    """What training a model costs here; reads the runs.

    Args:
        model: as recipes name it.
        epochs: as recipes have it where it is None.
        price: of a million tokens.
    """
    from core.recipe import field
    from core.runs.speed import last_speed

    return Basis(epochs or float(field("epochs").local), last_speed(model), price)


def stats_lines(stats: dict[str, Any], length: int, basis: Basis | None = None) -> list[Paragraph]:
    """The figures of core.data.statistics, and what training on them costs."""
    lines = [_line("rows", _rows(stats))]
    for name, key in (("tokens", "tokens"), ("trained", "trained_tokens"), ("turns", "turns")):
        if stats.get(key):
            lines.append(_line(name, _spread(stats[key])))
    if "total_tokens" in stats:
        lines.append(_line("an epoch", _totals(stats, length)))
        if basis is not None:
            lines.append(_line("cost", _cost(stats["total_tokens"], basis)))
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


def _cost(tokens: int, basis: Basis) -> str:
    cost, speed = basis.cost(tokens), basis.speed
    words = [f"{basis.epochs:g} epochs are {count(round(cost['tokens'] or 0))} tokens"]
    if speed is not None:
        words.append(
            f"about {duration(cost['seconds'] or 0)} here on {speed.device}, as fast as run "
            f"{one_line(speed.run)} ({count(round(speed.tokens_per_s))} tokens/s)"
        )
    else:
        words.append("no run of this model here yet to tell the time by")
    if cost["money"] is not None:
        words.append(f"{cost['money']:,.2f} at {basis.price:g} a million tokens")
    return "; ".join(words)


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
