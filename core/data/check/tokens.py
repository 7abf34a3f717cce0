"""The tokens tier: what a model's template and tokenizer make of rows, and what the sequence length cuts off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.data.check.scan import Row
from core.data.codes import CODES
from core.data.conversation import Conversation
from core.data.measuring import Measure, measure_many
from core.data.problems import Problem
from core.data.rendering import Renderer
from core.data.sandbox import RenderingError

_WARNINGS = {
    "boundary-token": (
        "a token would straddle a prompt and its answer; they are tokenised apart.",
        "Begin the answer without white space.",
    ),
    "tools-not-in-template": (
        "the model's chat template leaves the row's tools out: the model learns to call what it was never told of.",
        "Give another chat_template in the recipe, or write the tools into the system turn.",
    ),
}
"""What is wrong and what to do, of problems that are the same for every row."""


def token_problems(
    rows: Sequence[Row], title: str, renderer: Renderer, sequence_length: int
) -> tuple[list[Problem], int]:
    """What is wrong with usable rows, in order of row, and how many tokens they have."""
    problems: list[Problem] = []
    tokens = 0
    conversations = [row.as_conversation(title) for row in rows]
    for row, conversation, measure in zip(
        rows, conversations, measure_many(renderer, conversations), strict=True
    ):
        if isinstance(measure, RenderingError):
            problems.append(_refusal(row, conversation, measure, title))
        else:
            tokens += measure.tokens
            problems += _length_problems(row, measure, title, sequence_length)
            if measure.straddles:
                problems.append(_warning(row, title, "boundary-token"))
            if conversation.tools and not renderer.reads_tools:
                problems.append(_warning(row, title, "tools-not-in-template"))
    return problems, tokens


def _refusal(row: Row, conversation: Conversation, error: RenderingError, title: str) -> Problem:
    """The template's refusal as a problem; its place is said by the problem, not by its sentence."""
    what = error.what.removeprefix(f"{conversation.where}: ")
    sentence = f"{what} {error.cause}".strip()
    return row.place(title).problem(
        error.code, sentence, error.next_step, severity=CODES[error.code].severity
    )


def _warning(row: Row, title: str, code: str) -> Problem:
    sentence, fix = _WARNINGS[code]
    return row.place(title).problem(code, sentence, fix, severity=CODES[code].severity)


def _length_problems(row: Row, measure: Measure, title: str, sequence_length: int) -> Iterator[Problem]:
    place, tokens = row.place(title), measure.tokens
    if tokens <= sequence_length:
        return
    if measure.trained and not measure.trained_within(sequence_length):
        sentence = (
            f"the first answer starts after the sequence length of {sequence_length:,} tokens "
            f"(the row has {tokens:,}), so the row trains nothing."
        )
        yield place.problem("answer-cut-off", sentence, "Shorten the row, raise sequence_length, or drop it.")
        return
    sentence = (
        f"the row has {tokens:,} tokens, the sequence length is {sequence_length:,}: "
        f"its last {tokens - sequence_length:,} are cut off."
    )
    fix, severity = "Raise sequence_length, or shorten or drop the row.", CODES["too-long"].severity
    yield place.problem("too-long", sentence, fix, severity=severity)
