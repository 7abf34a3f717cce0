"""A row as paragraphs to read: its problems, then its turns, or its exact text with the trained tokens marked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.style import Style
from rich.text import Text

from core.data.conversation import Conversation, Message
from core.data.problems import Problem
from core.errors import FinetuiError
from tui.format import ascii_only, count, visible
from tui.widgets.reading import BLANK, Paragraph

SHOWN_CHARACTERS = 200_000
"""A longer text is cut on the screen, and says so."""

CUT = "cut here; e shows the whole row"


class Styles:
    """The theme's colours for what a row shows; none of them says anything alone."""

    def __init__(self, trained: Style, error: Style, warning: Style, muted: Style) -> None:
        self.trained = trained + Style(underline=True, bold=True)
        self.error = error
        self.warning = warning
        self.muted = muted

    @classmethod
    def plain(cls) -> Styles:
        """Without colours, for text that is printed."""
        return cls(Style(), Style(), Style(), Style())


def problem_lines(problems: Iterable[Problem], styles: Styles) -> list[Paragraph]:
    """Each problem with its line, its cause and its remedy."""
    lines: list[Paragraph] = []
    for problem in problems:
        error = problem.severity == "error"
        text = Text.assemble(
            ("✗ error " if error else "! warning ", styles.error if error else styles.warning),
            f"line {problem.line}" if problem.line else "the file",
            f", column {problem.column}" if problem.column else "",
            f": {visible(problem.sentence)}",
        )
        lines.append(Paragraph(text))
        if problem.fix:
            lines.append(Paragraph(Text(f"→ {visible(problem.fix)}"), indent=2))
    if lines:
        lines.append(BLANK)
    return lines


def conversation_lines(row: Conversation, styles: Styles) -> list[Paragraph]:
    """The turns with their roles, and which of them are trained on; of other rows what they hold."""
    lines: list[Paragraph] = []
    for message in row.messages:
        lines += _turn(message, styles)
    for message in row.rejected:
        lines += _part(f"{message.role}, rejected", message.content, styles)
    if row.wanted is not None:
        lines += _part("judged", "wanted" if row.wanted else "not wanted", styles)
    if row.text is not None:
        lines += _part("text", row.text, styles)
    if row.label is not None:
        lines += _part("label", row.label, styles)
    if row.tools:
        lines += _part("tools it may call", json.dumps(list(row.tools), indent=2, ensure_ascii=False), styles)
    if row.token_ids:
        lines += _part(f"{count(len(row.token_ids))} tokens", " ".join(map(str, row.token_ids)), styles)
    return lines


def _turn(message: Message, styles: Styles) -> list[Paragraph]:
    head = Text(visible(message.role), Style(bold=True))
    if message.name:
        head.append(f" {visible(message.name)}", styles.muted)
    if message.role == "assistant":
        trained = message.weight > 0
        head.append("   ")
        head.append(
            "trained on" if trained else "weight 0: not trained on",
            styles.trained if trained else styles.muted,
        )
    lines = [Paragraph(head)]
    if message.content or not message.tool_calls:
        lines.append(Paragraph(_shown(message.content), indent=2))
    for call in message.tool_calls:
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        lines.append(Paragraph(_shown(f"calls {call.name}({arguments})"), indent=2))
    return [*lines, BLANK]


def _part(name: str, content: str, styles: Styles) -> list[Paragraph]:
    return [Paragraph(Text(name, styles.muted)), Paragraph(_shown(content), indent=2), BLANK]


def token_lines(
    answer: dict[str, Any], model: str, length: int, with_ids: bool, styles: Styles
) -> list[Paragraph]:
    """The exact text the model is given, from the data worker's answer.

    Trained stretches stand between brackets and are underlined; the token that ends a turn has a sign of its own;
    a line is drawn where the sequence length cuts.

    Args:
        answer: see core.data.worker, op `render`.
        model: its name.
        length: the sequence length that `cut_at` is of.
        with_ids: write each token's id behind it.
        styles: the theme's.
    """
    total, trained = int(answer["token_count"]), int(answer["trained_count"])
    share = f" ({100 * trained / total:.0f} %)" if total else ""
    signs = Signs.now()
    legend = Text.assemble(
        f"{count(total)} tokens of {visible(model)}, ",
        (f"{count(trained)} trained{share}", styles.trained),
    )
    key = Text.assemble(
        (f"{signs.begin}bold and underlined{signs.end}", styles.trained),
        f" trained   {signs.turn_end} ends the turn   {signs.line_end} line end",
    )
    lines = [Paragraph(legend), Paragraph(key)]
    cut_at = answer["cut_at"]
    if cut_at is not None:
        note = f"! longer than {count(length)} tokens: {count(total - length)} are cut off"
        lines.append(Paragraph(Text(note, styles.warning)))
    kept, cut = answer["tokens"][:cut_at], answer["tokens"][cut_at:] if cut_at is not None else []
    lines += [BLANK, Paragraph(_tokens(kept, with_ids, signs, styles))]
    if cut_at is not None:
        line = Text(f"{signs.cut} cut here: {count(length)} tokens {signs.cut}", styles.warning)
        lines += [Paragraph(line), Paragraph(_tokens(cut, with_ids, signs, styles))]
    return lines


@dataclass(frozen=True)
class Signs:
    """What marks tokens without colour."""

    begin: str
    end: str
    turn_end: str
    line_end: str
    boundary: str
    cut: str

    @classmethod
    def now(cls) -> Signs:
        """Those that this terminal can draw."""
        if ascii_only():
            return cls("[[", "]]", "#", "$", "|", "----")
        return cls("⟦", "⟧", "■", "↵", "┆", "────")


def _tokens(runs: list[list[Any]], with_ids: bool, signs: Signs, styles: Styles) -> Text:
    text = Text()
    inside = False
    for piece, trained, ids, mark in runs:
        if len(text) > SHOWN_CHARACTERS:
            text.append(f"\n… {CUT}", styles.muted)
            return text
        if trained != inside:
            text.append(signs.begin if trained else signs.end, styles.trained)
            inside = trained
        if mark == "boundary":
            text.append(signs.boundary, styles.warning)
        text.append(_with_line_ends(piece, signs.line_end), styles.trained if trained else "")
        if mark == "end":
            text.append(signs.turn_end, styles.trained)
        if with_ids:
            text.append(f" {' '.join(map(str, ids))} ", styles.muted)
    if inside:
        text.append(signs.end, styles.trained)
    return text


def error_lines(error: FinetuiError, styles: Styles) -> list[Paragraph]:
    """An error in its three parts."""
    lines = [Paragraph(Text.assemble(("✗ ", styles.error), visible(error.what, lines=True)))]
    if error.cause:
        lines.append(Paragraph(Text(visible(error.cause, lines=True)), indent=2))
    if error.next_step:
        lines.append(Paragraph(Text(f"→ {visible(error.next_step, lines=True)}"), indent=2))
    return lines


def raw_text(raw: str) -> Text:
    """A line of the file that could not be read as a row."""
    return _shown(raw)


def _shown(content: str) -> Text:
    text = Text(visible(content[:SHOWN_CHARACTERS], lines=True))
    if len(content) > SHOWN_CHARACTERS:
        text.append(f"\n… {CUT}")
    return text


def _with_line_ends(text: str, sign: str) -> str:
    """Line ends made visible and kept: whether one is trained must be seen."""
    return "\n".join(visible(line) for line in text.split("\n")).replace("\n", f"{sign}\n")
