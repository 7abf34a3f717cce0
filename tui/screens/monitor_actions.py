"""What the keys of the monitor do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual import work

from tui.evaluating import Evaluations
from tui.format import count, loss
from tui.screens.run_actions import RunActions, has_model
from tui.watch import Watch
from tui.widgets.chart import Chart
from tui.widgets.log import LogView
from tui.widgets.textpane import TextPane

if TYPE_CHECKING:
    from core.runs.rows import RunRow

CHANGING = ("stop", "pause", "resume", "checkpoint", "sample", "chat", "change")
DIALS = (
    ("learning_rate", "learning rate", "at its highest point; the schedule follows"),
    ("evaluate_every", "evaluate every", "steps between two evaluations"),
    ("stop_after", "stop after", "the step after which the run stops"),
)


class MonitorActions(RunActions):
    """The monitor without its data."""

    row: RunRow | None
    story: Watch
    charts: dict[str, Chart]
    chart_index: int
    log_view: LogView
    samples: TextPane
    evaluations: Evaluations

    def remote_lines(self) -> list[str]:
        """What is known of the run elsewhere."""
        raise NotImplementedError

    def lay_out(self, width: int, height: int) -> None:
        """Lay the panes out for a size."""
        raise NotImplementedError

    def chosen(self) -> RunRow | None:
        return self.row

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in CHANGING:
            return self.possible(action)
        if action == "evaluate":
            return self.row is not None and has_model(self.row)
        if action in ("copy", "write", "detach", "smooth", "log_scale", "next_chart", "previous_chart"):
            return self.row is not None
        return super().check_action(action, parameters)

    @work(group="change")
    async def action_checkpoint(self) -> None:
        from core.runs import supervisor

        if self.row is not None and await self._asked(supervisor.ask, self.row.id, "checkpoint"):
            self.notify("A checkpoint is written at the next step.")

    @work(group="change")
    async def action_sample(self) -> None:
        from core.runs import supervisor
        from tui.widgets.dialogs import Ask

        if self.row is None:
            return
        usual = next(iter(self.story.samples), "")
        prompt = await self.app.push_screen_wait(
            Ask("Ask the model at the next step", usual, "What should it answer?")
        )
        if prompt and await self._asked(supervisor.ask, self.row.id, "sample", prompt=prompt):
            self.notify("The reply comes at the next step, under sample replies.")

    @work(group="change")
    async def action_change(self) -> None:
        """Ask for a dial and its value, and send it to the worker."""
        from core.errors import FinetuiError
        from core.runs import supervisor
        from core.training.dials import checked, refuse_past
        from tui.widgets.dialogs import Ask, Choose

        if self.row is None:
            return
        name = await self.app.push_screen_wait(Choose("Change while it goes", DIALS))
        if name is None:
            return
        note = "`end` goes on to the plan's end." if name == "stop_after" else ""
        usual = self.story.dials.get(name, "").removeprefix("the ")
        value = await self.app.push_screen_wait(Ask(name, usual, "a number", note))
        if value is None:
            return
        try:
            found = checked(name, value.strip())
            if name == "stop_after" and found is not None:
                refuse_past(found, self.story.summary.step)
        except FinetuiError as error:
            self.finetui.show_error(error)
            return
        if await self._asked(supervisor.ask, self.row.id, "change", name=name, value=found):
            self.notify(f"{name} is {value.strip()} from the next step on.", markup=False)

    async def _asked(self, function: object, *arguments: object, **named: object) -> bool:
        """Whether a request could be made; the error is shown if not."""

        def call() -> bool:
            function(*arguments, **named)  # type: ignore[operator]
            return True

        return bool(await self.attempt(call))

    def action_evaluate(self) -> None:
        from tui.screens.evaluation import EvaluationScreen

        if self.row is not None:
            self.app.push_screen(EvaluationScreen(self.row, self.evaluations))

    def action_detach(self) -> None:
        if self.row is not None and self.row.active:
            self.notify(f"{self.row.name} goes on; enter on it in the list comes back here.")
        self.app.switch_mode("runs")

    def action_smooth(self) -> None:
        self.charts["loss"].smooth = not self.charts["loss"].smooth
        self.charts["loss"].draw()

    def action_log_scale(self) -> None:
        for name in ("loss", "evaluation"):
            self.charts[name].logarithmic = not self.charts[name].logarithmic
            self.charts[name].draw()

    def action_follow(self) -> None:
        self.log_view.action_move_last()

    def action_panes(self) -> None:
        """The other of log and samples; where only one fits, it is shown instead."""
        target = self.log_view if self.focused is self.samples else self.samples
        self.set_class(target is self.samples, "-samples")
        self.set_focus(target)

    def action_next_chart(self) -> None:
        self._turn(1)

    def action_previous_chart(self) -> None:
        self._turn(-1)

    def _turn(self, by: int) -> None:
        """Another chart where one is shown; where four are, learning rate and memory change places."""
        if self.has_class("-grid"):
            self.chart_index = 3 if self.chart_index == 4 else 4
        else:
            self.chart_index = (self.chart_index + by) % len(self.charts)
        self.lay_out(*self.size)

    def action_copy(self) -> None:
        """The run's id and figures, as lines."""
        if self.row is None:
            return
        summary = self.story.summary
        lines = [
            f"{self.row.id}  {self.row.name}",
            f"state {self.row.state}  step {count(summary.step)}"
            + (f" of {count(summary.total_steps)}" if summary.total_steps else ""),
            f"training loss {loss(summary.loss)}",
            f"evaluation loss {loss(summary.eval_loss)}  best {loss(summary.best_eval_loss)}"
            f" at step {count(summary.best_eval_step)}  base {loss(summary.base_eval_loss)}",
            *self.remote_lines(),
        ]
        self.finetui.copy("\n".join(lines))

    @work(group="change")
    async def action_write(self) -> None:
        from tui.saving import ask_and_write

        if self.row is None:
            return
        day = time.strftime("%Y-%m-%d", time.localtime(self.story.summary.updated))
        lines = [
            f"{self.row.id}  {self.row.name}  {day}",
            *(p.head + p.text for p in self.log_view.paragraphs),
            "",
        ]
        await ask_and_write(self.finetui, "Write the log to a file", f"{self.row.id}.log", "\n".join(lines))
