"""A row as paragraphs to read: its problems, then its turns, or its exact text with the trained tokens marked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.style import Style
from rich.text import Text

from core.data.conversation import Conversation
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
    """The turns with their roles, and which of them are trained on."""
    lines: list[Paragraph] = []
    for message in row.messages:
        head = Text(visible(message.role), Style(bold=True))
        if message.role == "assistant":
            trained = message.weight > 0
            head.append("   ")
            head.append(
                "trained on" if trained else "weight 0: not trained on",
                styles.trained if trained else styles.muted,
            )
        lines += [Paragraph(head), Paragraph(_shown(message.content), indent=2), BLANK]
    return lines


def token_lines(answer: dict[str, Any], model: str, styles: Styles) -> list[Paragraph]:
    """The exact text the model is given, from the data worker's answer: its trained tokens underlined."""
    total, trained = int(answer["token_count"]), int(answer["trained_count"])
    share = f" ({100 * trained / total:.0f} %)" if total else ""
    legend = Text.assemble(
        f"{count(total)} tokens of {visible(model)}, ",
        (f"{count(trained)} trained{share}", styles.trained),
    )
    key = Text.assemble(
        ("underlined and bold", styles.trained), ": trained; the rest is read only; ↵ is a line end"
    )
    text = Text()
    for piece, is_trained, _, _ in answer["tokens"]:
        if len(text) > SHOWN_CHARACTERS:
            text.append(f"\n… {CUT}", styles.muted)
            break
        text.append(_with_line_ends(piece), styles.trained if is_trained else "")
    return [Paragraph(legend), Paragraph(key), BLANK, Paragraph(text)]


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


def _with_line_ends(text: str) -> str:
    """Line ends made visible and kept: whether one is trained must be seen."""
    sign = "$" if ascii_only() else "↵"
    return "\n".join(visible(line) for line in text.split("\n")).replace("\n", f"{sign}\n")
