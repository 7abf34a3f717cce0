"""The data worker: everything the screens ask of data, outside the app's process.

Run as `python -P -m core.data.worker`; speaks core.pipes. Paths are of plain files but for `unpack`. Everywhere
`columns` is the mapping of the file's columns, or None, and `name` what the file was called where the path is an
unpacked copy. Ops:

    unpack   path -> chunks {"bytes", "total"}, then {"plain": path}
    render   path, lines [[row from 0, line from 1, first byte, byte after], ...], model_folder, chat_template?,
             sequence_length?, apart? -> one dict a row: {"row", "tokens": [[text, trained, [ids], mark], ...],
             "token_count", "trained_count", "cut_at"} or {"row", "error"}; mark is "end" for a turn-end token, "boundary" for the
             first token of an answer that is tokenised apart, else empty
    check    path, options? -> chunks {"problems", "bytes", "total"}, then the counts
    stats    path, sample?, model_folder?, chat_template?, sequence_length? -> see core.data.statistics
    filter   path, query, model_folder?, ... -> chunks {"rows", "scanned", "total"}, then {"found"}
    preview  path, steps, limit -> what the repairs would change
    repair   path, steps, target, overwrite? -> chunks {"bytes", "total"}, then the report
    split    path, train, validation, ... -> the report
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.pipes import Request, serve

if TYPE_CHECKING:
    from core.data.rendering import Rendered, Renderer

_PROBLEMS_IN_CHUNK = 200
_BYTES_IN_CHUNK = 8 << 20
Columns = dict[str, str] | None


def unpack(request: Request, path: str) -> Generator[dict[str, int], None, dict[str, str]]:
    """Make the plain copy of a compressed or Parquet file, with progress."""
    from core.data.unpack import unpacked

    plain = yield from _with_progress(
        lambda progress: unpacked(Path(path), progress, lambda: request.cancelled)
    )
    return {"plain": str(plain)}


def render(
    request: Request,
    path: str,
    lines: list[tuple[int, int, int, int]],
    model_folder: str,
    chat_template: str | None = None,
    columns: Columns = None,
    name: str | None = None,
    sequence_length: int | None = None,
    apart: bool = False,
) -> list[dict[str, Any]]:
    """Rows as runs of tokens. A row that can't be read or rendered gives its error.

    Raises:
        DataError: the file can't be read.
        RenderingError: the model has no tokenizer or no usable template.
    """
    from core.data.formats import format_of
    from core.data.problems import DataError, Place
    from core.data.rows import parse_row
    from core.data.sandbox import RenderingError

    renderer = _renderer(model_folder, chat_template)
    format = format_of(Path(path), name)
    answers: list[dict[str, Any]] = []
    for number, line, raw in _raw_rows(Path(path), lines):
        request.check()
        try:
            row = parse_row(raw, format, Place(name or path, line, number + 1), columns)
            answers.append(
                {"row": number, **_as_runs(renderer, renderer.render(row), sequence_length, apart)}
            )
        except (DataError, RenderingError) as error:
            answers.append({"row": number, "error": error.as_dict()})
    return answers


def _raw_rows(path: Path, lines: list[tuple[int, int, int, int]]) -> Iterator[tuple[int, int, bytes]]:
    from core.data.files import file_error, open_file
    from core.data.index import read_span

    try:
        file = open_file(path)
    except OSError as error:
        raise file_error(path, error) from error
    try:
        for number, line, start, end in lines:
            yield number, line, read_span(file, path, start, end).strip(b" \t\r\n")
    finally:
        os.close(file)


def _as_runs(
    renderer: Renderer, rendered: Rendered, sequence_length: int | None, apart: bool
) -> dict[str, Any]:
    """The text in runs of tokens of one kind, or each token apart; control characters stay as they are."""
    runs = _Runs(apart)
    boundaries = frozenset(rendered.boundary)
    position = 0
    for place, (number, (start, end), trained) in enumerate(
        zip(rendered.ids, rendered.offsets, rendered.trained, strict=True)
    ):
        if place == sequence_length:
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
        "trained_count": rendered.trained_tokens,
        "cut_at": runs.cut_at,
    }


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


def check(
    request: Request,
    path: str,
    options: dict[str, Any] | None = None,
    columns: Columns = None,
    name: str | None = None,
) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Problems in chunks as they are found; returns the counts."""
    from core.data.check import Check, Options

    asked = dict(options or {})
    if asked.get("tiers") is not None:
        asked["tiers"] = frozenset(asked["tiers"])
    if asked.get("model_folder"):
        asked["model_folder"] = Path(asked["model_folder"])
    result = Check(
        Path(path), Options(columns=columns, name=name, **asked), cancelled=lambda: request.cancelled
    )
    found: list[dict[str, Any]] = []
    sent = 0
    for problem in result.steps():
        request.check()
        if problem is not None:
            found.append(problem.as_dict())
        if len(found) >= _PROBLEMS_IN_CHUNK or result.bytes_read - sent >= _BYTES_IN_CHUNK:
            sent = result.bytes_read
            yield {"problems": found, "bytes": sent, "total": result.total_bytes}
            found = []
    yield {"problems": found, "bytes": result.bytes_read, "total": result.total_bytes}
    return result.counts()


