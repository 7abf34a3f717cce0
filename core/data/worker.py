"""The data worker: everything the screens ask of data, outside the app's process.

Run as `python -P -m core.data.worker`; speaks core.pipes. Paths are of plain files but for `unpack`. Everywhere
`columns` is the mapping of the file's columns, or None, and `name` what the file was called where the path is an
unpacked copy. Ops:

    unpack   path -> chunks {"bytes", "total"}, then {"plain": path}
    render   path, lines [[row from 0, line from 1, first byte, byte after], ...], model_folder, chat_template?,
             sequence_length?, apart?, task? -> one dict a row, see core.data.tokenview
    check    path, options? -> chunks {"problems", "bytes", "total"}, then the counts
    stats    path, sample?, model_folder?, chat_template?, sequence_length? -> see core.data.statistics
    filter   path, query, model_folder?, ... -> chunks {"rows", "scanned", "total"}, then {"found"}
    preview  path (packed or not), steps, limit, model_folder?, ... -> [{"row", "diff"}] of what would change
    repair   path (packed or not), steps, target, overwrite?, ... -> chunks {"bytes", "total"}, then the report
    split    path (packed or not), train, validation, ... -> chunks {"bytes", "total"}, then the report
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.pipes import Request, serve

if TYPE_CHECKING:
    from core.data.rendering import Renderer
    from core.data.repair import Context

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
    task: str = "",
) -> list[dict[str, Any]]:
    """Rows as runs of tokens. A row that can't be read or rendered gives its error.

    Raises:
        DataError: the file can't be read.
        RenderingError: the model has no tokenizer or no usable template.
    """
    from core.data.tokenview import TokenView

    def renderers(conversations: bool) -> Renderer:
        return _renderer(model_folder, chat_template, conversations)

    view = TokenView(renderers, task, sequence_length, apart)
    answers: list[dict[str, Any]] = []
    for answer in view.rows(Path(path), name, lines, columns):
        request.check()
        answers.append(answer)
    return answers


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


def preview(
    request: Request,
    path: str,
    steps: list[dict[str, Any]],
    limit: int,
    columns: Columns = None,
    **model: Any,
) -> list[dict[str, Any]]:
    """The first changes that repairs would make, as diffs."""
    from core.data.repair import Step, diff_lines
    from core.data.repair import preview as changes

    found = changes(
        Path(path),
        [Step.from_dict(step) for step in steps],
        limit,
        _context(columns, model),
        lambda: request.cancelled,
    )
    return [{"row": change.row - 1, "diff": list(diff_lines(change))} for change in found]


def repair(
    request: Request,
    path: str,
    steps: list[dict[str, Any]],
    target: str,
    overwrite: bool = False,
    columns: Columns = None,
    **model: Any,
) -> Generator[dict[str, int], None, dict[str, Any]]:
    """Write the repaired rows to a new file."""
    from core.data.repair import Step, write

    report = yield from _with_progress(
        lambda progress: write(
            Path(path),
            [Step.from_dict(step) for step in steps],
            Path(target),
            _context(columns, model),
            overwrite,
            progress,
            lambda: request.cancelled,
        )
    )
    answer: dict[str, Any] = report.as_dict()
    return answer


def split(
    request: Request, path: str, train: str, validation: str, **how: Any
) -> Generator[dict[str, int], None, dict[str, Any]]:
    """Part a file in two."""
    from core.data.prepare import split_file

    report = yield from _with_progress(
        lambda progress: split_file(
            Path(path),
            Path(train),
            Path(validation),
            on_progress=progress,
            cancelled=lambda: request.cancelled,
            **how,
        )
    )
    answer: dict[str, Any] = report.as_dict()
    return answer


def _context(columns: Columns, model: dict[str, Any]) -> Context:
    from core.data.repair import Context

    folder = model.pop("model_folder", None)
    return Context(columns=columns, model_folder=Path(folder) if folder else None, **model)


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


def _renderer(folder: str, chat_template: str | None, conversations: bool = True) -> Renderer:
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    changed = tuple(path.stat().st_mtime_ns for name in names if (path := Path(folder) / name).is_file())
    return _load(folder, chat_template, conversations, changed)


@lru_cache(maxsize=2)
def _load(folder: str, chat_template: str | None, conversations: bool, changed: tuple[int, ...]) -> Renderer:
    """A renderer, kept until one of its files changes."""
    from core.data.rendering import Renderer

    return Renderer.from_folder(Path(folder), chat_template, conversations=conversations)


if __name__ == "__main__":
    os.nice(5)  # the app, and a run on this machine, come first
    serve(
        {
            "unpack": unpack, "render": render, "check": check, "stats": stats, "filter": filter_rows,
            "preview": preview, "repair": repair, "split": split,
        }
    )  # fmt: skip
