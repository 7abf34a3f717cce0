"""The monitor: one run, live. It tails the run's journal; the run itself knows nothing of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from time import time as now
from typing import TYPE_CHECKING

from textual import events, work
from textual.containers import Container, Vertical
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import get_current_worker

from core.errors import FinetuiError
from core.events import Status
from core.runs.summary import ACTIVE, ENDED
from tui.actions import bindings
from tui.evaluating import Evaluations
from tui.format import count, one_line, size
from tui.screens.monitor_azure import NO_SAMPLES, MonitorAzure
from tui.watch import Watch, sample_paragraphs
from tui.widgets.chart import Chart
from tui.widgets.log import LogView
from tui.widgets.monitor_charts import headlines, make_charts
from tui.widgets.problem import Problem
from tui.widgets.progress import Progress, RunProgress
from tui.widgets.textpane import Paragraph, TextPane

if TYPE_CHECKING:
    from core.runs.journal import JournalReader
    from core.runs.rows import RunRow

LIVE_FPS, SSH_FPS = 4.0, 2.0
PIECE_BYTES = 256 << 10
"""Read and taken in at a time."""

POLL_S = 2.0
"""How often an active run's worker is looked at: only that tells a lost one."""

NO_RUN = (
    "No run to watch.\n\n"
    "This screen shows a run live: its losses, its log and its sample replies.\n"
    "4 lists the runs: enter there opens one.   2 sets up a new one."
)


