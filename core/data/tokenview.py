"""A row as a person looks at its tokens: runs of text with what is trained, what ends a turn, where it is cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.data.conversation import Conversation
from core.data.files import BLANKS, file_error, open_file
from core.data.formats import format_of
from core.data.index import read_span
from core.data.problems import DataError, Place
from core.data.rendering import Rendered, Renderer
from core.data.rows import parse_row
from core.data.sandbox import RenderingError
from core.data.tasks import fitting, not_shown, reads_conversations, render_row

Span = tuple[int, int, int, int]
"""Row from 0, line from 1, first byte, byte after the last."""

Renderers = Callable[[bool], Renderer]
"""The model's renderer, for conversations or for texts without a template."""


class TokenView:
    """Rows of a file under a model, as a task trains on them.

    Args:
        renderers: the model.
        task: of a recipe; empty: the one that each row's shape is for.
        sequence_length: tokens beyond it are cut off; None: nothing is.
        apart: each token is a run of its own.
    """

    def __init__(self, renderers: Renderers, task: str, sequence_length: int | None, apart: bool) -> None:
        self._renderers = renderers
        self._task = task
        self._length = sequence_length
        self._apart = apart

    def rows(
        self, path: Path, name: str | None, spans: Sequence[Span], columns: Mapping[str, str] | None
    ) -> Iterator[dict[str, Any]]:
        """For each row {"row", "task", "tokens", "token_count", "trained_count", "cut_at"}, or {"row", "error"}.

        `tokens` are runs [text, trained, ids, mark]: mark is "end" for a token that ends a trained turn,
        "boundary" for the first token of an answer that is tokenised apart, else empty. `cut_at` is the first run
        that the sequence length cuts off, or None. `label` is the class that is learned; `rejected` has the same keys
        for a pair's other answer.

        Args:
            path: a plain file.
            name: what it was called, where it is a copy.
            spans: the rows.
            columns: the mapping of its columns.

        Raises:
            DataError: the file can't be read.
            RenderingError: the model has no tokenizer, or no usable template where one is needed.
        """
        format = format_of(path, name)
        for number, line, raw in _raw_rows(path, spans):
            try:
                row = parse_row(raw, format, Place(name or str(path), line, number + 1), columns)
                task = self._task or fitting(row)
                if (wrong := not_shown(task, row)) is not None:
                    raise DataError(wrong)
            except DataError as error:
                yield {"row": number, "error": error.as_dict()}
                continue
            renderer = self._renderers(reads_conversations(task))
            try:
                yield {"row": number, **self._as_trained(task, row, renderer)}
            except RenderingError as error:
                yield {"row": number, "error": error.as_dict()}

    def _as_trained(self, task: str, row: Conversation, renderer: Renderer) -> dict[str, Any]:
        first, *rejected = (self._runs(side, renderer) for side in render_row(task, row, renderer))
        label = {"label": row.label} if task == "classification" else {}
        return {"task": task, **first, **label, **({"rejected": rejected[0]} if rejected else {})}

    def _runs(self, rendered: Rendered, renderer: Renderer) -> dict[str, Any]:
        """The text in runs; control characters stay as they are. Nothing predicts a first token: it is not trained."""
        learned = [place > 0 and trained for place, trained in enumerate(rendered.trained)]
        runs = _Runs(self._apart)
        boundaries = frozenset(rendered.boundary)
        position = 0
        for place, (number, (start, end), trained) in enumerate(
            zip(rendered.ids, rendered.offsets, learned, strict=True)
        ):
            if place == self._length:
                runs.cut_at = len(runs.all)
            if start > position:  # white space that a special token swallowed
                runs.add(rendered.text[position:start], False, [], "")
            mark = "end" if trained and number in renderer.turn_end_ids else ""
            mark = "boundary" if place in boundaries else mark
            runs.add(rendered.text[max(start, position) : end], trained, [number], mark)
            position = max(position, end)
        runs.add(rendered.text[position:], False, [], "")
        return {
            "tokens": runs.all,
            "token_count": len(rendered.ids),
            "trained_count": sum(learned),
            "cut_at": runs.cut_at,
        }


def _raw_rows(path: Path, spans: Sequence[Span]) -> Iterator[tuple[int, int, bytes]]:
    try:
        file = open_file(path)
    except OSError as error:
        raise file_error(path, error) from error
    try:
        for number, line, start, end in spans:
            yield number, line, read_span(file, path, start, end).strip(BLANKS)
    finally:
        os.close(file)


class _Runs:
    """Runs of tokens; what is of the same kind and on the same side of the cut is joined."""

    def __init__(self, apart: bool) -> None:
        self.all: list[list[Any]] = []
        self.cut_at: int | None = None
        self._apart = apart

    def add(self, text: str, trained: bool, ids: list[int], mark: str) -> None:
        if not text and not ids:
            return
        if self._joins(trained, mark):
            self.all[-1][0] += text
            self.all[-1][2] += ids
        else:
            self.all.append([text, trained, ids, mark])

    def _joins(self, trained: bool, mark: str) -> bool:
        if self._apart or mark or not self.all or self.cut_at == len(self.all):
            return False
        _, before, _, mark_before = self.all[-1]
        return bool(before == trained and mark_before != "end")
