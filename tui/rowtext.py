"""A row as paragraphs to read: its problems, then its turns, or its exact text with the trained tokens marked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from rich.style import Style
from rich.text import Text

from core.data.conversation import Conversation, Message
from core.data.problems import Problem
from core.data.tasks import fitting, not_shown
from core.errors import FinetuiError
from tui.failures import with_keys
from tui.format import ascii_only, count, visible
from tui.widgets.reading import BLANK, Paragraph

SHOWN_CHARACTERS = 200_000
"""A longer text is cut on the screen, and says so."""

TRAINED = "trained on"
UNTRAINED = "not trained on"
CHOSEN = "trained on: the chosen answer"
REJECTED = "trained on: the rejected answer"

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


def row_lines(row: Conversation, task: str, styles: Styles) -> list[Paragraph]:
    """What a row holds and which of it is trained on; first why the task can't train on it, if so.

    Args:
        row: of a file.
        task: of a recipe; empty: the one that the row's shape is for.
        styles: the theme's.
    """
    wrong = not_shown(task or fitting(row), row)
    lines = [] if wrong is None else problem_lines([replace(wrong, fix=with_keys(wrong.fix))], styles)
    if task == "completion" and wrong is None and row.messages:
        prompt, completion = row.messages
        return [
            *_part("prompt, as it is", prompt.content, styles),
            *_part("completion, as it is", completion.content, styles, learned=True),
        ]
    return lines + _parts(row, wrong is None, styles)


def _parts(row: Conversation, trained: bool, styles: Styles) -> list[Paragraph]:
    lines: list[Paragraph] = []
    for number, message in enumerate(row.messages):
        lines += _turn(message, _use(row, number), styles)
    for message in row.rejected:
        lines += _turn(message, REJECTED if message.role == "assistant" else "", styles)
    if row.wanted is not None:
        lines += _part("judged", "wanted" if row.wanted else "not wanted", styles)
    if row.text is not None:
        lines += _part("text", row.text, styles, learned=trained and row.label is None)
    if row.label is not None:
        lines += _part("label", row.label, styles, learned=trained)
    if row.tools:
        lines += _part("tools it may call", json.dumps(list(row.tools), indent=2, ensure_ascii=False), styles)
    if row.token_ids:
        lines += _part(f"{count(len(row.token_ids))} tokens", " ".join(map(str, row.token_ids)), styles)
    return lines


def _use(row: Conversation, number: int) -> str:
    """What training does with an assistant's turn."""
    message = row.messages[number]
    if message.role != "assistant":
        return ""
    if row.rejected:
        return UNTRAINED if number < row.prompt_turns else CHOSEN
    return TRAINED if message.weight > 0 else f"weight 0: {UNTRAINED}"


def _turn(message: Message, use: str, styles: Styles) -> list[Paragraph]:
    head = Text(visible(message.role), Style(bold=True))
    if message.name:
        head.append(f" {visible(message.name)}", styles.muted)
    if use:
        head.append("   ")
        head.append(use, styles.muted if use.endswith(UNTRAINED) else styles.trained)
    lines = [Paragraph(head)]
    if message.content or not message.tool_calls:
        lines.append(Paragraph(_shown(message.content), indent=2))
    for call in message.tool_calls:
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        lines.append(Paragraph(_shown(f"calls {call.name}({arguments})"), indent=2))
    return [*lines, BLANK]


def _part(name: str, content: str, styles: Styles, learned: bool = False) -> list[Paragraph]:
    head = Text(name, styles.muted)
    if learned:
        head.append("   ")
        head.append(TRAINED, styles.trained)
    return [Paragraph(head), Paragraph(_shown(content), indent=2), BLANK]


def token_lines(
    answer: dict[str, Any], model: str, length: int, with_ids: bool, styles: Styles
) -> list[Paragraph]:
    """The exact text the model is given, from the data worker's answer; of a pair both answers, each after the prompt.

    Trained stretches stand between brackets and are underlined; the token that ends a turn has a sign of its own;
    a line is drawn where the sequence length cuts.

    Args:
        answer: see core.data.worker, op `render`.
        model: its name.
        length: the sequence length that `cut_at` is of.
        with_ids: write each token's id behind it.
        styles: the theme's.
    """
    signs = Signs.now()
    key = Text.assemble(
        (f"{signs.begin}bold and underlined{signs.end}", styles.trained),
        f" trained   {signs.turn_end} ends the turn   {signs.line_end} line end",
    )
    rejected = answer.get("rejected")
    lines = [_legend(answer, model, "chosen: " if rejected else "", styles), Paragraph(key)]
    if answer.get("label") is not None:
        learned = Text.assemble("learned after the last token: ", (visible(answer["label"]), styles.trained))
        lines.append(Paragraph(learned))
    lines += _side_lines(answer, length, with_ids, signs, styles)
    if rejected:
        lines += [BLANK, _legend(rejected, model, "rejected: ", styles)]
        lines += _side_lines(rejected, length, with_ids, signs, styles)
    return lines


def _legend(side: dict[str, Any], model: str, name: str, styles: Styles) -> Paragraph:
    total, trained = int(side["token_count"]), int(side["trained_count"])
    share = f" ({100 * trained / total:.0f} %)" if total else ""
    return Paragraph(
        Text.assemble(
            f"{name}{count(total)} tokens of {visible(model)}, ",
            (f"{count(trained)} trained{share}", styles.trained),
        )
    )


def _side_lines(
    side: dict[str, Any], length: int, with_ids: bool, signs: Signs, styles: Styles
) -> list[Paragraph]:
    cut_at, total = side["cut_at"], int(side["token_count"])
    if cut_at is None:
        return [BLANK, Paragraph(_tokens(side["tokens"], with_ids, signs, styles))]
    note = f"! longer than {count(length)} tokens: {count(total - length)} are cut off"
    line = Text(f"{signs.cut} cut here: {count(length)} tokens {signs.cut}", styles.warning)
    return [
        Paragraph(Text(note, styles.warning)),
        BLANK,
        Paragraph(_tokens(side["tokens"][:cut_at], with_ids, signs, styles)),
        Paragraph(line),
        Paragraph(_tokens(side["tokens"][cut_at:], with_ids, signs, styles)),
    ]


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
