"""What is wrong with one row on its own: for repairs, which ask whether it is clean, and for filters by code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from core.data.check.scan import control_problems, read_value, row_of
from core.data.codes import Tier
from core.data.conversation import Conversation
from core.data.problems import Place, Problem

if TYPE_CHECKING:
    from core.data.rendering import Renderer


def row_problems(
    row: dict[str, Any] | Conversation,
    place: Place,
    tiers: frozenset[Tier] = frozenset({"structure", "text"}),
    columns: Mapping[str, str] | None = None,
    renderer: Renderer | None = None,
    sequence_length: int = 2048,
) -> list[Problem]:
    """The problems of a row that need no other row to be seen.

    Args:
        row: its JSON object. Of a conversation, whose form is known to be right, only the contents are checked.
        place: where it is.
        tiers: what to check; `near` compares rows and has no part in this.
        columns: the mapping of the file's columns.
        renderer: the model, for tier `tokens`.
        sequence_length: for tier `tokens`.
    """
    from core.data.check.text import text_problems
    from core.data.check.tokens import token_problems

    if isinstance(row, Conversation):
        read = row_of(row)
        problems = list(control_problems(read, place))
    else:
        read, problems = read_value(row, place, columns=columns, azure="azure" in tiers)
    if "text" in tiers:
        problems += text_problems([read], place.path)
    if "tokens" in tiers and renderer is not None and read.usable:
        problems += token_problems([read], place.path, renderer, sequence_length)[0]
    return problems
