"""A model's chat template: the text of a conversation, and where in it each assistant turn lies.

The environment is the one transformers' `apply_chat_template` uses (same flags, filters and globals), so the
text is the same byte for byte. Templates come from the hub and are not trusted: they run in jinja2's
immutable sandbox and see plain strings only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from core.data.conversation import Message
from core.errors import FinetuiError

if TYPE_CHECKING:
    from jinja2 import Template

_SKELETONS_KEPT = 1024


class RenderingError(FinetuiError):
    """A conversation can't become tokens: there is no usable template, or it refuses the conversation."""


class Region(NamedTuple):
    """What an assistant turn trains: characters `start` to `end`, its turn-end token included."""

    message: int
    start: int
    end: int


class Layout(NamedTuple):
    """A conversation's text and, in order of place, the region of each assistant turn."""

    text: str
    regions: list[Region]


class _Slot(NamedTuple):
    """Where a message's content stands between the template's own texts.

    `before` is the template's text since the previous slot. For an assistant turn `lead` counts the
    characters from the end of the generation prompt to the content, `tail` those from the content to the end
    of the turn-end token.
    """

    message: int
    before: str
    lead: int
    tail: int


@dataclass(frozen=True)
class _Skeleton:
    slots: tuple[_Slot, ...]
    after: str


_Shape = tuple[tuple[str, bool], ...]


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: the jinja2 text.
        named_tokens: bos_token, eos_token, ... as the template may print them.
        specials: the texts of all special tokens; the first one after an answer ends the turn.
        now: what `strftime_now` in a template tells, fixed so that one run renders all its rows alike.
    """

    def __init__(
        self, source: str, named_tokens: dict[str, str], specials: Sequence[str], now: datetime | None = None
    ) -> None:
        self._named_tokens = named_tokens
        self._special = _alternatives(specials)
        self._compiled = _compile(source, now or datetime.now())
        self._skeletons: dict[_Shape, _Skeleton] = {}

    def text(self, messages: Sequence[Message], where: str, generation_prompt: bool = False) -> str:
        """The conversation as the model reads it.

        Raises:
            RenderingError: the template refuses the conversation, or content holds one of its special tokens.
        """
        self._refuse_special_tokens(messages, where)
        turns = [(message.role, message.content) for message in messages]
        return self._render(turns, where, generation_prompt)

    def lay_out(self, messages: Sequence[Message], where: str) -> Layout:
        """The text and the region of every assistant turn, whatever its weight.

        The template's own text is learned from a rendering with sentinels for contents (once for each
        sequence of roles); text and contents put together again must give the real rendering. Where they
        don't, e.g. because Qwen3 treats an answer with thinking differently, each turn is compared with its
        prompt instead. Nothing is guessed.

        Raises:
            RenderingError: as `text`, or the template drops, repeats or rewrites a message, or leaves a turn
                open.
        """
        text = self.text(messages, where)
        regions = _fit(self._skeleton(messages, where), text, messages)
        if regions is None:
            regions = self._by_prompts(messages, text, where)
        return Layout(text, regions)

    def _by_prompts(self, messages: Sequence[Message], text: str, where: str) -> list[Region]:
        """Regions from the prompt of each answer: the answer must follow it word for word."""
        regions: list[Region] = []
        position = 0
        for number, message in enumerate(messages):
            content = message.content.strip()
            if message.role != "assistant":
                place = text.find(content, position)
                position = place + len(content)
            else:
                prompt = self.text(messages[:number], where, generation_prompt=True) if number else ""
                end = self._special.search(text, len(prompt))
                same = end is not None and text[len(prompt) : end.start()].strip() == content
                place = 0 if same and text.startswith(prompt) else -1
                position = end.end() if end else 0
                regions.append(Region(number, len(prompt), position))
            if place < 0:
                raise _rewritten(where, number, message.role)
        return regions

    def turn_ends(self) -> tuple[str, ...]:
        """The texts of the special tokens that end an assistant turn, from a probe conversation."""
        probe = [Message(role, "probe") for role in ("user", "assistant", "user", "assistant")]
        layout = self.lay_out(probe, "The model's chat template")
        ends = (
            list(self._special.finditer(layout.text, 0, region.end))[-1].group() for region in layout.regions
        )
        return tuple(dict.fromkeys(ends))

    def _render(self, turns: Sequence[tuple[str, str]], where: str, generation_prompt: bool = False) -> str:
        import jinja2

        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            return self._compiled.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=generation_prompt,
                **self._named_tokens,
            )
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise RenderingError(
                f"{where}: the model's chat template refuses this conversation.",
                str(error) or type(error).__name__,
                "Change the row's roles or drop it, or give another chat_template in the recipe.",
            ) from error

    def _refuse_special_tokens(self, messages: Sequence[Message], where: str) -> None:
        for number, message in enumerate(messages, 1):
            if found := self._special.search(message.content):
                raise RenderingError(
                    f"{where}: message {number} ({message.role}) contains {found.group()!r}.",
                    "It is a special token of the model: as content it would end or start a turn.",
                    "Remove it from the row, or spell it differently.",
                )

    def _skeleton(self, messages: Sequence[Message], where: str) -> _Skeleton:
        shape = tuple((item.role, not item.content and item.role != "assistant") for item in messages)
        if shape not in self._skeletons:
            if len(self._skeletons) >= _SKELETONS_KEPT:
                self._skeletons.clear()
            self._skeletons[shape] = self._learn(shape, where)
        return self._skeletons[shape]

    def _learn(self, shape: _Shape, where: str) -> _Skeleton:
        """Render sentinels in place of contents; a turn without content is template text."""
        turns = [(role, "" if empty else _sentinel(number)) for number, (role, empty) in enumerate(shape)]
        text = self._render(turns, where)
        places = sorted(
            (_place(text, content, where, number, role), number)
            for number, (role, content) in enumerate(turns)
            if content
        )
        ends = [start + len(_sentinel(number)) for start, number in places]
        slots = []
        for order, (start, number) in enumerate(places):
            before = text[ends[order - 1] if order else 0 : start]
            lead = tail = 0
            if shape[number][0] == "assistant":
                limit = places[order + 1][0] if order + 1 < len(places) else len(text)
                lead = self._lead(turns, number, text, start)
                tail = self._tail(text, ends[order], limit, where)
            slots.append(_Slot(number, before, lead, tail))
        return _Skeleton(tuple(slots), text[ends[-1] if ends else 0 :])

    def _lead(self, turns: Sequence[tuple[str, str]], number: int, text: str, start: int) -> int:
        """Characters from the end of the generation prompt to the content: the model writes them."""
        try:
            prompt = self._render(turns[:number], "", generation_prompt=True)
        except RenderingError:  # e.g. no turn before this one: there is no prompt to compare with
            return 0
        return start - len(prompt) if len(prompt) <= start and text.startswith(prompt) else 0

    def _tail(self, text: str, end: int, limit: int, where: str) -> int:
        found = self._special.search(text, end, limit)
        if found is None:
            raise RenderingError(
                f"{where}: the model's chat template does not end the assistant's turn with a special token.",
                "A model trained so would never learn to stop.",
                "Give a chat_template in the recipe that ends each answer with eos_token.",
            )
        return found.end() - end


def _sentinel(number: int) -> str:
    return f"zqslot{number}qz"


def _place(text: str, sentinel: str, where: str, number: int, role: str) -> int:
    if text.count(sentinel) != 1:
        raise _rewritten(where, number, role)
    return text.index(sentinel)


def _fit(skeleton: _Skeleton, text: str, messages: Sequence[Message]) -> list[Region] | None:
    """The regions of a text that is the skeleton filled with the messages' contents; None if it is not."""
    regions: list[Region] = []
    position = 0
    for slot, following in zip(skeleton.slots, _following(skeleton), strict=True):
        start = position + len(slot.before)
        end = _content_end(text, start, messages[slot.message].content, following)
        if end is None or text[position:start] != slot.before:
            return None
        if messages[slot.message].role == "assistant":
            regions.append(Region(slot.message, start - slot.lead, end + slot.tail))
        position = end
    return regions if text[position:] == skeleton.after else None


