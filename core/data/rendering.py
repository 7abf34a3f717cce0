"""The one place where a conversation becomes tokens and a loss mask, for the screens and the trainer.

Needs `tokenizers` and jinja2 only; text and ids equal transformers' `apply_chat_template`. Trained are the
content of each assistant turn as the template renders it and its turn-end token; never the newline after that
token, nor the document's final end token.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING

from core.data.conversation import Conversation, Message
from core.data.layout import Layout, Region
from core.data.model_files import load_tokenizer, named_tokens, own_template, read_json
from core.data.sandbox import RenderingError
from core.data.template import ChatTemplate

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["Rendered", "Renderer", "RenderingError"]

_BATCH = 256
UNTRAINED = -100
"""The label of a token that is read only, in rows that are tokenised already."""
_TAILS_KEPT = 4096


@dataclass(frozen=True)
class Rendered:
    """A conversation as tokens: `ids`, `trained` and `offsets` (in characters) have one entry a token.

    `boundary` has the first tokens of the answers before which a token would straddle prompt and answer.
    """

    text: str
    ids: list[int]
    trained: list[bool]
    offsets: list[tuple[int, int]]
    boundary: tuple[int, ...] = ()

    @property
    def trained_tokens(self) -> int:
        """How many tokens the loss counts."""
        return sum(self.trained)

    def cut(self, sequence_length: int) -> Rendered:
        """The first `sequence_length` tokens; there may be no trained one among them."""
        if len(self.ids) <= sequence_length:
            return self
        offsets = self.offsets[:sequence_length]
        return Rendered(
            self.text[: max((end for _, end in offsets), default=0)],
            self.ids[:sequence_length],
            self.trained[:sequence_length],
            offsets,
            tuple(place for place in self.boundary if place < sequence_length),
        )


class Renderer:
    """A model's tokenizer and chat template.

    Attributes:
        turn_end_ids: the tokens that end an assistant turn, or a text where there is no template; generation stops
            at them.
        pad_id: a token to fill batches with (masked, so its choice never matters to the loss).
    """

    def __init__(
        self, tokenizer: Tokenizer, template: ChatTemplate | None, pad_id: int, end_id: int | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._chat_template = template
        self._special_texts = _special_texts(tokenizer)
        added = tokenizer.get_added_tokens_decoder()
        self._swallowers = {
            number: token.content for number, token in added.items() if token.lstrip or token.rstrip
        }
        self._tails: dict[str, list[int]] = {}
        self.pad_id = pad_id
        self._end_id = end_id
        ends = tuple(_token_id(tokenizer, text) for text in template.turn_ends()) if template else ()
        self.turn_end_ids = ends if template or end_id is None else (end_id,)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        chat_template: str | None = None,
        now: datetime | None = None,
        conversations: bool = True,
    ) -> Renderer:
        """The renderer of a model folder (`tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja`).

        Args:
            folder: the model.
            chat_template: template text to use instead of the model's own.
            now: the time told to templates that print today's date; a run freezes it so that it can resume.
            conversations: they will be rendered; without them the model needs no template.

        Raises:
            RenderingError: no tokenizer, no template, or a template that never ends an assistant turn.
        """
        config = read_json(folder / "tokenizer_config.json")
        tokenizer = load_tokenizer(folder / "tokenizer.json", config)
        named = named_tokens(folder, config)
        specials = list(_special_texts(tokenizer).values())
        specials += [named[name] for name in ("eos_token",) if name in named]
        template = None
        if conversations:
            source = chat_template if chat_template is not None else own_template(folder, config)
            template = ChatTemplate(source, named, specials, now)
        pad = named.get("pad_token", named.get("eos_token", ""))
        pad_id = tokenizer.token_to_id(pad) if pad else None
        end = named.get("eos_token")
        end_id = tokenizer.token_to_id(end) if end else None
        return cls(tokenizer, template, pad_id if pad_id is not None else 0, end_id)

    def render(self, conversation: Conversation) -> Rendered:
        """Tokens and mask of one row: a conversation, a plain text (no template, all of it trained) or tokens.

        Raises:
            RenderingError: naming file and line: the template refuses, drops or rewrites a message, or content
                holds a special token of the model.
        """
        if not conversation.messages:
            return self._without_turns(conversation)
        layout = self.lay_out(conversation)
        return self._masked(
            conversation, layout, self._tokenizer.encode(layout.text, add_special_tokens=False)
        )

    def render_completion(self, row: Conversation) -> Rendered:
        """A prompt and what follows it, as they are: the completion and the token that ends a document are trained."""
        prompt, completion = (message.content for message in row.messages)
        text = prompt + completion
        encodings = [self._tokenizer.encode(part, add_special_tokens=False) for part in (prompt, completion)]
        ids = [number for encoding in encodings for number in encoding.ids]
        before = len(encodings[0].ids)
        offsets = list(encodings[0].offsets)
        offsets += [(start + len(prompt), end + len(prompt)) for start, end in encodings[1].offsets]
        text = self._ended(text, ids, offsets)
        return Rendered(text, ids, [place >= before for place in range(len(ids))], offsets)

    def render_many(self, conversations: Iterable[Conversation]) -> Iterator[Rendered | RenderingError]:
        """`render` for many, on all cores, in order; one that can't be rendered gives its error."""
        rest = iter(conversations)
        while batch := list(islice(rest, _BATCH)):
            layouts = [self._layout_or_error(item) for item in batch]
            texts = [item.text for item in layouts if isinstance(item, Layout)]
            encodings = iter(self.encode_many(texts))
            for conversation, layout in zip(batch, layouts, strict=True):
                if isinstance(layout, Layout):
                    yield self._masked(conversation, layout, next(encodings))
                elif layout is None:
                    yield self._without_turns(conversation)
                else:
                    yield layout

    def _without_turns(self, row: Conversation) -> Rendered:
        """Plain text with the token that ends a document, or tokens as they are."""
        if row.text is None:
            pieces = [self.decode([number]) for number in row.token_ids]
            ends = list(accumulate(map(len, pieces)))
            offsets = [(end - len(piece), end) for piece, end in zip(pieces, ends, strict=True)]
            trained = [label != UNTRAINED for label in row.token_labels]
            return Rendered("".join(pieces), list(row.token_ids), trained, offsets)
        encoding = self._tokenizer.encode(row.text, add_special_tokens=False)
        ids, offsets, text = list(encoding.ids), list(encoding.offsets), row.text
        if row.label is None:
            text = self._ended(text, ids, offsets)
        return Rendered(text, ids, [row.label is None] * len(ids), offsets)

    def _ended(self, text: str, ids: list[int], offsets: list[tuple[int, int]]) -> str:
        """The text with the token that ends a document, which is added to ids and offsets too."""
        if self._end_id is None:
            return text
        end = self._special_texts.get(self._end_id, "")
        ids.append(self._end_id)
        offsets.append((len(text), len(text) + len(end)))
        return text + end

    @property
    def _template(self) -> ChatTemplate:
        if self._chat_template is None:
            raise RenderingError(
                "A conversation can't be rendered.",
                "The model was loaded for texts without a chat template.",
                "Train with the task `chat` to talk with it.",
            )
        return self._chat_template

    def encode(self, text: str) -> list[int]:
        """The tokens of a text that the model is to go on with."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def render_prompt(self, messages: Sequence[Message]) -> tuple[str, list[int]]:
        """Text and tokens of a conversation that the model is to continue (with the generation prompt).

        Raises:
            RenderingError: the template refuses the messages, or one holds a special token of the model.
        """
        text = self._template.text(messages, "The conversation", generation_prompt=True)
        return text, list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> str:
        """The text of tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special))

    @property
    def template_text(self) -> str | None:
        """The chat template it renders with, or None where it renders no conversations."""
        return None if self._chat_template is None else self._chat_template.source

    @property
    def reads_tools(self) -> bool:
        """Whether the template writes the tools of rows down."""
        return self._template.reads_tools

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:
        """Rendered texts as tokens, on all cores."""
        encodings: list[Encoding] = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return encodings

    def lay_out(self, conversation: Conversation) -> Layout:
        """The text of a conversation and the region of each assistant turn.

        Raises:
            RenderingError: see `render`.
        """
        return self._template.lay_out(conversation.messages, conversation.where, conversation.tools)

    def _layout_or_error(self, conversation: Conversation) -> Layout | RenderingError | None:
        if not conversation.messages:
            return None
        try:
            return self.lay_out(conversation)
        except RenderingError as error:
            return error

    def _masked(self, conversation: Conversation, layout: Layout, encoding: Encoding) -> Rendered:
        ids: list[int] = encoding.ids
        offsets: list[tuple[int, int]] = encoding.offsets
        cuts = [
            region.start
            for region in layout.regions
            if not self._prompt_stands(layout.text, region, ids, offsets)
        ]
        if cuts:
            ids, offsets = self._encode_apart(layout.text, cuts, ids, offsets)
        offsets = self._without_swallowed(layout.text, ids, offsets)
        trained = [False] * len(ids)
        regions = [region for region in layout.regions if conversation.messages[region.message].weight]
        for region in regions:
            first, after = _first_at(offsets, region.start), _first_at(offsets, region.end)
            trained[first:after] = [True] * (after - first)
        boundary = tuple(_first_at(offsets, cut) for cut in cuts)
        return Rendered(layout.text, ids, trained, offsets, boundary)

    def _without_swallowed(
        self, text: str, ids: list[int], offsets: list[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Offsets in which added tokens cover their own text only, not the white space they swallow."""
        if not self._swallowers:
            return offsets
        exact = list(offsets)
        for index, number in enumerate(ids):
            special = self._swallowers.get(number)
            if special and offsets[index][1] - offsets[index][0] != len(special):
                start = text.index(special, offsets[index][0])
                exact[index] = (start, start + len(special))
        return exact

    def _prompt_stands(
        self, text: str, region: Region, ids: list[int], offsets: list[tuple[int, int]]
    ) -> bool:
        """Whether the tokens before an answer are those of the prompt alone, as the model will be given it.

        They are not when a token straddles the boundary, e.g. ChatML's newline before an answer that starts
        with one. Special tokens part a text for the tokenizer, so it is enough to look from the last one on.
        """
        last = _first_at(offsets, region.start)
        special = next(
            (index for index in range(last - 1, -1, -1) if ids[index] in self._special_texts), None
        )
        if special is not None and special == last - 1:
            return True
        begin = 0 if special is None else offsets[special][0]
        return self._tail_ids(text[begin : region.start]) == ids[special or 0 : last]

    def _tail_ids(self, tail: str) -> list[int]:
        known = self._tails.get(tail)
        if known is None:
            known = list(self._tokenizer.encode(tail, add_special_tokens=False).ids)
            if len(tail) < 200 and len(self._tails) < _TAILS_KEPT:
                self._tails[tail] = known
        return known

    def _encode_apart(
        self, text: str, cuts: list[int], ids: list[int], offsets: list[tuple[int, int]]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Prompt and answer tokenised apart; kept whole where that would add a prefix space to the text."""
        bounds = [0, *cuts, len(text)]
        apart_ids: list[int] = []
        apart_offsets: list[tuple[int, int]] = []
        for begin, end in zip(bounds, bounds[1:], strict=False):
            encoding = self._tokenizer.encode(text[begin:end], add_special_tokens=False)
            apart_ids += encoding.ids
            apart_offsets += [(first + begin, last + begin) for first, last in encoding.offsets]
        if self.decode(apart_ids) != self.decode(ids):
            return ids, offsets
        return apart_ids, apart_offsets


def _first_at(offsets: list[tuple[int, int]], position: int) -> int:
    """The index of the first token that starts at or after a character."""
    return bisect_left(offsets, position, key=lambda offset: offset[0])


def _token_id(tokenizer: Tokenizer, text: str) -> int:
    number = tokenizer.token_to_id(text)
    if number is None:
        raise RenderingError(
            f"The tokenizer has no token {text!r}.",
            "The chat template ends the assistant's turn with it.",
            "Give another chat_template in the recipe, or use the tokenizer that belongs to the model.",
        )
    return int(number)


def _special_texts(tokenizer: Tokenizer) -> dict[int, str]:
    """Special tokens by id, with their texts."""
    added = tokenizer.get_added_tokens_decoder()
    return {number: token.content for number, token in added.items() if token.special}
