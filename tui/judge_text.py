"""A judgement in words: figures of A and B side by side, and the replies that differ. No widgets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.serving.endpoint import is_endpoint, parse
from core.serving.talk import SIDES
from tui.evaluation_text import SHARES, confusion
from tui.format import NONE, ago, count, duration, money, one_line, visible
from tui.widgets.textpane import Paragraph

KINDS = {
    "validation": "validation rows",
    "split": "held-out rows",
    "file": "rows of a file",
    "prompts": "prompts",
}
SHOWN = ("all", "A", "B")
"""Which of the replies are listed: all that differ, or where this side is worse."""


def shown(judgement: dict[str, Any], show: str) -> str:
    """Which replies are listed, in words; where a model is held against its own base, they say so."""
    if show == "all":
        return "all that differ"
    against_base = judgement["B"]["spec"] == base_of(judgement["A"]["spec"])
    return f"where {show} is worse" + (" than its base" if show == "A" and against_base else "")


def base_of(spec: str) -> str:
    """How the base of a run's model is written."""
    return f"{spec.partition('@')[0]}@base"


def figures(judgement: dict[str, Any]) -> list[str]:
    """The table of A and B, a line each."""
    a, b = judgement["A"], judgement["B"]
    lines = [f"{'':<16}{'A':>11}{'B':>11}{'B - A':>11}"]
    for name, title in SHARES.items():
        if name in a and name in b:
            change = 100 * (b[name] - a[name])
            lines.append(f"{title:<16}{100 * a[name]:>9.1f} %{100 * b[name]:>9.1f} %{change:>+11.1f}")
    better = judgement["better"]
    if judgement["scored"]:
        lines.append(f"{'better rows':<16}{count(better['A']):>11}{count(better['B']):>11}")
    lines.append(f"{'tokens':<16}{_known(a['tokens']):>11}{_known(b['tokens']):>11}")
    lines.append(f"{'seconds':<16}{a['seconds']:>11.1f}{b['seconds']:>11.1f}")
    if any(side["cost_usd"] is not None or _billed(side) for side in (a, b)):
        lines.append(f"{'cost':<16}{_cost(a):>11}{_cost(b):>11}")
    if a["cut"] or b["cut"]:
        lines.append(f"{'cut replies':<16}{count(a['cut']):>11}{count(b['cut']):>11}")
    for name, title in (("refused", "refused prompts"), ("blocked", "blocked replies")):
        if a.get(name) or b.get(name):  # earlier versions did not count them
            lines.append(f"{title:<16}{count(a[name]):>11}{count(b[name]):>11}")
    return lines


def _cost(side: dict[str, Any]) -> str:
    if side["cost_usd"] is None:
        return "unknown" if _billed(side) else NONE
    return money(side["cost_usd"])


def _billed(side: dict[str, Any]) -> bool:
    """Whether somebody may ask money for its replies."""
    return is_endpoint(side["spec"]) and parse(side["spec"]).billed


def _known(number: int | None) -> str:
    return NONE if number is None else count(number)


def about(judgement: dict[str, Any], now: float) -> list[tuple[str, str]]:
    """(what, words): who was asked what, and when."""
    data = judgement["data"]
    of = f" of {count(data['available'])}" if data["available"] != judgement["asked"] else ""
    files = ", ".join(
        f"{one_line(Path(file['title']).name)} (sha256 {file['sha256'][:8]})" for file in data["files"]
    )
    differ = judgement["asked"] - judgement["same"]
    return [
        ("A", one_line(judgement["A"]["title"])),
        ("B", one_line(judgement["B"]["title"])),
        ("asked", f"{count(judgement['asked'])}{of} {KINDS[data['kind']]}, {files}"),
        ("replies", f"greedy, up to {count(judgement['max_tokens'])} tokens; {count(differ)} differ"),
        ("judged", f"{ago(judgement['when'], now)} in {duration(judgement['seconds'])}"),
    ]


def figure_paragraphs(judgement: dict[str, Any], now: float, width: int) -> list[Paragraph]:
    """What the page's first pane shows."""
    head, *rows = figures(judgement)
    lines = [Paragraph(head, "muted"), *map(Paragraph, rows), Paragraph("")]
    lines += [Paragraph(text, head=f"{name:<9}") for name, text in about(judgement, now)]
    lines += [Paragraph(visible(note), "warning", head="! ") for note in judgement["notes"]]
    if judgement["confusion"]:
        for side in SIDES:
            lines += [Paragraph(""), Paragraph(f"{side}: what was given, by what was expected", "strong")]
            lines += map(Paragraph, confusion(judgement, side, width))
    return lines


def listed(judgement: dict[str, Any], show: str) -> Iterator[dict[str, Any]]:
    """The replies that are shown: all that differ, or those where one side is worse than the other."""
    return (item for item in judgement["replies"] if show == "all" or _worse(item["f1"], show))


def _worse(f1: dict[str, float | None], side: str) -> bool:
    mine, other = f1[side], f1["B" if side == "A" else "A"]
    return mine is not None and other is not None and mine < other


def reply_paragraphs(judgement: dict[str, Any], show: str) -> list[Paragraph]:
    """Prompt, what was expected, and both replies, of each that is listed."""
    lines: list[Paragraph] = []
    for item in listed(judgement, show):
        place = one_line(Path(item["where"]).name)
        lines.append(Paragraph(visible(item["prompt"], lines=True), "strong", head="prompt    ", tail=place))
        if item["expected"]:
            lines.append(Paragraph(visible(item["expected"], lines=True), "good", head="expected  "))
        for side in SIDES:
            score = item["f1"][side]
            tail = "" if score is None else f"{100 * score:.0f} %"
            lines.append(Paragraph(visible(item[side], lines=True), head=f"{side:<10}", tail=tail))
        lines.append(Paragraph(""))
    if show == "all":
        for item in judgement.get("refused", []):
            lines += _refused(item)
    return lines[:-1]


def _refused(item: dict[str, Any]) -> list[Paragraph]:
    """A prompt that was refused, by whom and why."""
    place = one_line(Path(item["where"]).name)
    why = [
        Paragraph(visible(item[side]), "warning", head=f"{side:<10}refused: ") for side in SIDES if item[side]
    ]
    prompt = Paragraph(visible(item["prompt"], lines=True), "strong", head="prompt    ", tail=place)
    return [prompt, *why, Paragraph("")]


def lines(judgement: dict[str, Any], now: float, width: int) -> list[str]:
    """All of it but the replies, for a terminal or the clipboard."""
    told = [f"{name:<9}{text}" for name, text in about(judgement, now)] + ["", *figures(judgement)]
    if judgement["confusion"]:
        for side in SIDES:
            told += ["", f"{side}: what was given, by what was expected", *confusion(judgement, side, width)]
    return told + ["", *(f"! {note}" for note in judgement["notes"])] if judgement["notes"] else told