def _following(skeleton: _Skeleton) -> list[str]:
    """The template's text after each slot."""
    return [slot.before for slot in skeleton.slots[1:]] + [skeleton.after]


def _content_end(text: str, start: int, content: str, following: str) -> int | None:
    """Where the content, perhaps trimmed, ends in the text; None if it isn't there."""
    variants = (
        content,
        content.lstrip(),
        content.rstrip(),
        content.lstrip("\n"),
        content.strip("\n"),
        content.strip(),
    )
    for variant in variants:
        if text.startswith(variant, start) and text.startswith(following, start + len(variant)):
            return start + len(variant)
    return None


def _rewritten(where: str, number: int, role: str) -> RenderingError:
    return RenderingError(
        f"{where}: the model's chat template drops or rewrites message {number + 1} ({role}).",
        "What would be trained is then not what the row says.",
        "Change or drop the row, or give another chat_template in the recipe.",
    )


def _alternatives(specials: Sequence[str]) -> re.Pattern[str]:
    """A pattern of all special tokens, longer ones first; one that never matches if there are none."""
    longest_first = sorted(filter(None, specials), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _compile(source: str, now: datetime) -> Template:
    import jinja2
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_generation_tag(), loopcontrols]
    )

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = now.strftime
    environment.globals["namespace"] = _namespace_class()
    environment.globals["dict"] = _make_dict
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise RenderingError(
            "The model's chat template is not valid jinja2.",
            f"line {getattr(error, 'lineno', '?')}: {error}",
            "Give a working chat_template in the recipe.",
        ) from error


def _generation_tag() -> type[Any]:
    """The extension for `{% generation %}...{% endgeneration %}`: the block's text as it is."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension

    class GenerationTag(Extension):
        tags = {"generation"}

        def parse(self, parser: jinja2.parser.Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_block"), [], [], body).set_lineno(line)

        def _block(self, caller: Any) -> Any:
            return caller()

    return GenerationTag


def _namespace_class() -> type[Any]:
    """jinja2's `namespace` without underscore names: they are a known way out of the sandbox."""
    from jinja2 import exceptions, utils

    class Namespace(utils.Namespace):
        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise exceptions.SecurityError(f"a chat template may not set {name!r} on a namespace")
            super().__setitem__(name, value)

    return Namespace


def _make_dict(*items: Any, **named: Any) -> dict[Any, Any]:
    """`dict(...)` for templates without handing them the class itself."""
    return dict(*items, **named)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The `tojson` filter without jinja2's HTML escapes."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
