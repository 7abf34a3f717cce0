"""The structure tier: bytes of a row to a usable row, and all that is wrong with it on its own.

Most rows of a file are alike and clean. A row whose keys and roles are those of one that was found clean before,
and whose contents are text, is clean too: a few operations tell. Every other row is read in full.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from core.data.check.azure import azure_problems
from core.data.codes import CODES
from core.data.conversation import Conversation, Message
from core.data.files import BLANKS, MAX_LINE_BYTES
from core.data.formats import Format
from core.data.framing import value_of
from core.data.problems import DataError, Place, Problem
from core.data.shapes import detect, read

CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters but for tab, line feed and carriage return: C0, DEL and C1."""

_ESCAPED_CONTROL = re.compile(rb"\\(?:[bf]|u00(?:[0189][0-9A-Fa-f]|7[Ff]))")
_C1 = re.compile(rb"\xc2[\x80-\x9f]")
_ROLES = frozenset(("system", "user", "assistant", "tool"))
_FORMS_KEPT = 4096
_SEPARATOR = "\0"
_JSON_KINDS = ("jsonl", "array", "document")
_OF_TURN = itemgetter("role", "content")


class Row(NamedTuple):
    """A row as the later tiers need it.

    Attributes:
        size: bytes in the file.
        shape: the name of its shape, or empty.
        roles: who says each of `contents`; parts that are no turns say what they are ("the text").
        key: roles and contents as bytes; the same for the same conversation.
        conversation: None where a usable row is nothing but roles and contents.
        usable: False: the row has an error, and `contents` are all texts in it.
    """

    row: int
    line: int
    size: int
    shape: str
    roles: tuple[str, ...]
    contents: tuple[str, ...]
    key: bytes
    conversation: Conversation | None = None
    usable: bool = True

    def place(self, title: str) -> Place:
        return Place(title, self.line, self.row)

    def as_conversation(self, title: str) -> Conversation:
        """The conversation of a usable row."""
        if self.conversation is not None:
            return self.conversation
        return Conversation(tuple(map(Message, self.roles, self.contents)), title, self.line, self.row)

    def name(self, part: int) -> str:
        """A part of the row in words."""
        role = self.roles[part]
        if role not in _ROLES:
            return role
        return f"message {sum(item in _ROLES for item in self.roles[: part + 1])} ({role})"


class Scanner:
    """Reads rows of one file; remembers which forms of rows are clean.

    Args:
        title: the file's name for messages.
        format: its format.
        columns: the mapping of its columns, if it has one.
        azure: also check the service's own rules.
    """

    def __init__(
        self, title: str, format: Format, columns: Mapping[str, str] | None = None, azure: bool = False
    ) -> None:
        self.title = title
        self._format = format
        self._columns = columns
        self._azure = azure
        self._clean_forms: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()

    def rows(
        self, raws: Iterable[tuple[int, int, bytes]], doubtful: bool, found: list[Problem]
    ) -> Iterator[Row]:
        """The rows at (row, line, bytes) that are not blank.

        Args:
            raws: the rows.
            doubtful: whether there may be control characters among them (`may_have_control`).
            found: problems are added to it in order of row.
        """
        import orjson

        in_json, clean_forms = self._format.kind in _JSON_KINDS, self._clean_forms
        loads, of_turn, strip, join = orjson.loads, _OF_TURN, str.strip, _SEPARATOR.join
        new = tuple.__new__  # half the time of calling Row
        value: Any
        for row, line, raw in raws:
            try:
                value = loads(raw) if in_json else None
                turns = value["messages"]
                roles, contents = zip(*map(of_turn, turns))  # noqa: B905 - all are pairs
                clean = (
                    (tuple(value), roles) in clean_forms
                    and sum(map(len, turns)) == 2 * len(turns)
                    and all(map(strip, contents))
                    and not (doubtful and CONTROL.search("\n".join(contents)))
                    and len(raw) < MAX_LINE_BYTES
                )
            except (ValueError, KeyError, TypeError):
                clean = False
            if clean:
                key = join(roles + contents).encode()
                yield new(Row, (row, line, len(raw), "messages", roles, contents, key, None, True))
            elif raw.strip(BLANKS):
                yield self._read(raw, Place(self.title, line, row), found)

    def _read(self, raw: bytes, place: Place, found: list[Problem]) -> Row:
        """A row in full; its form is remembered if there is nothing to say about it."""
        try:
            value = value_of(raw, self._format, place)
        except DataError as error:
            found.append(error.problem)
            return Row(place.row, place.line, len(raw), "", (), (), b"", None, usable=False)
        row, problems = read_value(value, place, len(raw), self._columns, self._azure)
        found += problems
        if not problems and self._columns is None and _is_plain(value, row):
            if len(self._clean_forms) >= _FORMS_KEPT:
                self._clean_forms.clear()
            self._clean_forms.add((tuple(value), row.roles))
        return row


