"""Runs side by side in words: figures, settings that differ, data. No widgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from core.runs.compare import LETTERS
from tui.evaluation_text import SHARES
from tui.format import (
    NONE,
    ascii_only,
    clip,
    count,
    duration,
    loss,
    money,
    one_line,
    pad,
    plain,
    short,
    size,
    visible,
)
from tui.states import words
from tui.widgets.textpane import Paragraph

if TYPE_CHECKING:
    from core.runs.compare import Comparison

GAP = 2
LEAST_COLUMN = 8
MOST_LABEL = 26

TITLES = {
    "state": "state",
    "step": "steps",
    "epochs": "epochs",
    "loss": "training loss",
    "best_loss": "lowest of it",
    "eval_loss": "validation loss",
    "best_eval_loss": "lowest of it",
    "best_eval_step": "at step",
    "base_eval_loss": "the base's",
    "perplexity": "perplexity",
    "tokens_per_s": "tokens/s",
    "peak_memory_bytes": "most memory",
    "duration_s": "took",
    "tokens": "tokens trained on",
    "trainable_parameters": "parameters trained",
    "training_usd": "training cost",
    "price_in_usd": "1M prompt tokens",
    "price_out_usd": "1M reply tokens",
}
WITH_ANOTHER = ("total_steps",)
"""Shown in another figure's cell."""

LOWER_IS_BETTER = ("eval_loss", "best_eval_loss", "perplexity", "evaluated_loss", "evaluated_perplexity")


def figure_lines(found: Comparison, width: int) -> list[str]:
    """The table of figures: a heading, then a line for each."""
    by_name = {figure.name: figure.values for figure in found.figures}
    rows = []
    for name, values in by_name.items():
        if name in WITH_ANOTHER:
            continue
        totals = by_name.get("total_steps", (None,) * len(values))
        cells = [figure_text(name, value, total) for value, total in zip(values, totals, strict=True)]
        best = best_of(name, values) if found.losses_compare else set()
        sign = "*" if ascii_only() else "◆"
        rows.append(
            (title_of(name), [f"{sign} {cell}" if at in best else cell for at, cell in enumerate(cells)])
        )
    return table(found, rows, width)


def title_of(name: str) -> str:
    """What a figure is called."""
    for prefix, word in (("evaluated_", "evaluated"), ("validation_", "validation")):
        if name.startswith(prefix) and name not in TITLES:
            rest = name.removeprefix(prefix)
            return f"{word} {one_line(SHARES.get(rest, rest.replace('_', ' ')))}"
    return TITLES.get(name, one_line(name.replace("_", " ")))


def figure_text(name: str, value: Any, total: int | None = None) -> str:
    """A figure as people read it."""
    if name.endswith("_usd"):
        return "unknown" if value is None else money(value)
    if value is None:
        return NONE
    if isinstance(value, str):
        return words(value) if name == "state" else one_line(value)
    last = name.removeprefix("evaluated_").removeprefix("validation_")
    if last in SHARES:
        return f"{100 * value:.1f} %"
    if name.endswith("_bytes"):
        return size(value)
    if name == "duration_s":
        return duration(value)
    if name == "step":
        return f"{count(value)} / {count(total)}" if total else count(value)
    if name in ("tokens", "tokens_per_s", "trainable_parameters"):
        return short(value)
    if last == "perplexity":
        return f"{value:.2f}" if value < 1000 else short(value)
    return loss(value) if isinstance(value, float) and name != "epochs" else f"{value:g}"


def best_of(name: str, values: Sequence[Any]) -> set[int]:
    """Which runs have the best of a figure that has one; none when all are alike."""
    share = name.removeprefix("evaluated_").removeprefix("validation_") in SHARES
    known = [value for value in values if isinstance(value, int | float)]
    if not (share or name in LOWER_IS_BETTER) or len(known) < 2 or len(set(known)) == 1:
        return set()
    best = max(known) if share else min(known)
    return {at for at, value in enumerate(values) if value == best}


