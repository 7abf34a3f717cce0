"""A chat template as a Go template, the language in which Ollama writes a model's prompts.

The training template is jinja2 and may do anything, so it is not translated: conversations of sentinels are rendered
through it, and what stands around each role's content is learned from them. That is then held against the training
template for every order of roles up to five turns. One that does more than put text around contents is refused.

Ollama gives a template `.Messages`, each with `.Role` and `.Content`, after it has joined neighbours of one role
(docs/template.md and template/template.go of github.com/ollama/ollama). A prompt is always one to be answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from core.data.conversation import Message
from core.data.sandbox import RenderingError
from core.errors import FinetuiError

ROLES = ("system", "user", "assistant")
CHECKED_TURNS = 5
EDGED = "\n {} \n"
THOUGHT = "<think>\nhm\n</think>\n\n{}"

Prompt = Callable[[Sequence[Message]], str]
"""The text of a conversation that the model is to continue; raises RenderingError where the template refuses it."""


class TemplateError(FinetuiError):
    """A chat template does what a Go template of this kind can't."""


@dataclass(frozen=True)
class Turn:
    """What a template writes around one role's content.

    Args:
        first: the text before it when nothing was written before.
        before: the text before it elsewhere; None where the template takes this role at the beginning only.
        after: the text after it.
        skipped_empty: without content the turn is left out.
    """

    first: str
    before: str | None
    after: str
    skipped_empty: bool = False


@dataclass(frozen=True)
class Turns:
    """A template that only puts text around contents.

    Args:
        roles: what is written around each role it takes.
        answer: the text after the last turn, which the model's reply follows.
        notes: what it does besides, which a Go template can't, in sentences for the user.
    """

    roles: dict[str, Turn]
    answer: str
    notes: tuple[str, ...] = ()

    def text(self, messages: Sequence[Message]) -> str:
        """What the Go template gives for a conversation."""
        parts: list[str] = []
        for message in messages:
            turn = self.roles.get(message.role)
            if turn is None or (turn.skipped_empty and not message.content):
                continue
            before = turn.before if parts else turn.first
            if before is not None:
                parts += [before, message.content, turn.after]
        return "".join(parts) + self.answer

    def as_go(self) -> str:
        """The Go template."""
        counts = any(turn.first != turn.before for turn in self.roles.values())
        branches = [
            f'{{{{ {"else " if number else ""}if eq .Role "{role}" }}}}{_go_turn(turn, counts)}'
            for number, (role, turn) in enumerate(self.roles.items())
        ]
        start = "{{ $first := true }}" if counts else ""
        turns = "{{ range .Messages }}" + "".join(branches) + "{{ end }}{{ end }}"
        return start + turns + go_literal(self.answer)


def _go_turn(turn: Turn, counts: bool) -> str:
    body = "{{ .Content }}" + go_literal(turn.after) + ("{{ $first = false }}" if counts else "")
    if turn.before is None:
        body = "{{ if $first }}" + go_literal(turn.first) + body + "{{ end }}"
    elif turn.first.endswith(turn.before):
        extra = turn.first.removesuffix(turn.before)
        begin = "{{ if $first }}" + go_literal(extra) + "{{ end }}" if extra else ""
        body = begin + go_literal(turn.before) + body
    else:
        first, before = go_literal(turn.first), go_literal(turn.before)
        body = "{{ if $first }}" + first + "{{ else }}" + before + "{{ end }}" + body
    return "{{ if .Content }}" + body + "{{ end }}" if turn.skipped_empty else body


def go_literal(text: str) -> str:
    """Text that a Go template, inside the triple quotes of a Modelfile, gives as it is.

    A brace may not open an action, three quotes would end the Modelfile's value, and what can't be printed is
    dropped by the Modelfile's reader (parser/parser.go).
    """
    return "".join(_go_character(character) for character in text)


def _go_character(character: str) -> str:
    if character == "{":
        return '{{ "{" }}'
    if character == '"':
        return '{{ `"` }}'
    if character.isprintable() or character in "\n\t":
        return character
    return f'{{{{ "\\U{ord(character):08x}" }}}}'


def learn(prompt: Prompt, turn_ends: Sequence[str]) -> Turns:
    """What a chat template writes around contents.

    Args:
        prompt: renders a conversation with the template.
        turn_ends: the texts that end an assistant turn.

    Raises:
        TemplateError: it can't be said so; names what is different.
    """
    first_user, end = _gaps(prompt, "user")
    _, user_to_assistant, assistant_to_user, _ = _gaps(prompt, "user", "assistant", "user")
    after_assistant, before_user = _after_turn_end(assistant_to_user, turn_ends)
    after_user = _after_turn_end(end, turn_ends)[0]
    if not user_to_assistant.startswith(after_user) or not after_user:
        after_user = _common_beginning(end, user_to_assistant)
    before_assistant = user_to_assistant.removeprefix(after_user)
    opened = _taken(prompt, "assistant", "user")
    roles = {
        "user": Turn(first_user, before_user, after_user),
        "assistant": Turn(opened[0] if opened else before_assistant, before_assistant, after_assistant),
    }
    if system := _system(prompt, before_user, after_assistant):
        roles = {"system": system, **roles}
    turns = Turns(roles, end.removeprefix(after_user))
    turns = _skipping_empty(turns, prompt)
    _compare(turns, prompt)
    return replace(turns, notes=tuple(_notes(turns, prompt)))


