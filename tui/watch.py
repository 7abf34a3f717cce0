"""What the monitor shows of a run, gathered from its events. No widgets, so that it can be tested by itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core import events as e
from core.runs.summary import ACTIVE, RunSummary, fold
from tui.envelope import Series
from tui.format import clock, count, duration, loss, metrics, money, rate, short, size, visible
from tui.raster import nice_step
from tui.widgets.textpane import Paragraph

LOGGED_STEPS = 200
"""The log of a whole run tells of about so many steps; the charts show every one."""


@dataclass
class Sample:
    """The replies to one of the fixed prompts."""

    prompt: str
    expected: str = ""
    base: str | None = None
    reply: str | None = None
    step: int = 0


@dataclass(frozen=True)
class Turn:
    """A setting was changed after a step, at which learning rate and loss were these."""

    step: int
    learning_rate: float | None
    loss: float | None


class Watch:
    """A run's charts, log lines and sample replies.

    Attributes:
        summary: state and latest values.
        samples: by prompt, in the order of their first appearance.
        status: the last progress that isn't a step, e.g. a download; None once it is over.
        dials: what was changed while the run went, by name, as it is now.
        turns: when something was changed.
        sign_in: a code that the run waits for; None while it waits for none.
    """

    def __init__(self) -> None:
        self.summary = RunSummary()
        self.loss = Series("training", smooth=True)
        self.evaluation = Series("evaluation")
        self.throughput = Series("tokens/s")
        self.learning_rate = Series("learning rate")
        self.memory = Series("memory")
        self.samples: dict[str, Sample] = {}
        self.status: e.Status | None = None
        self.dials: dict[str, str] = {}
        self.turns: list[Turn] = []
        self.sign_in: e.SignInNeeded | None = None
        self._every = 1

    @property
    def active(self) -> bool:
        """Whether a worker should be at it."""
        return self.summary.state in ACTIVE

    def feed(self, events: Iterable[e.Event]) -> list[Paragraph]:
        """Take events in; returns their lines for the log."""
        batch = list(events)
        self.summary = fold(self.summary, batch)
        if (total := self.summary.total_steps) > LOGGED_STEPS:
            self._every = max(1, int(nice_step(total, LOGGED_STEPS)))
        lines = []
        for event in batch:
            if not isinstance(event, e.Status):
                self.status = None
            if not isinstance(event, e.Warned | e.Requested):
                self.sign_in = event if isinstance(event, e.SignInNeeded) else None
            if isinstance(event, e.Changed):
                self.dials[event.name] = event.new
                self.turns.append(Turn(event.step, self.learning_rate.last, self.loss.last))
            if isinstance(event, e.Step):
                self._step(event)
                if not self._tells(event.step):
                    continue
            line = self._line(event)
            if line is not None:
                text, style = line
                lines.append(Paragraph(text, style, head=f"{clock(event.time)}  "))
        return lines

    def _step(self, event: e.Step) -> None:
        self.loss.add(event.step, event.loss)
        for series, value in (
            (self.throughput, event.tokens_per_s),
            (self.learning_rate, event.learning_rate),
            (self.memory, event.memory_bytes),
        ):
            if value is not None:  # a remote backend doesn't tell it
                series.add(event.step, value)

    def _tells(self, step: int) -> bool:
        """Whether the log has a line for a step: round ones, about `LOGGED_STEPS` of a run."""
        return step % self._every == 0 or step == self.summary.total_steps

    def _line(self, event: e.Event) -> tuple[str, str] | None:
        """Words and style of an event's log line, or None for an event without one."""
        match event:
            case e.Step():
                speed = f"  lr {rate(event.learning_rate)}" if event.learning_rate is not None else ""
                norm = f"  grad {short(event.grad_norm) if event.grad_norm is not None else 'not a number'}"
                told = event.grad_norm is not None or event.tokens_per_s is not None
                return (
                    f"step {count(event.step)}  loss {loss(event.loss)}{speed}{norm if told else ''}",
                    "" if event.loss is not None else "error",
                )
            case e.Evaluated():
                return self._evaluated(event)
            case e.Sampled():
                self._sample(event)  # it has a pane of its own
                return None
            case e.Status():
                new = self.status is None or self.status.text != event.text
                self.status = event
                return (visible(event.text), "muted") if new else None
            case e.Queued():
                behind = f", behind {visible(event.behind)}" if event.behind else ""
                return f"waiting for {visible(event.device)}: place {event.position}{behind}", "muted"
            case e.Starting():
                where = f" on {visible(event.device)}" if event.device else ""
                return f"{visible(event.phase)}{where}", "muted"
            case e.Planned():
                return _planned(event)
            case e.Checkpointed():
                return f"saved checkpoint {visible(event.path)} ({size(event.bytes)})", "good"
            case e.Warned():
                return f"! {visible(event.text)}{_next(event.next_step)}", "warning"
            case e.Failed():
                where = f" at step {count(event.step)}" if event.step else ""
                cause = f" {visible(event.cause)}" if event.cause else ""
                return f"failed{where}: {visible(event.what)}{cause}{_next(event.next_step)}", "error"
            case _:
                return _rare(event)

    def _evaluated(self, event: e.Evaluated) -> tuple[str, str]:
        best = self.evaluation.best
        self.evaluation.add(event.step, event.loss)
        figures = f"  {metrics(event.metrics)}" if event.metrics else ""
        if event.step == 0:
            return f"step 0  evaluation loss {loss(event.loss)} (the base model){figures}", "accent"
        note = ""
        if best is not None and event.loss is not None:
            better = event.loss < best
            note = (
                " (best so far)" if better else f" (best {loss(best)} at {count(self.evaluation.best_step)})"
            )
        return f"step {count(event.step)}  evaluation loss {loss(event.loss)}{note}{figures}", "accent"

    def _sample(self, event: e.Sampled) -> None:
        sample = self.samples.setdefault(event.prompt, Sample(event.prompt))
        sample.expected = event.expected or sample.expected
        if event.step == 0:
            sample.base = event.reply
        else:
            sample.reply, sample.step = event.reply, event.step


