"""Ollama's side of an export: a reader of Modelfiles and an evaluator of the few Go template actions we write.

Written from the descriptions of text/template (pkg.go.dev/text/template) and of the Modelfile, to hold our files
against something that doesn't know how they were made.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from core.data.conversation import Message

_ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


def collated(messages: Sequence[Message]) -> list[Message]:
    """Messages as Ollama hands them to a template: neighbours of one role are joined."""
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1].role == message.role:
            joined[-1] = Message(message.role, f"{joined[-1].content}\n\n{message.content}")
        else:
            joined.append(message)
    return joined


class GoTemplate:
    """A parsed template; whatever it does not know is an error."""

    def __init__(self, source: str) -> None:
        parts = _ACTION.split(source)
        self._tokens = [
            ("action" if number % 2 else "text", part.strip() if number % 2 else part)
            for number, part in enumerate(parts)
        ]
        self._next = 0
        self._nodes, ended = self._block()
        assert ended == "", f"unexpected {ended}"

    def _block(self) -> tuple[list[Any], str]:
        nodes: list[Any] = []
        while self._next < len(self._tokens):
            kind, content = self._tokens[self._next]
            self._next += 1
            if kind == "text":
                nodes.append(("text", content))
            elif content == "end" or content.startswith("else"):
                return nodes, content
            elif content.startswith(("if ", "range ")):
                nodes.append(self._branch(content))
            else:
                nodes.append(("action", content))
        return nodes, ""

    def _branch(self, head: str) -> Any:
        body, ended = self._block()
        if ended.startswith("else if "):
            return ("branch", head, body, [self._branch(ended.removeprefix("else "))])
        other: list[Any] = []
        if ended == "else":
            other, ended = self._block()
        assert ended == "end", ended
        return ("branch", head, body, other)

    def run(self, messages: Sequence[Message]) -> str:
        """The text for messages that are collated already."""
        self._variables: dict[str, Any] = {}
        self._messages = messages
        return "".join(self._write(self._nodes, None))

    def _write(self, nodes: list[Any], dot: Message | None) -> list[str]:
        said: list[str] = []
        for node in nodes:
            if node[0] == "text":
                said.append(node[1])
            elif node[0] == "action":
                said.append(self._act(node[1], dot))
            else:
                _, head, body, other = node
                if head == "range .Messages":
                    for message in self._messages:
                        said += self._write(body, message)
                else:
                    said += self._write(body if self._true(head.removeprefix("if "), dot) else other, dot)
        return said

    def _act(self, action: str, dot: Message | None) -> str:
        if found := re.fullmatch(r"(\$\w+) :?= (true|false)", action):
            self._variables[found[1]] = found[2] == "true"
            return ""
        return str(self._value(action, dot))

    def _true(self, condition: str, dot: Message | None) -> bool:
        if found := re.fullmatch(r"eq (\S+) (\S+)", condition):
            return bool(self._value(found[1], dot) == self._value(found[2], dot))
        return bool(self._value(condition, dot))

    def _value(self, word: str, dot: Message | None) -> Any:
        if word.startswith("`"):
            return word.strip("`")
        if word.startswith('"'):
            return ast.literal_eval(word)
        if word.startswith("$"):
            return self._variables[word]
        assert dot is not None
        return {".Role": dot.role, ".Content": dot.content}[word]


def read_modelfile(text: str) -> list[tuple[str, str]]:
    """(command, value) of each line; a quoted value may go on over lines, and what can't be printed is dropped."""
    lines = iter("".join(item for item in text if item.isprintable() or item in "\n\t").split("\n"))
    found = []
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        name, _, value = line.partition(" ")
        if name == "PARAMETER":
            name, _, value = value.partition(" ")
        while (plain := _unquoted(value.strip())) is None:
            value += "\n" + next(lines)
        found.append((name, plain))
    return found


def _unquoted(value: str) -> str | None:
    """The value without its quotes; None when it goes on."""
    for quotes in ('"""', '"'):
        if value.startswith(quotes):
            whole = len(value) >= 2 * len(quotes) and value.endswith(quotes)
            return value[len(quotes) : -len(quotes)] if whole else None
    return value