def recipe_lines(found: Comparison, width: int) -> list[str]:
    """The table of settings that differ; a default is in brackets."""
    rows = [
        (
            item.field,
            [visible(value.text) if value.set else f"({visible(value.text)})" for value in item.values],
        )
        for item in found.recipe
    ]
    return table(found, rows, width) if rows else []


def _unset(found: Comparison) -> str:
    """What a setting in brackets is."""
    inherited = any(value.inherited for item in found.recipe for value in item.values)
    return "not set, so the backend's own" + (", or of the model that init_from names" if inherited else "")


def data_lines(found: Comparison) -> list[str]:
    """Whether the rows are the same, and which they are."""
    lines = [f"{use} rows  {_same(same)}" for use, same in
             (("training", found.same_training), ("validation", found.same_validation))]  # fmt: skip
    for letter, files in zip(LETTERS, found.data, strict=False):
        for item in files:
            digest = f"  sha256 {item.sha256[:8]}" if item.sha256 else "  not frozen yet"
            lines.append(f"{letter} {item.use}  {one_line(item.title)}{digest}")
            lines += [f"    made from {visible(place)}" for place in item.made_from]
    return lines


def _same(same: bool | None) -> str:
    return "not known yet" if same is None else "the same" if same else "different"


def table(found: Comparison, rows: Sequence[tuple[str, Sequence[str]]], width: int) -> list[str]:
    """Rows of (label, cell of each run) under the runs' letters and names, each line at most `width` cells."""
    label = min(MOST_LABEL, max((cell_len(title) for title, _ in rows), default=0))
    runs = len(found.runs)
    label = min(label, max(4, width - runs * (LEAST_COLUMN + GAP)))
    room = (width - label) // runs - GAP
    longest = [
        max(cell_len(cells[at]) for cells in ([f"{letter} {one_line(name)}" for letter, name in named(found)],
                                              *(cells for _, cells in rows)))
        for at in range(runs)
    ]  # fmt: skip
    widths = [min(room, wanted) for wanted in longest]
    spare = room * runs - sum(widths)
    for at, wanted in enumerate(longest):  # what short columns leave goes to long ones
        more = min(spare, wanted - widths[at])
        widths[at] += more
        spare -= more
    lines = [_line("", [f"{letter} {one_line(name)}" for letter, name in named(found)], label, widths)]
    return lines + [_line(title, cells, label, widths) for title, cells in rows]


def named(found: Comparison) -> list[tuple[str, str]]:
    """(letter, name) of each run."""
    return [(letter, name) for letter, (_, name) in zip(LETTERS, found.runs, strict=False)]


def _line(title: str, cells: Sequence[str], label: int, widths: Sequence[int]) -> str:
    shown = [" " * GAP + pad(clip(cell, width), width) for cell, width in zip(cells, widths, strict=True)]
    line = (pad(title, label) + "".join(shown)).rstrip()
    return plain(line) if ascii_only() else line


# Panes and terminals


def figure_paragraphs(found: Comparison, width: int) -> list[Paragraph]:
    """What the pane of figures shows."""
    head, *rows = figure_lines(found, width)
    notes = [Paragraph(visible(note), "warning", head="! ") for note in found.notes]
    return [Paragraph(head, "strong"), *map(Paragraph, rows), *([Paragraph(""), *notes] if notes else [])]


def recipe_paragraphs(found: Comparison, width: int) -> list[Paragraph]:
    """What the pane of settings and data shows."""
    head, *rows = recipe_lines(found, width) or ["The recipes are the same."]
    shown = [Paragraph(head, "strong" if rows else ""), *map(Paragraph, rows)]
    if any(not value.set for item in found.recipe for value in item.values):
        shown.append(Paragraph(f"(in brackets: {_unset(found)})", "muted"))
    return [*shown, Paragraph(""), *map(Paragraph, data_lines(found))]


def lines(found: Comparison, width: int) -> list[str]:
    """All of it, for a terminal or a file."""
    told = [*figure_lines(found, width), ""]
    if found.recipe:
        told += [
            f"settings that differ (in brackets: {_unset(found)})",
            *recipe_lines(found, width),
        ]
    else:
        told.append("The recipes are the same.")
    return [*told, "", *data_lines(found), *(f"! {visible(note)}" for note in found.notes)]
