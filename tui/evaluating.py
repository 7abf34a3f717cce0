"""Evaluating a run, as command and page do it: the worker that measures, and what is being measured just now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import FinetuiError
from tui.failures import on_page
from tui.format import count, one_line

if TYPE_CHECKING:
    from textual.worker import Worker

    from tui.app import FinetuiApp
    from tui.exporting import Exportable

ROWS = 200
MAX_TOKENS = 128


@dataclass(frozen=True)
class Settings:
    """How a run is evaluated.

    Args:
        rows: how many at most.
        max_tokens: longest reply.
        file: rows to measure on instead of the run's own validation rows.
    """

    rows: int = ROWS
    max_tokens: int = MAX_TOKENS
    file: Path | None = None


@dataclass(frozen=True)
class Step:
    """How far a measuring is: `done` of `total` rows of a phase; a total of 0 where there is nothing to count."""

    phase: str
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"{self.phase}  {count(self.done)} of {count(self.total)}" if self.total else self.phase


async def measure(what: Exportable, settings: Settings, told: Callable[[Step], None]) -> dict[str, Any]:
    """Have the worker measure a model and write it into the run's report. Cancelled, the worker is ended with it.

    Args:
        what: the model.
        settings: how.
        told: called with each step.

    Returns:
        What was written under `evaluation`.

    Raises:
        PipeError: it failed; nothing was written.
    """
    from core import paths
    from core.pipes import PipeClient

    log = await asyncio.to_thread(paths.make_private, paths.logs_dir())
    client = PipeClient("core.training.report_worker", log / "report-worker.log")
    result: dict[str, Any] = {}
    try:
        async for kind, value in client.stream(
            "evaluate",
            run=str(what.run),
            folder=str(what.folder),
            file=None if settings.file is None else str(settings.file.expanduser().absolute()),
            rows=settings.rows,
            max_tokens=settings.max_tokens,
        ):
            if kind == "chunk":
                told(Step(**value))
            else:
                result = value
    finally:
        await client.close()
    return result


def read_evaluation(run: Path) -> dict[str, Any] | None:
    """What was measured of a run, or None.

    Args:
        run: its directory.

    Raises:
        ReportError: its report is damaged.
    """
    from core.training.report_file import KEY, read

    found = read(run / "report.json").get(KEY)
    return found if isinstance(found, dict) else None


class Evaluations:
    """What the app measures, one run at a time (each takes the memory of a model), whether or not its page is open.

    Attributes:
        run_id: of the run that is measured now, else empty.
        step: how far it is.
        settings: of the next one.
    """

    def __init__(self) -> None:
        self.run_id = ""
        self.step = Step("")
        self.settings = Settings()
        self._worker: Worker[None] | None = None

    def begin(self, run_id: str, app: FinetuiApp) -> None:
        """Measure a run's model in the background; the app says when it is done, or what went wrong."""
        if not self.run_id:
            self.run_id, self.step = run_id, Step("checking the model's files")
            self._worker = app.run_worker(self._measure(run_id, self.settings, app), group="evaluate")

    def stop(self) -> None:
        """Give up what is being measured; nothing of it is written."""
        if self._worker is not None:
            self._worker.cancel()

    async def _measure(self, run_id: str, settings: Settings, app: FinetuiApp) -> None:
        from tui.exporting import find

        try:
            what = await asyncio.to_thread(find, run_id)
            await measure(what, settings, self._told)
            app.notify(f"{one_line(what.title)} is evaluated.")
        except FinetuiError as error:
            app.show_error(on_page(error))
        finally:
            self.run_id = ""

    def _told(self, step: Step) -> None:
        self.step = step
