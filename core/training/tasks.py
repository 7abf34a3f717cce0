"""A file's rows as a task trains on them, many at once. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice, tee

from core.data.conversation import Conversation
from core.data.rendering import Rendered, Renderer, RenderingError
from core.data.tasks import PAIRS, render_row, sides
from core.training.rows import Example


def render(task: str, rows: Iterable[Conversation], renderer: Renderer) -> Iterator[Example | RenderingError]:
    """The rows as the task trains on them, in order; one that can't be rendered gives its error."""
    if task in PAIRS:
        yield from _pairs(task, rows, renderer)
    elif task == "completion":
        for row in rows:
            yield Example(render_row(task, row, renderer))
    else:
        rows, labelled = tee(rows)
        for row, item in zip(labelled, renderer.render_many(rows), strict=True):
            yield item if isinstance(item, RenderingError) else Example((item,), row.label)


def _pairs(task: str, rows: Iterable[Conversation], renderer: Renderer) -> Iterator[Example | RenderingError]:
    rendered = renderer.render_many(chain.from_iterable(sides(task, row) for row in rows))
    while pair := list(islice(rendered, 2)):
        wrong = next((item for item in pair if isinstance(item, RenderingError)), None)
        yield wrong or Example(tuple(item for item in pair if isinstance(item, Rendered)))
