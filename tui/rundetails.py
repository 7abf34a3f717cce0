"""What the list of runs says of the chosen one. No widgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.format import ago, count, duration, loss, short, size, visible
from tui.states import words
from tui.widgets.textpane import Paragraph

if TYPE_CHECKING:
    from core.runs.rows import RunRow

TRASH_DAYS = 30


def title(row: RunRow) -> str:
    """Name and state, for the pane's border."""
    return f"{visible(row.name)}  {words(row.state, row.silent_s)}"


def details(row: RunRow, now: float, has_model: bool) -> list[Paragraph]:
    """The pane's lines: the error in three parts if there is one, figures, where it is, what can be done."""
    lines: list[Paragraph] = []
    if row.trashed_at:
        left = TRASH_DAYS - (now - row.trashed_at) / 86400
        lines.append(
            Paragraph(f"deleted {ago(row.trashed_at, now)}; kept for {max(0, left):.0f} more days", "warning")
        )
    lines += _trouble(row)
    lines += [Paragraph(text, head=f"{head:<8}") for head, text in _figures(row) if text]
    lines.append(Paragraph(visible(str(row.directory)), "muted", head="folder  "))
    lines.append(Paragraph(_keys(row, has_model), "muted", head="keys    "))
    return lines


def _trouble(row: RunRow) -> list[Paragraph]:
    if row.state == "failed":
        what, cause = row.summary.message, row.summary.cause
    elif row.message:
        what, _, cause = row.message.partition("\n")
    else:
        return []
    parts = (("", what, "error"), ("cause   ", cause, ""), ("next    ", row.next_step, ""))
    return [Paragraph(visible(text, lines=True), style, head) for head, text, style in parts if text]


def _figures(row: RunRow) -> list[tuple[str, str]]:
    summary = row.summary
    step = f"{count(row.step)} of {count(row.total_steps)}" if row.total_steps else ""
    if step and summary.epochs:
        step += f", epoch {summary.epoch:.1f} of {summary.epochs:g}"
    if row.eta_s is not None:
        step += f", {duration(row.eta_s)} left"
    elif summary.worked_s:
        step += f", worked {duration(summary.worked_s)}"
    losses = ""
    if row.eval_loss is not None:
        losses = f"evaluation {loss(row.eval_loss)}"
        if summary.best_eval_loss is not None:
            losses += f", best {loss(summary.best_eval_loss)} at step {count(summary.best_eval_step)}"
        if row.base_eval_loss is not None:
            losses += f", the base model's {loss(row.base_eval_loss)}"
    speed = ""
    if row.active and summary.tokens_per_s:
        speed = f"{short(summary.tokens_per_s)} tokens/s, {size(summary.memory_bytes)}"
    return [
        ("model", visible(row.model)),
        ("doing", visible(row.phase) if row.active else ""),
        ("step", step),
        ("loss", losses),
        ("speed", speed),
        (
            "saved",
            f"checkpoint of step {count(summary.last_checkpoint_step)}" if summary.last_checkpoint else "",
        ),
    ]


def _keys(row: RunRow, has_model: bool) -> str:
    if row.trashed_at:
        return "u or enter brings it back   t the other runs"
    keys = ["enter watch"]
    if row.active:
        keys += ["s stop", "p pause"]
    elif row.state != "finished":
        keys.append("r resume")
    if has_model:
        keys.append("c chat")
    if not row.active:
        keys.append("x delete")
    return "   ".join([*keys, "e rename", "y copy the id"])
