"""How many tokens rows have and where their answers lie, without building what a trainer needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from core.data.conversation import Conversation
from core.data.layout import Layout
from core.data.rendering import Rendered, Renderer
from core.data.sandbox import RenderingError

if TYPE_CHECKING:
    from tokenizers import Encoding

_BATCH = 256
_Laid = Layout | Rendered | RenderingError


@dataclass(frozen=True)
class Measure:
    """A row in tokens.

    Args:
        tokens: all of them.
        spans: (first token, token after the last) of each trained stretch.
        straddles: a token would straddle a prompt and its answer.
    """

    tokens: int
    spans: tuple[tuple[int, int], ...]
    straddles: bool

    @property
    def trained(self) -> int:
        """Tokens the loss counts."""
        return sum(end - start for start, end in self.spans)

    def trained_within(self, sequence_length: int) -> int:
        """Tokens the loss counts among the first `sequence_length`."""
        return sum(max(0, min(end, sequence_length) - start) for start, end in self.spans)


def measure_many(renderer: Renderer, rows: Iterable[Conversation]) -> Iterator[Measure | RenderingError]:
    """The measure of each row in order; one that can't be rendered gives its error.

    One batch is laid out while the cores tokenise the one before, so this takes little longer than tokenising.
    """
    rest = iter(rows)
    waiting: tuple[Sequence[Conversation], Sequence[_Laid], Future[list[Encoding]]] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="tokenise") as pool:
        while batch := list(islice(rest, _BATCH)):
            laid = [_lay_out(renderer, row) for row in batch]
            texts = [item.text for item in laid if isinstance(item, Layout)]
            future = pool.submit(renderer.encode_many, texts)
            if waiting is not None:
                yield from _measured(renderer, *waiting)
            waiting = batch, laid, future
        if waiting is not None:
            yield from _measured(renderer, *waiting)


def _lay_out(renderer: Renderer, row: Conversation) -> _Laid:
    try:
        return renderer.lay_out(row) if row.messages else renderer.render(row)
    except RenderingError as error:
        return error


def _measured(
    renderer: Renderer,
    batch: Sequence[Conversation],
    laid: Sequence[_Laid],
    future: Future[list[Encoding]],
) -> Iterator[Measure | RenderingError]:
    encodings = iter(future.result())
    for row, item in zip(batch, laid, strict=True):
        if isinstance(item, RenderingError):
            yield item
        elif isinstance(item, Rendered):
            yield of_rendered(item)
        else:
            yield _of_layout(renderer, row, item, next(encodings))


def _of_layout(renderer: Renderer, row: Conversation, layout: Layout, encoding: Encoding) -> Measure:
    """Token counts from the places of the answers; where a token straddles, from the full rendering."""
    tokens = len(encoding)
    spans = []
    for region in layout.regions:
        first = encoding.char_to_token(region.start)
        last = encoding.char_to_token(region.end - 1)
        if first is None or last is None or _start(encoding, first) != region.start:
            return of_rendered(renderer.render(row))
        if row.messages[region.message].weight:
            spans.append((first, last + 1))
    return Measure(tokens, tuple(spans), straddles=False)


def _start(encoding: Encoding, token: int) -> int:
    place = encoding.token_to_chars(token)
    return int(place[0]) if place else -1


def of_rendered(rendered: Rendered) -> Measure:
    """The measure of a row that is rendered in full."""
    spans: list[tuple[int, int]] = []
    for place, trained in enumerate(rendered.trained):
        if trained and spans and spans[-1][1] == place:
            spans[-1] = spans[-1][0], place + 1
        elif trained:
            spans.append((place, place + 1))
    return Measure(len(rendered.ids), tuple(spans), bool(rendered.boundary))
