"""An evaluation in words: figures base beside tuned, who was taken for whom, replies. No widgets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from tui.format import NONE, ago, clip, count, duration, one_line, pad, visible
from tui.format import loss as four_decimals
from tui.widgets.textpane import Paragraph

SHARES = {
    "token_accuracy": "token accuracy",
    "exact_match": "exact match",
    "token_f1": "token F1",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "preference_accuracy": "preferred",
    "chosen_likelier": "chosen likelier",
}
"""Figures from 0 to 1, and what they are called."""

KINDS = {"validation": "validation rows", "split": "held-out rows", "file": "rows of a file"}
MOST_MISTAKES = 20
OTHER = "other"


def figures(evaluation: dict[str, Any]) -> list[str]:
    """The table of base and tuned model, a line each."""
    base, tuned = evaluation["base"], evaluation["tuned"]
    lines = [f"{'':<16}{'base':>11}{'tuned':>11}{'change':>11}"]
    for name in ("loss", "perplexity", *SHARES, "margin"):
        if name in tuned:
            one, two = base.get(name), tuned[name]
            change = NONE if one is None or two is None else _change(name, two - one)
            title = SHARES.get(name, name)
            lines.append(f"{title:<16}{_value(name, one):>11}{_value(name, two):>11}{change:>11}")
    return lines


def _value(name: str, value: float | None) -> str:
    if value is None:
        return NONE
    if name in SHARES:
        return f"{100 * value:.1f} %"
    if name == "perplexity":
        return f"{value:.2f}" if value < 1000 else count(value)
    return four_decimals(value)


def _change(name: str, value: float) -> str:
    """A difference; of shares in points of a hundred."""
    size = f"{100 * abs(value):.1f}" if name in SHARES else _value(name, abs(value))
    return ("+" if value >= 0 else "-") + size


def about(evaluation: dict[str, Any], now: float) -> list[tuple[str, str]]:
    """(what, words): which model on which rows, and when."""
    data, step = evaluation["data"], evaluation["checkpoint"]
    of = f" of {count(data['available'])}" if data["available"] != evaluation["rows"] else ""
    files = ", ".join(
        f"{one_line(Path(file['title']).name)} (sha256 {file['sha256'][:8]})" for file in data["files"]
    )
    asked = (
        f"{count(evaluation['asked'])} replies of up to {count(evaluation['max_tokens'])} tokens"
        if evaluation["asked"]
        else ""
    )
    told = [
        ("model", "the finished one" if step is None else f"checkpoint of step {count(step)}"),
        ("rows", f"{count(evaluation['rows'])}{of} {KINDS[data['kind']]}, {files}"),
        ("replies", asked),
        (
            "measured",
            f"{ago(evaluation['when'], now)} in {duration(evaluation['seconds'])} on {evaluation['device']}",
        ),
    ]
    return [pair for pair in told if pair[1]]


def confusion(evaluation: dict[str, Any], side: str, width: int) -> list[str]:
    """Which class was given where which was expected: a matrix where the width allows it, else the mistakes."""
    found = evaluation["confusion"]
    labels = [one_line(label) for label in found["labels"]]
    cells = {(wanted, given): times for wanted, given, times in found[side]}
    columns = len(labels) + any(given == len(labels) for _, given in cells)
    return (
        _matrix(labels, [*labels, OTHER][:columns], cells, width)
        or _matrix(_lettered(labels), [*map(_letter, range(len(labels))), OTHER][:columns], cells, width)
        or _mistakes(labels, cells, width)
    )


def _letter(number: int) -> str:
    return chr(ord("a") + number)


def _lettered(labels: Sequence[str]) -> list[str]:
    return [f"{_letter(number)} {label}" for number, label in enumerate(labels)]


def _matrix(
    rows: Sequence[str], columns: Sequence[str], cells: dict[tuple[int, int], int], width: int
) -> list[str]:
    """The whole matrix, zeros as dots; nothing where it is too wide."""
    widths = [
        max(cell_len(title), *(len(count(cells.get((row, number), 0))) for row in range(len(rows)))) + 2
        for number, title in enumerate(columns)
    ]
    room = width - sum(widths)
    if len(columns) > 26 or room < min(12, max(map(cell_len, rows))):
        return []
    first = min(room, max(len("expected"), *map(cell_len, rows)))
    head = "".join(
        " " * (size - cell_len(title)) + title for title, size in zip(columns, widths, strict=True)
    )
    lines = [pad("expected", first) + head]
    for row, title in enumerate(rows):
        times = (cells.get((row, column), 0) for column in range(len(columns)))
        shown = "".join(
            f"{count(number) if number else '·':>{size}}" for number, size in zip(times, widths, strict=True)
        )
        lines.append(pad(title, first) + shown)
    return lines


def _mistakes(labels: Sequence[str], cells: dict[tuple[int, int], int], width: int) -> list[str]:
    """The most frequent mistakes, the worst first."""
    named = [*labels, OTHER]
    wrong = sorted(
        ((times, wanted, given) for (wanted, given), times in cells.items() if wanted != given), reverse=True
    )
    if not wrong:
        return ["No mistakes."]
    lines = [
        f"{count(times):>5} x  {named[wanted]} taken for {named[given]}"
        for times, wanted, given in wrong[:MOST_MISTAKES]
    ]
    rest = len(wrong) - MOST_MISTAKES
    return [clip(line, width) for line in lines] + ([f"and {count(rest)} other kinds"] if rest > 0 else [])


def figure_paragraphs(evaluation: dict[str, Any], now: float) -> list[Paragraph]:
    """What the page's first pane shows."""
    head, *rows = figures(evaluation)
    lines = [Paragraph(head, "muted"), *map(Paragraph, rows), Paragraph("")]
    lines += [Paragraph(text, head=f"{name:<10}") for name, text in about(evaluation, now)]
    return lines + [Paragraph(visible(note), "warning", head="! ") for note in evaluation["notes"]]


