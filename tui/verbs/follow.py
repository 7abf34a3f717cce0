"""A run as plain lines: for pipes, logs and screen readers."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime

from core import events as ev
from core.runs import supervisor
from core.runs.directory import RunDirectory
from core.runs.journal import JournalReader
from tui.format import duration, metrics, money
from tui.verbs.output import EXIT_FAILED, out, out_json, say

POLL_S = 0.5
STATUS_EVERY_S = 10.0


def follow(run_id: str, json: bool = False, from_now: bool = False) -> int:
    """Print a run's events until it ends or pauses; Ctrl-C leaves the run to itself.

    Args:
        run_id: of the run.
        json: each event as a JSON line on stdout instead.
        from_now: pass over what happened before, except its sums.

    Returns:
        The exit code: 0, or 1 when the run failed or was lost.
    """
    reader = JournalReader(RunDirectory(supervisor.get(run_id).directory).journal_path)
    if from_now:
        reader.read()
    lines = Lines()
    try:
        while True:
            row = supervisor.get(run_id)
            for event in reader.read():
                if json:
                    out_json({"kind": event.kind, **asdict(event)})
                elif (text := lines.of(event)) is not None:
                    out(f"{datetime.fromtimestamp(event.time):%H:%M:%S}  {text}")
            if not row.active:
                break
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        say(f"Detached; the run goes on. `finetui watch {run_id}` comes back to it.")
        return 130
    if row.state in ("failed", "lost"):
        say(f"{row.id} {row.state}: {row.message}")
        if row.next_step:
            say(f"  Next: {row.next_step}")
        return EXIT_FAILED
    return 0


class Lines:
    """One line for each event worth one; progress of downloads only now and then."""

    def __init__(self) -> None:
        self.steps = 0
        self._status: tuple[str, float] = ("", 0.0)

    def of(self, event: ev.Event) -> str | None:
        """The line, or None."""
        match event:
            case ev.Queued():
                return f"queued for {event.device}, place {event.position}"
            case ev.Starting():
                return event.phase
            case ev.Status():
                return self._progress(event)
            case ev.Planned():
                self.steps = event.steps
                return (
                    f"{event.steps} steps over {event.rows} rows ({round(event.epochs, 2):g} epochs), "
                    f"{event.trained_tokens} of {event.tokens} tokens trained; "
                    f"{event.trainable_parameters:,} of {event.parameters:,} weights"
                )
            case ev.Step():
                return self._step(event)
            case ev.Evaluated():
                perplexity = f"  perplexity {event.perplexity:.2f}" if event.perplexity is not None else ""
                figures = f"  {metrics(event.metrics)}" if event.metrics else ""
                return f"step {event.step}  validation loss {_number(event.loss, '.4f')}{perplexity}{figures}"
            case ev.Sampled():
                return f"step {event.step}  {event.prompt!r} -> {event.reply!r}"
            case ev.Checkpointed():
                return f"saved {event.path} ({event.bytes / 1e6:.1f} MB)"
            case ev.Warned():
                return f"! {event.text} {event.next_step}"
            case _:
                return self._turning_point(event)

    def _step(self, event: ev.Step) -> str:
        steps = f"{event.step}/{self.steps}" if self.steps else str(event.step)
        text = f"step {steps}  loss {_number(event.loss, '.4f')}"
        if event.learning_rate is not None:
            text += f"  lr {event.learning_rate:.2e}"
        if event.tokens_per_s is None or event.memory_bytes is None:  # a remote backend doesn't tell them
            return text
        norm = _number(event.grad_norm, ".3f")
        return f"{text}  grad {norm}  {event.tokens_per_s:.0f} tok/s  {event.memory_bytes / 1e9:.1f} GB"

    def _turning_point(self, event: ev.Event) -> str | None:
        match event:
            case ev.Uploaded():
                return f"uploaded {event.name} ({event.bytes / 1e6:.1f} MB)"
            case ev.Submitted():
                cost = "" if event.cost_usd is None else f"; training costs about {money(event.cost_usd)}"
                return f"submitted: the job is {event.job}{cost}"
            case ev.SignInNeeded():
                return f"sign in: open {event.url} and enter {event.code}"
            case ev.Requested():
                return f"{event.verb} asked for: after this step"
            case ev.Paused():
                return f"paused after step {event.step}; the device is free"
            case ev.Resumed():
                return f"goes on after step {event.step}"
            case ev.Stopped():
                kept = f"the model is in {event.model}" if event.model else "nothing was trained"
                return f"stopped after step {event.step}; {kept}"
            case ev.Finished():
                return f"finished in {duration(event.duration_s)}; the model is in {event.model}"
            case ev.Failed():
                return f"failed: {event.what}"
            case ev.Changed():
                return f"{event.name}: {event.old} -> {event.new}"
            case _:
                return None

    def _progress(self, event: ev.Status) -> str | None:
        text, told = self._status
        if event.text == text and event.time - told < STATUS_EVERY_S:
            return None
        self._status = (event.text, event.time)
        share = f" {100 * event.done // event.total} %" if event.total else ""
        return f"{event.text}{share}"


def _number(value: float | None, form: str) -> str:
    return "not a number" if value is None else format(value, form)
