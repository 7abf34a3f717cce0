"""The one form every row takes, whatever shape it had in its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool by the assistant; `arguments` is a JSON value, mostly an object."""

    name: str
    arguments: Any
    id: str = ""


@dataclass(frozen=True)
class Message:
    """One turn. Roles are system, user, assistant and tool. Weight 0 on an assistant turn: read, not trained.

    `name` is the speaker's, or on a tool turn the tool's; `tool_call_id` ties a tool turn to its call.
    """

    role: str
    content: str
    weight: int = 1
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True)
class Conversation:
    """A row and where it came from (`line` and `row` from 1).

    Attributes:
        messages: the turns; of a preference pair the prompt and the chosen answer. Empty for plain text and
            tokens.
        shape: the name of the shape it had in its file (core.data.shapes).
        tools: the schemas of the tools it may call, as JSON values.
        rejected: of a preference pair, the turns that stand in place of the chosen answer.
        prompt_turns: of a preference pair, how many turns come before either answer.
        wanted: of a row with a yes/no judgement (KTO), the judgement.
        label: of a row to classify, its class.
        text: of a row of plain text, the text.
        token_ids: of a row that is tokenised already, its tokens.
        token_labels: for each of them the token to learn, -100 for none.
    """

    messages: tuple[Message, ...]
    path: str
    line: int
    row: int = 0
    shape: str = "messages"
    tools: tuple[Any, ...] = ()
    rejected: tuple[Message, ...] = ()
    prompt_turns: int = 0
    wanted: bool | None = None
    label: str | None = None
    text: str | None = None
    token_ids: tuple[int, ...] = ()
    token_labels: tuple[int, ...] = ()

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"