class MonitorScreen(MonitorAzure):
    """Progress, charts, log and sample replies of one run."""

    MODE = "monitor"
    HELP = (
        "Watch a run live. It goes on whether or not you look: leave with d, q or by closing the terminal, and "
        "come back any time. The lines follow the end only while you are there."
    )
    HOME = "#log"
    CSS_PATH = "monitor.tcss"
    BINDINGS = bindings("monitor")

    def __init__(self) -> None:
        super().__init__()
        self.row: RunRow | None = None
        self.story = Watch()
        self.charts: dict[str, Chart] = make_charts(self.story)
        self.progress = RunProgress(id="progress")
        self.problem = Problem(id="problem")
        self.log_view = LogView(empty="Waiting for the run's first words.", id="log")
        self.samples = TextPane(
            "Sample replies",
            NO_SAMPLES,
            follow=False,
            id="samples",
        )
        self.evaluations = Evaluations()
        self.chart_index = 0
        self._reader: JournalReader | None = None
        self._timer: Timer | None = None
        self._wanted = ""
        self._polled = 0.0

    def compose_body(self) -> Iterable[Widget]:
        yield Static(NO_RUN, id="empty", markup=False)
        with Vertical(id="run"):
            yield self.progress
            yield self.job_line
            yield self.sign_in
            yield self.problem
            with Container(id="charts"):
                yield from self.charts.values()
            with Container(id="panes"):
                yield self.log_view
                yield self.samples

    # -- which run

    def show_run(self, run_id: str) -> None:
        """Watch a run, from its first event on; an open evaluation page makes room."""
        if getattr(self.app.screen, "MODE", "") == "evaluation":
            self.app.pop_screen()
        if self.row is not None and run_id in (self.row.id, self.row.name):
            self._start()
            return
        self._begin(run_id)

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        if self._wanted:
            self._start()
        else:
            self._find()

    def on_screen_suspend(self, event: events.ScreenSuspend) -> None:
        self._stop()

    @work(thread=True, exclusive=True, group="find")
    def _find(self) -> None:
        """Nothing was chosen: take the newest run that is active."""
        from core.runs import supervisor

        active = [row for row in supervisor.list_runs() if row.active]
        if active:
            self.app.call_from_thread(self._found, active[0].id)

    def _found(self, run_id: str) -> None:
        if not self._wanted:
            self._begin(run_id)

    def _begin(self, run_id: str) -> None:
        """Forget what was shown, and load a run in the background."""
        self._stop()
        self._wanted, self.row, self._reader = run_id, None, None
        self._tell_story(Watch())
        self.log_view.clear()
        self.samples.clear()
        self.problem.clear()
        self.progress.show(None)
        self.set_class(True, "-loaded")
        self._draw()
        self._load(run_id)

    def _tell_story(self, story: Watch) -> None:
        self.story = story
        for name, chart in make_charts(story).items():
            self.charts[name].series = chart.series

    @work(thread=True, exclusive=True, group="load")
    def _load(self, run_id: str) -> None:
        """Read the journal from its beginning, in the thread, and hand over all at once."""
        from core.runs import supervisor
        from core.runs.directory import RunDirectory
        from core.runs.journal import JournalReader

        worker = get_current_worker()
        try:
            row = supervisor.get(run_id)
        except FinetuiError as error:
            self.app.call_from_thread(self._refused, error)
            return
        path = RunDirectory(row.directory).journal_path
        reader, story, lines = JournalReader(path), Watch(), list[Paragraph]()
        total = path.stat().st_size if path.exists() else 0
        told = time.monotonic()
        while (piece := reader.read(PIECE_BYTES)) and not worker.is_cancelled:
            lines += story.feed(piece)
            if time.monotonic() - told > 1 / LIVE_FPS:
                told = time.monotonic()
                self.app.call_from_thread(self._reading, row, reader.offset, total)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._loaded, row, reader, story, lines)

    def _reading(self, row: RunRow, done: int, total: int) -> None:
        status = Status(text="reading the journal", done=done, total=total, unit="bytes")
        self.progress.show(Progress(row.state, row.name, row.model, status=status))

    def _refused(self, error: FinetuiError) -> None:
        self._wanted = ""
        self.set_class(False, "-loaded")
        self.finetui.show_error(error)

    def _loaded(self, row: RunRow, reader: JournalReader, story: Watch, lines: list[Paragraph]) -> None:
        self._wanted, self.row, self._reader = row.id, row, reader
        self.context = row.name
        self._tell_story(story)
        self.log_view.append(lines)
        self._draw()
        self.refresh_bindings()
        self._start()

    # -- the live part

    def _start(self) -> None:
        """Look for news on a timer, but only while there can be any and somebody looks."""
        if self._timer is None and self._reader is not None and self.is_current and self._active():
            fps = SSH_FPS if os.environ.get("SSH_CONNECTION") else LIVE_FPS
            self._timer = self.set_interval(1 / fps, self._tick)
            self._polled = 0.0
            self._tick()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _active(self) -> bool:
        return self.row is not None and self.row.active

    def _tick(self) -> None:
        assert self._reader is not None
        piece = self._reader.read(PIECE_BYTES)
        if self._reader.restarted:
            self._begin(self._wanted)
            return
        if piece:
            self.log_view.append(self.story.feed(piece))
            self._draw()
        else:
            self._say()
        over = self.story.summary.state in ENDED and not piece
        if over or time.monotonic() - self._polled > POLL_S:
            self._polled = time.monotonic()
            self._poll(self._wanted)

    @work(thread=True, exclusive=True, group="poll", exit_on_error=True)
    def _poll(self, run_id: str) -> None:
        from core.runs import supervisor

        try:
            row = supervisor.get(run_id)
        except FinetuiError as error:  # deleted or moved meanwhile
            self.app.call_from_thread(self._gone, error)
            return
        self.app.call_from_thread(self._show_row, row)

    def _gone(self, error: FinetuiError) -> None:
        self._stop()
        self.problem.show_error(error)

    def _show_row(self, row: RunRow) -> None:
        """Take in what the supervisor knows beyond the journal: a lost worker, requests not yet taken."""
        if self.row is None or row.id != self.row.id:
            return
        before, self.row = self.row, row
        if not row.active:
            self._stop()
        self.context = row.name
        self.show_remote()
        self._say()
        if before.state != row.state:
            self.refresh_bindings()

    def changed(self, row: RunRow) -> None:
        self._show_row(row)
        self._start()

    # -- drawing

    def state(self) -> str:
        """The state to show: the journal is quicker, the supervisor knows more."""
        said = self.story.summary.state
        if self.row is None or (said in ENDED and self.row.state in ACTIVE and not self.row.phase):
            return said
        waits = self.row.state in ("lost", "pausing", "stopping") or said not in ACTIVE
        return self.row.state if waits else said

    def _draw(self) -> None:
        """Bring everything up to date."""
        headlines(self.charts, self.story)
        for chart in self.charts.values():
            if chart.display:
                chart.draw()
        self.samples.set_paragraphs(sample_paragraphs(self.story.samples.values()))
        self.show_remote()
        self._say()

    def _say(self) -> None:
        """The two lines at the top, and the error if the run has one."""
        if self.row is None:
            return
        summary, state = self.story.summary, self.state()
        working = state in ACTIVE and state != "queued"
        device = summary.device or self.row.device
        phase = summary.phase or self.row.phase
        if state == "queued" and summary.behind:
            phase = f"waiting for {device}, place {summary.position}, behind {summary.behind}"
        memory = f"  {size(summary.memory_bytes)}" if summary.memory_bytes else ""
        self.progress.show(
            Progress(
                state=state,
                name=self.row.name,
                about=f"{self.about(self.row, device)}{memory}",
                phase=phase or state,
                done=summary.step,
                total=summary.total_steps,
                epoch=summary.epoch,
                eta_s=summary.eta_s if working else None,
                took_s=summary.worked_s,
                silent_s=now() - summary.updated if working and summary.updated else 0.0,
                status=self.story.status,
            )
        )
        self._say_problem(state)

    def _say_problem(self, state: str) -> None:
        problem, summary = self.problem, self.story.summary
        if state == "failed":
            keys = "  (r resumes from the last checkpoint)" if summary.last_checkpoint else ""
            problem.show(summary.message, summary.cause, self.remedy(summary.next_step) + keys)
        elif state == "lost" and self.row is not None:
            reason, _, tail = self.row.message.partition("\n")
            problem.show(reason, tail, self.remedy(self.row.next_step) + "  (r resumes it)")
        elif self.row is not None and self.row.message and self.row.active:
            problem.show(one_line(self.row.message))
        else:
            problem.clear()

    def on_resize(self, event: events.Resize) -> None:
        self.lay_out(event.size.width, event.size.height)

    def lay_out(self, width: int, height: int) -> None:
        """One chart where there is little room, else four; log and samples beside each other where wide."""
        grid = width >= 100 and height >= 28
        self.set_class(grid, "-grid")
        self.set_class(width >= 120, "-side-by-side")
        names = list(self.charts)
        if grid:
            fourth = names[self.chart_index] if self.chart_index > 3 else names[3]
            shown = {*names[:3], fourth}
        else:
            shown = {names[self.chart_index]}
        for index, (name, chart) in enumerate(self.charts.items()):
            chart.display = name in shown
            chart.footnote = "" if grid else f"[ ] {count(index + 1)} of {count(len(names))}"
            if chart.display:
                chart.draw()