def stats(
    request: Request,
    path: str,
    sample: int = 20_000,
    model_folder: str | None = None,
    chat_template: str | None = None,
    columns: Columns = None,
    name: str | None = None,
    sequence_length: int = 2048,
) -> dict[str, Any]:
    """What the rows are like; see core.data.statistics."""
    from core.data.statistics import measure

    return measure(
        Path(path),
        sample=sample,
        columns=columns,
        name=name,
        renderer=_renderer(model_folder, chat_template) if model_folder else None,
        sequence_length=sequence_length,
        request=request,
    )


def filter_rows(
    request: Request,
    path: str,
    query: str,
    model_folder: str | None = None,
    chat_template: str | None = None,
    columns: Columns = None,
    name: str | None = None,
    sequence_length: int = 2048,
) -> Generator[dict[str, Any], None, dict[str, int]]:
    """The rows that a filter lets through, as they are found."""
    from core.data.filter import Filter
    from core.data.query import parse

    renderer = _renderer(model_folder, chat_template) if model_folder else None
    found = Filter(Path(path), parse(query), name, columns, renderer, sequence_length)
    total = Path(path).stat().st_size
    count = sent = 0
    waiting: list[int] = []
    for rows in found.rows(lambda: request.cancelled):
        request.check()
        waiting += rows
        count += len(rows)
        if waiting or found.scanned - sent >= _BYTES_IN_CHUNK:
            sent = found.scanned
            yield {"rows": waiting, "scanned": sent, "total": total}
            waiting = []
    return {"found": count}


def _with_progress(work: Callable[[Callable[[int, int], None]], Any]) -> Generator[dict[str, int], None, Any]:
    """Run something that reports by calling back, and yield its reports: it runs in a thread meanwhile."""
    import queue
    import threading

    reports: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["value"] = work(lambda done, total: reports.put((done, total)))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            outcome["error"] = error
        finally:
            reports.put(None)

    threading.Thread(target=run, name="work", daemon=True).start()
    told = -1
    while (report := reports.get()) is not None:
        done, total = report
        if done - told >= max(1, total // 200):
            told = done
            yield {"bytes": done, "total": total}
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def _renderer(folder: str, chat_template: str | None) -> Renderer:
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    changed = tuple(path.stat().st_mtime_ns for name in names if (path := Path(folder) / name).is_file())
    return _load(folder, chat_template, changed)


@lru_cache(maxsize=2)
def _load(folder: str, chat_template: str | None, changed: tuple[int, ...]) -> Renderer:
    """A renderer, kept until one of its files changes."""
    from core.data.rendering import Renderer

    return Renderer.from_folder(Path(folder), chat_template)


if __name__ == "__main__":
    serve({"unpack": unpack, "render": render, "check": check, "stats": stats, "filter": filter_rows})