def _planned(event: e.Planned) -> tuple[str, str]:
    left_out = [
        f"{count(number)} row{'' if number == 1 else 's'} {word}"
        for number, word in ((event.dropped_rows, "dropped"), (event.cut_rows, "cut"))
        if number
    ]
    return (
        f"{count(event.steps)} steps over {count(event.rows)} rows"
        f" ({short(event.tokens)} tokens, {short(event.trained_tokens)} trained),"
        f" {count(event.validation_rows)} validation rows;"
        f" training {short(event.trainable_parameters)} of {short(event.parameters)} parameters"
        + ("; " + ", ".join(left_out) if left_out else ""),
        "warning" if left_out else "",
    )


def _rare(event: e.Event) -> tuple[str, str] | None:
    match event:
        case e.Uploaded():
            return f"uploaded {visible(event.name)} ({size(event.bytes)})", ""
        case e.Submitted():
            cost = "" if event.cost_usd is None else f"; training costs about {money(event.cost_usd)}"
            return f"submitted as {visible(event.job)}{cost}", ""
        case e.Changed():
            return f"{visible(event.name)} changed from {visible(event.old)} to {visible(event.new)}", ""
        case e.SignInNeeded():
            return f"! sign in at {visible(event.url)} with code {visible(event.code)}", "warning"
        case e.Requested():
            return (
                f"{visible(event.verb)} asked for{f' by {visible(event.by)}' if event.by else ''}",
                "warning",
            )
        case e.Paused():
            return f"paused after step {count(event.step)}; the device is free", "warning"
        case e.Resumed():
            return f"resumed after step {count(event.step)}", ""
        case e.Stopped():
            kept = "the model is kept" if event.model else "no model yet"
            return f"stopped after step {count(event.step)}; {kept}", "warning"
        case e.Finished():
            took = f" in {duration(event.duration_s)}" if event.duration_s else ""
            name = event.model.removeprefix("azureml:")
            there = f"; in Azure it is {visible(name)}, d on Runs deploys it" if name != event.model else ""
            return f"done: {count(event.step)} steps{took}{there}", "good"
    return None


def _next(text: str) -> str:
    return f" → {visible(text)}" if text else ""


def sample_paragraphs(samples: Iterable[Sample]) -> list[Paragraph]:
    """The sample replies as the pane shows them: prompt, what is expected, the base's reply, the latest one."""
    shown: list[Paragraph] = []
    for sample in samples:
        if shown:
            shown.append(Paragraph(""))
        shown.append(Paragraph(visible(sample.prompt, lines=True), "strong", head="prompt    "))
        if sample.expected:
            shown.append(Paragraph(visible(sample.expected, lines=True), "good", head="expected  "))
        if sample.base is not None:
            shown.append(Paragraph(visible(sample.base, lines=True), "muted", head="base      "))
        if sample.reply is not None:
            text = visible(sample.reply, lines=True)
            shown.append(Paragraph(text, head="tuned     ", tail=f"step {count(sample.step)}"))
    return shown
