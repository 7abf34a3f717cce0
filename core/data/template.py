"""A model's chat template: the text of a conversation, and where in it each assistant turn lies.

The environment is the one transformers' `apply_chat_template` uses (same flags, filters and globals), so the
text is the same byte for byte. Templates come from the hub and are not trusted: they run in jinja2's
immutable sandbox and see plain strings only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from core.data.conversation import Message, ToolCall
from core.data.layout import Layout, Plan, Region, Skeleton, Slot
from core.data.sandbox import RenderingError, compile_template, free_names
from core.data.transparency import is_transparent

_SKELETONS_KEPT = 1024


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
        self.source = source
        self._compiled = compile_template(source, now or datetime.now())
        self._skeletons: dict[_Shape, Skeleton] = {}
        self._plans: dict[_Shape, Plan | None] = {}
        self._transparent = is_transparent(self._compiled.environment, source)
        self.reads_tools = "tools" in free_names(self._compiled.environment, source)
        """Whether the template looks at a row's tools at all."""

    def text(
        self,
        messages: Sequence[Message],
        where: str,
        generation_prompt: bool = False,
        tools: Sequence[Any] = (),
    ) -> str:
        """The conversation as the model reads it.

        Raises:
            RenderingError: the template refuses the conversation, or content holds one of its special tokens.
        """
        self._refuse_special_tokens(messages, where)
        try:
            return self._render([as_turn(message) for message in messages], where, generation_prompt, tools)
        except RenderingError as error:
            raise self._role_refused(messages, where, tools) or error from None

    def _role_refused(
        self, messages: Sequence[Message], where: str, tools: Sequence[Any]
    ) -> RenderingError | None:
        """The error of a role that alone is what the template refuses."""
        for role in ("system", "tool"):
            others = [as_turn(message) for message in messages if message.role != role]
            if not others or len(others) == len(messages):
                continue
            try:
                self._render(others, where, False, tools)
            except RenderingError:
                continue
            return RenderingError(
                f"{where}: the model's chat template has no {role} turns.",
                "It refuses the conversation with them and takes it without.",
                "Put the text into the first user turn, drop the row, or give another chat_template.",
                "role-not-in-template",
            )
        return None

    def lay_out(self, messages: Sequence[Message], where: str, tools: Sequence[Any] = ()) -> Layout:
        """The text and the region of every assistant turn, whatever its weight.

        The template's own text is learned from a rendering with sentinels for contents (once for each
        sequence of roles); text and contents put together again must give the real rendering. Where they
        don't, e.g. because Qwen3 treats an answer with thinking differently, each turn is compared with its
        prompt instead. Nothing is guessed.

        Raises:
            RenderingError: as `text`, or the template drops, repeats or rewrites a message, or leaves a turn
                open.
        """
        more = bool(tools) or any(map(_has_more, messages))
        if self._transparent and not more:
            self._refuse_special_tokens(messages, where)
            layout = self._assembled(messages)
            if layout is not None:
                return layout
        text = self.text(messages, where, tools=tools)
        if more:
            return Layout(text, self._by_turns(messages, text, where, tools))
        regions = _fit(self._skeleton(messages, where), text, messages)
        if regions is None:
            regions = self._by_prompts(messages, text, where)
        return Layout(text, regions)

    def _assembled(self, messages: Sequence[Message]) -> Layout | None:
        """The layout put together without running the template, which only writes contents down; None where that
        can't be: it refuses these roles, or there is an empty answer, whose place no sentinel tells.
        """
        shape = tuple((item.role, not item.content) for item in messages)
        if ("assistant", True) in shape:
            return None
        plan = self._plans.get(shape)
        if plan is None:
            if len(self._plans) >= _SKELETONS_KEPT:
                self._plans.clear()
            plan = self._plans[shape] = self._plan(shape)
        return plan.filled(messages) if plan else None

    def _plan(self, shape: _Shape) -> Plan | None:
        try:
            skeleton = self._learn(shape, "")
            edged = [
                {"role": role, "content": "" if empty else f"\n {_sentinel(number)} \n"}
                for number, (role, empty) in enumerate(shape)
            ]
            text = self._render(edged, "")
        except RenderingError:
            return None
        trimmed = tuple(f"\n {_sentinel(slot.message)} \n" not in text for slot in skeleton.slots)
        return Plan(skeleton, trimmed)

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

    def _by_turns(
        self, messages: Sequence[Message], text: str, where: str, tools: Sequence[Any]
    ) -> list[Region]:
        """Regions where turns call tools: each from the end of its prompt to the token that ends a turn."""
        ends = re.compile("|".join(map(re.escape, self.turn_ends())))
        regions: list[Region] = []
        position = 0
        for number, message in enumerate(messages):
            parts = [message.content.strip(), *(call.name for call in message.tool_calls)]
            if message.role == "assistant":
                before = messages[:number]
                prompt = self.text(before, where, generation_prompt=True, tools=tools) if number else ""
                end = ends.search(text, len(prompt)) if text.startswith(prompt) else None
                if end is None or not all(part in text[len(prompt) : end.start()] for part in parts):
                    raise _rewritten(where, number, message.role)
                position = end.end()
                regions.append(Region(number, len(prompt), position))
            elif text.find(parts[0], position) < 0:
                raise _rewritten(where, number, message.role)
            else:
                position = text.find(parts[0], position) + len(parts[0])
        return regions

    def turn_ends(self) -> tuple[str, ...]:
        """The texts of the special tokens that end an assistant turn, from a probe conversation."""
        probe = [Message(role, "probe") for role in ("user", "assistant", "user", "assistant")]
        layout = self.lay_out(probe, "The model's chat template")
        ends = (
            list(self._special.finditer(layout.text, 0, region.end))[-1].group() for region in layout.regions
        )
        return tuple(dict.fromkeys(ends))

    def _render(
        self,
        turns: Sequence[dict[str, Any]],
        where: str,
        generation_prompt: bool = False,
        tools: Sequence[Any] = (),
    ) -> str:
        import jinja2

        try:
            return self._compiled.render(
                messages=turns,
                tools=list(tools) or None,
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
            content = message.content
            if message.tool_calls:
                content += "".join(map(_call_text, message.tool_calls))
            if found := self._special.search(content):
                raise RenderingError(
                    f"{where}: message {number} ({message.role}) contains {found.group()!r}.",
                    "It is a special token of the model: as content it would end or start a turn.",
                    "Remove it from the row, or spell it differently.",
                    "special-token",
                )

    def _skeleton(self, messages: Sequence[Message], where: str) -> Skeleton:
        shape = tuple((item.role, not item.content and item.role != "assistant") for item in messages)
        if shape not in self._skeletons:
            if len(self._skeletons) >= _SKELETONS_KEPT:
                self._skeletons.clear()
            self._skeletons[shape] = self._learn(shape, where)
        return self._skeletons[shape]

    def _learn(self, shape: _Shape, where: str) -> Skeleton:
        """Render sentinels in place of contents; a turn without content is template text."""
        turns = [
            {"role": role, "content": "" if empty else _sentinel(number)}
            for number, (role, empty) in enumerate(shape)
        ]
        text = self._render(turns, where)
        places = sorted(
            (_place(text, turn["content"], where, number, turn["role"]), number)
            for number, turn in enumerate(turns)
            if turn["content"]
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
            slots.append(Slot(number, before, lead, tail))
        return Skeleton(tuple(slots), text[ends[-1] if ends else 0 :])

    def _lead(self, turns: Sequence[dict[str, Any]], number: int, text: str, start: int) -> int:
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


def _fit(skeleton: Skeleton, text: str, messages: Sequence[Message]) -> list[Region] | None:
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


def _following(skeleton: Skeleton) -> list[str]:
    """The template's text after each slot."""
    return [*(slot.before for slot in skeleton.slots[1:]), skeleton.after] if skeleton.slots else []


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
        "turn-rewritten",
    )


def _has_more(message: Message) -> bool:
    """Whether a turn is more than a role and a content."""
    return bool(message.tool_calls or message.name or message.tool_call_id) or message.role == "tool"


def as_turn(message: Message) -> dict[str, Any]:
    """A message as templates expect it."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        turn["name"] = message.name
    if message.tool_calls:
        turn["tool_calls"] = [
            {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    return turn


def _call_text(call: ToolCall) -> str:
    return f" {call.name} {json.dumps(call.arguments, ensure_ascii=False)}"


def _alternatives(specials: Sequence[str]) -> re.Pattern[str]:
    """A pattern of all special tokens, longer ones first; one that never matches if there are none."""
    longest_first = sorted(filter(None, specials), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