def _system(prompt: Prompt, before_user: str, after_assistant: str) -> Turn | None:
    """The system role; None where the template refuses it.

    Raises:
        TemplateError: the template puts the message somewhere into another turn.
    """
    gaps = _taken(prompt, "system", "user")
    if gaps is None:
        return None
    first, to_user, _ = gaps
    if not to_user.endswith(before_user):
        raise TemplateError(
            "The chat template has no system turn of its own: it writes the system message into the user's turn.",
            f"Between the two it writes {to_user!r}, where a user's turn begins with {before_user!r}.",
            "Export `--to merged`, and let the server apply the model's own chat template.",
        )
    later = _taken(prompt, "user", "assistant", "system", "user")
    before = later[2] if later else None
    if before is not None and before.startswith(after_assistant):
        before = before.removeprefix(after_assistant)
    return Turn(first, before, to_user.removesuffix(before_user))


def _gaps(prompt: Prompt, *roles: str) -> list[str]:
    """As `_taken`, of a conversation that every template must take."""
    gaps = _taken(prompt, *roles)
    if gaps is None:
        raise TemplateError(
            f"The chat template does not write the contents of {', '.join(roles)} down as they are.",
            "Nothing else can be said of it in Ollama's template language.",
            "Export `--to merged`, and let the server apply the model's own chat template.",
        )
    return gaps


def _taken(prompt: Prompt, *roles: str) -> list[str] | None:
    """The texts before, between and after the contents; None where the template refuses or drops one of them."""
    messages = _sentinels(roles)
    try:
        text = prompt(messages)
    except RenderingError:
        return None
    gaps = []
    for message in messages:
        if text.count(message.content) != 1:
            return None
        gap, _, text = text.partition(message.content)
        gaps.append(gap)
    return [*gaps, text]


def _sentinels(roles: Sequence[str]) -> list[Message]:
    return [Message(role, f"zqturn{number}qz") for number, role in enumerate(roles)]


def _after_turn_end(gap: str, turn_ends: Sequence[str]) -> tuple[str, str]:
    """A text cut behind its last turn-end token and the white space after that."""
    cut = max((gap.rfind(end) + len(end) for end in turn_ends if end in gap), default=0)
    while cut and cut < len(gap) and gap[cut].isspace():
        cut += 1
    return gap[:cut], gap[cut:]


def _common_beginning(one: str, two: str) -> str:
    same = 0
    while same < min(len(one), len(two)) and one[same] == two[same]:
        same += 1
    return one[:same]


def _skipping_empty(turns: Turns, prompt: Prompt) -> Turns:
    """With the system turn marked as left out without content, where the template does so."""
    system = turns.roles.get("system")
    empty = [Message("system", ""), *_sentinels(["user"])]
    if system is None or not _differs(turns, prompt, empty):
        return turns
    return replace(turns, roles={**turns.roles, "system": replace(system, skipped_empty=True)})


def _conversations(roles: Sequence[str]) -> Iterator[list[Message]]:
    """Every order of roles that Ollama may ask for: the user's turn is the last, no role follows itself."""
    for length in range(1, CHECKED_TURNS + 1):
        for order in product(roles, repeat=length):
            repeats = any(one == two for one, two in zip(order, order[1:], strict=False))
            if order[-1] == "user" and not repeats:
                yield _sentinels(order)
                if order[0] == "system":
                    yield [Message("system", ""), *_sentinels(order)[1:]]


def _compare(turns: Turns, prompt: Prompt) -> None:
    """Hold what was learned against the template.

    Raises:
        TemplateError: they differ.
    """
    for messages in _conversations(list(turns.roles)):
        try:
            wanted = prompt(messages)
        except RenderingError:
            continue  # what was never trained has no right text
        got = turns.text(messages)
        if got != wanted:
            place = len(_common_beginning(got, wanted))
            raise TemplateError(
                f"The chat template treats {', '.join(message.role for message in messages)} in a way of its own.",
                f"After {wanted[:place][-40:]!r} it writes {wanted[place : place + 40]!r}, "
                f"where the turns alone would give {got[place : place + 40]!r}.",
                "Export `--to merged`, and let the server apply the model's own chat template.",
            )


def _notes(turns: Turns, prompt: Prompt) -> Iterator[str]:
    if "system" not in turns.roles:
        yield "The chat template has no system turn: in Ollama a system message has no effect."
    elif turns.roles["system"].before is None:
        yield "The chat template takes a system message at the beginning only: in Ollama a later one has no effect."
    talk = _sentinels(["user", "assistant", "user"])
    if _differs(turns, prompt, [replace(item, content=EDGED.format(item.content)) for item in talk]):
        yield "The chat template strips white space around messages; Ollama's templates can't."
    thought = replace(talk[1], content=THOUGHT.format(talk[1].content))
    if _differs(turns, prompt, [talk[0], thought, talk[2]]):
        yield "The chat template takes the thinking out of earlier answers; Ollama's templates can't."


def _differs(turns: Turns, prompt: Prompt, messages: Sequence[Message]) -> bool:
    try:
        return turns.text(messages) != prompt(messages)
    except RenderingError:
        return False