def read_value(
    value: dict[str, Any],
    place: Place,
    size: int = 0,
    columns: Mapping[str, str] | None = None,
    azure: bool = False,
) -> tuple[Row, list[Problem]]:
    """A row from its JSON object, and what is wrong with it on its own."""
    conversation, problems = read(value, place, columns)
    if conversation is not None:
        row = row_of(conversation, size)
    else:
        texts = tuple(_texts(value))
        roles = ("the row",) * len(texts)
        key = key_of(roles, texts)
        row = Row(place.row, place.line, size, detect(value) or "", roles, texts, key, None, usable=False)
    problems = [*problems, *control_problems(row, place)]
    if azure:
        problems += azure_problems(value, conversation, place)
    return row, problems


def row_of(conversation: Conversation, size: int = 0) -> Row:
    """The row of a conversation that was read before."""
    roles, contents = _parts(conversation)
    key = key_of(roles, contents)
    return Row(
        conversation.row, conversation.line, size, conversation.shape, roles, contents, key, conversation
    )


def key_of(roles: tuple[str, ...], contents: tuple[str, ...]) -> bytes:
    """What tells one conversation from another."""
    if any(_SEPARATOR in content for content in contents):
        contents = tuple(f"{len(content)}{_SEPARATOR}{content}" for content in contents)
    return _SEPARATOR.join(roles + contents).encode()


def _parts(conversation: Conversation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Everything in a row that can be read or learned: (who or what, text)."""
    found = [item for message in conversation.messages for item in _of_message(message, "")]
    found += [
        item for message in conversation.rejected for item in _of_message(message, "the rejected answer")
    ]
    for name, text in (("the text", conversation.text), ("the label", conversation.label)):
        if text is not None:
            found.append((name, text))
    if conversation.tools:
        found.append(("the tools", _dumped(conversation.tools)))
    if conversation.wanted is not None:
        found.append(("the judgement", str(conversation.wanted)))
    if conversation.token_ids:
        found.append(("the tokens", _dumped([conversation.token_ids, conversation.token_labels])))
    return tuple(name for name, _ in found), tuple(text for _, text in found)


def may_have_control(raw: bytes) -> bool:
    """Whether rows of these bytes of JSON may have control characters: escaped, or raw DEL and C1."""
    if b"\x7f" in raw or (not raw.isascii() and _C1.search(raw)):
        return True
    return bool(_ESCAPED_CONTROL.search(raw))


def control_problems(row: Row, place: Place) -> Iterator[Problem]:
    """The first part of a row with control characters."""
    for number, content in enumerate(row.contents):
        if match := CONTROL.search(content):
            count = len(CONTROL.findall(content))
            more = f" and {count - 1} more" if count > 1 else ""
            sentence = f"{row.name(number)} has the control character U+{ord(match.group()):04X}{more}."
            yield place.problem(
                "control-characters",
                sentence,
                "Remove them: they can't be seen and are seldom meant.",
                severity=CODES["control-characters"].severity,
            )
            return


def _is_plain(value: dict[str, Any], row: Row) -> bool:
    """Whether the row is turns of role and content and nothing else that could be wrong in another of its form."""
    conversation = row.conversation
    if conversation is None or conversation.shape != "messages" or not _FURTHER.isdisjoint(value):
        return False
    turns = value["messages"]
    return (
        all(len(turn) == 2 and isinstance(turn.get("content"), str) for turn in turns)
        and tuple(turn.get("role") for turn in turns) == row.roles
    )


_FURTHER = frozenset(
    [
        "tools",
        "functions",
        "label",
        "labels",
        "completion",
        "prompt",
        "chosen",
        "rejected",
        "system",
        "history",
        "weight",
        "text",
        "input_ids",
        "token_ids",
        "token_labels",
        "conversations",
        "conversation",
        "instruction",
        "output",
        "response",
        "answer",
        "wanted",
    ]
)


def _of_message(message: Message, title: str) -> Iterator[tuple[str, str]]:
    yield title or message.role, message.content
    for call in message.tool_calls:
        yield (
            "a tool call",
            f"{call.name} {call.arguments if isinstance(call.arguments, str) else _dumped(call.arguments)}",
        )


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value; the reader has refused one that is nested too deeply."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _dumped(value: Any) -> str:
    import orjson

    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
