"""The data worker: renders, checks and measures rows for the screens, outside the app's process.

Run as `python -P -m core.data.worker`; speaks core.pipes. Ops:

    render  path, lines [[number from 0, first byte, byte after], ...], model_folder, chat_template?
            -> one dict a line: {"line", "tokens": [[text, trained], ...], "token_count", "trained_count"}
               or {"line", "error": {what, cause, next_step}}
    check   path -> chunks {"problems": [...], "bytes", "total"}, then the counts
    stats   path, sample?, model_folder?, chat_template? -> distributions of turns and of tokens
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.data.check import Check
from core.data.conversation import Conversation
from core.data.files import file_error, open_file
from core.data.index import LineIndex, read_span
from core.data.problems import DataError, Problem
from core.data.rendering import Rendered, Renderer, RenderingError
from core.data.rows import parse_line
from core.data.split import split
from core.pipes import Request, serve

_PROBLEMS_IN_CHUNK = 200
_BYTES_IN_CHUNK = 8 << 20


def render(
    request: Request,
    path: str,
    lines: list[tuple[int, int, int]],
    model_folder: str,
    chat_template: str | None = None,
) -> list[dict[str, Any]]:
    """Rows as runs of text, trained or not. A row that can't be read or rendered gives its error.

    Raises:
        DataError: the file can't be read.
        RenderingError: the model has no tokenizer or no usable template.
    """
    renderer = _renderer(model_folder, chat_template)
    answers = []
    for number, parsed in _parsed(Path(path), lines):
        request.check()
        try:
            if isinstance(parsed, DataError):
                raise parsed
            answers.append({"line": number, **_as_runs(renderer.render(parsed))})
        except (DataError, RenderingError) as error:
            answers.append({"line": number, "error": error.as_dict()})
    return answers


def check(request: Request, path: str) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Problems in chunks as they are found; returns the counts."""
    result = Check(Path(path))
    total = _size(Path(path))
    found: list[dict[str, Any]] = []
    sent = 0
    for problem in result.steps():
        request.check()
        if isinstance(problem, Problem):
            found.append(problem.as_dict())
        if len(found) >= _PROBLEMS_IN_CHUNK or result.bytes_read - sent >= _BYTES_IN_CHUNK:
            sent = result.bytes_read
            yield {"problems": found, "bytes": sent, "total": total}
            found = []
    yield {"problems": found, "bytes": result.bytes_read, "total": total}
    return result.counts()


def stats(
    request: Request,
    path: str,
    sample: int = 1000,
    model_folder: str | None = None,
    chat_template: str | None = None,
) -> dict[str, Any]:
    """How long the conversations are: turns, and with a model's folder tokens and trained tokens.

    Measured on `sample` lines drawn with a fixed seed (all of them if there are no more).
    """
    index = LineIndex(Path(path))
    try:
        index.scan(cancelled=lambda: request.cancelled)
        request.check()
        rows = len(index)
        chosen = range(rows) if rows <= sample else split(rows, sample / rows, 0)[1]
        spans = [(number, *index.span(number)) for number in chosen]
    finally:
        index.close()
    usable = [row for _, row in _parsed(Path(path), spans) if isinstance(row, Conversation)]
    answer: dict[str, Any] = {
        "lines": rows,
        "sampled": len(spans),
        "usable": len(usable),
        "turns": _spread([len(row.messages) for row in usable]),
    }
    if model_folder is not None:
        request.check()
        rendered = list(_renderer(model_folder, chat_template).render_many(usable))
        good = [item for item in rendered if isinstance(item, Rendered)]
        answer["refused"] = len(rendered) - len(good)
        answer["tokens"] = _spread([len(item.ids) for item in good])
        answer["trained_tokens"] = _spread([item.trained_tokens for item in good])
    return answer


def _parsed(
    path: Path, spans: Iterable[tuple[int, int, int]]
) -> Iterator[tuple[int, Conversation | DataError]]:
    """The rows at byte ranges of a file, each with its line number from 0; blank lines give an error too."""
    try:
        file = open_file(path)
    except OSError as error:
        raise file_error(path, error) from error
    try:
        for number, start, end in spans:
            try:
                yield number, parse_line(read_span(file, path, start, end), str(path), number + 1)
            except DataError as error:
                yield number, error
    finally:
        os.close(file)


def _as_runs(rendered: Rendered) -> dict[str, Any]:
    """The text in runs of trained and untrained characters; control characters stay as they are."""
    runs: list[list[Any]] = []
    position = 0
    for (start, end), trained in zip(rendered.offsets, rendered.trained, strict=True):
        if start > position:  # white space that a special token swallowed
            _extend(runs, rendered.text[position:start], False)
        _extend(runs, rendered.text[max(start, position) : end], trained)
        position = max(position, end)
    _extend(runs, rendered.text[position:], False)
    return {
        "tokens": runs,
        "token_count": len(rendered.ids),
        "trained_count": rendered.trained_tokens,
    }


def _extend(runs: list[list[Any]], text: str, trained: bool) -> None:
    if text and runs and runs[-1][1] == trained:
        runs[-1][0] += text
    elif text:
        runs.append([text, trained])


def _spread(values: list[int]) -> dict[str, float] | None:
    """Smallest, median, 95th percentile, largest, mean and sum; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "min": ordered[0],
        "median": ordered[last // 2],
        "p95": ordered[int(last * 0.95)],
        "max": ordered[last],
        "mean": sum(ordered) / len(ordered),
        "sum": sum(ordered),
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise file_error(path, error) from error


def _renderer(folder: str, chat_template: str | None) -> Renderer:
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    changed = tuple(path.stat().st_mtime_ns for name in names if (path := Path(folder) / name).is_file())
    return _load(folder, chat_template, changed)


@lru_cache(maxsize=2)
def _load(folder: str, chat_template: str | None, changed: tuple[int, ...]) -> Renderer:
    """A renderer, kept until one of its files changes."""
    return Renderer.from_folder(Path(folder), chat_template)


if __name__ == "__main__":
    serve({"render": render, "check": check, "stats": stats})