def confusion_paragraphs(evaluation: dict[str, Any], width: int) -> list[Paragraph]:
    """The tuned model's matrix and the base's."""
    lines: list[Paragraph] = []
    for side in ("tuned", "base"):
        lines += [Paragraph("")] if lines else []
        lines.append(Paragraph(f"{side}: what was given, by what was expected", "strong"))
        lines += map(Paragraph, confusion(evaluation, side, width))
    return lines


def reply_paragraphs(evaluation: dict[str, Any]) -> list[Paragraph]:
    """Sampled replies, then the rows that came out worst."""
    lines: list[Paragraph] = []
    if evaluation["samples"]:
        lines.append(
            Paragraph(
                f"Sampled at temperature {evaluation['temperature']:g}, seed {evaluation['seed']}", "muted"
            )
        )
    for item in evaluation["samples"]:
        lines += [*_reply(item), Paragraph("")]
    if evaluation["worst"]:
        lines.append(Paragraph("Worst of the greedy replies, the lowest token F1 first", "muted"))
    for item in evaluation["worst"]:
        place = f"{100 * item['token_f1']:.0f} %  {one_line(Path(item['where']).name)}"
        lines += [*_reply(item, place), Paragraph("")]
    return lines[:-1]


def _reply(item: dict[str, Any], tail: str = "") -> list[Paragraph]:
    styles = {"prompt": "strong", "expected": "good", "base": "muted", "tuned": ""}
    return [
        Paragraph(
            visible(item[name], lines=True), style, head=f"{name:<10}", tail=tail if name == "prompt" else ""
        )
        for name, style in styles.items()
    ]


def lines(evaluation: dict[str, Any], now: float, width: int) -> list[str]:
    """All of it but the replies, for a terminal or a file."""
    told = [f"{name:<10}{text}" for name, text in about(evaluation, now)] + ["", *figures(evaluation)]
    if evaluation["confusion"]:
        told += ["", "tuned: what was given, by what was expected", *confusion(evaluation, "tuned", width)]
    return told + ["", *(f"! {note}" for note in evaluation["notes"])] if evaluation["notes"] else told
