"""What the list of runs says of the chosen one. No widgets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tui.format import ago, count, duration, loss, money, short, size, visible
from tui.states import words
from tui.widgets.textpane import Paragraph

if TYPE_CHECKING:
    from core.runs.lineage import DataFile, Deployment, Lineage, Link
    from core.runs.rows import RunRow
    from core.runs.trash import Dependents

TRASH_DAYS = 30


def title(row: RunRow) -> str:
    """Name and state, for the pane's border."""
    return f"{visible(row.name)}  {words(row.state, row.silent_s)}"


def details(row: RunRow, now: float, found: Lineage | None = None) -> list[Paragraph]:
    """The pane's lines: the error in three parts if there is one, figures, lineage as far as it is known, its place."""
    lines: list[Paragraph] = []
    if row.trashed_at:
        left = TRASH_DAYS - (now - row.trashed_at) / 86400
        lines.append(
            Paragraph(f"deleted {ago(row.trashed_at, now)}; kept for {max(0, left):.0f} more days", "warning")
        )
    lines += _trouble(row)
    lines += [Paragraph(text, head=f"{head:<8}") for head, text in _figures(row, found) if text]
    lines += _lineage(found) if found is not None else []
    lines.append(Paragraph(visible(str(row.directory)), "muted", head="folder  "))
    return lines


def _lineage(found: Lineage) -> list[Paragraph]:
    """Where a run comes from and what was made of it; nothing of what there is not."""
    told = [("data", _file(item)) for item in found.data]
    if found.parent is not None:
        told.append(("from", _link(found.parent)))
    told += [("to", f"{_link(child)}, started from it") for child in found.children]
    if found.registered:
        told.append(("tuned", f"{visible(found.registered)} in Azure"))
    if found.deleted:
        told.append(("tuned", f"{visible(found.deleted)}, deleted in Azure since"))
    told += [("served", _deployment(item)) for item in found.deployments]
    if found.chats:
        told.append(("chats", f"{count(len(found.chats))} kept"))
    lines, before = [], ""
    for head, text in told:
        lines.append(Paragraph(text, head=f"{head if head != before else '':<8}"))
        before = head
    return lines + [Paragraph(visible(note), "warning", head="!       ") for note in found.notes]


def _model(row: RunRow, found: Lineage | None) -> str:
    """The base model, with its commit where it is known."""
    base = found.base if found is not None else None
    if base is None or not base.revision:
        return visible(row.model)
    name = f", {visible(base.name)}" if base.name != row.model else ""
    commit = base.revision[:12] if re.fullmatch(r"[0-9a-f]{40}", base.revision) else base.revision
    return f"{visible(row.model)}{name} at {visible(commit)}"


def _file(item: DataFile) -> str:
    use = "" if item.use == "training" else f" ({item.use})"
    digest = f", sha256 {item.sha256[:8]}" if item.sha256 else ""
    made = "".join(f", made from {visible(Path(place).name)}" for place in item.made_from)
    return f"{visible(item.title)}{use}{digest}{made}"


def _link(link: Link) -> str:
    step = f" @{count(link.step)}" if link.step else ""
    where = " (in the trash)" if link.trashed else " (deleted for good)" if link.gone else ""
    return f"{visible(link.id)}{step}{where}"


def _deployment(item: Deployment) -> str:
    part = item.part.rpartition("step-")[2] if "step-" in item.part else ""
    return f"by the deployment {visible(item.name)}" + (f", step {part}" if part else "")


def dependents_lines(found: Dependents) -> list[str]:
    """What has to be known before a run is deleted, a sentence each."""
    told = []
    if found.children:
        told.append(f"Started from it, and keeping copies: {', '.join(map(_link, found.children))}.")
    if found.chats:
        many = len(found.chats) != 1
        told.append(f"{count(len(found.chats))} kept chat{'s' if many else ''} can't be gone on with then.")
    if found.remote:
        told.append(
            f"Its model stays in Azure as {visible(found.remote)}: `finetui azure sweep` tells what that costs."
        )
    return told


def keys(row: RunRow, has_model: bool) -> Paragraph:
    """The pane's last line: what can be done."""
    return Paragraph(_keys(row, has_model), "muted", head="keys    ")


def _trouble(row: RunRow) -> list[Paragraph]:
    if row.state == "failed":
        what, cause = row.summary.message, row.summary.cause
    elif row.message:
        what, _, cause = row.message.partition("\n")
    else:
        return []
    parts = (("", what, "error"), ("cause   ", cause, ""), ("next    ", row.next_step, ""))
    return [Paragraph(visible(text, lines=True), style, head) for head, text, style in parts if text]


def _figures(row: RunRow, found: Lineage | None) -> list[tuple[str, str]]:
    summary = row.summary
    step = f"{count(row.step)} of {count(row.total_steps)}" if row.total_steps else count(row.step)
    if step and summary.epochs:
        step += f", epoch {summary.epoch:.1f} of {round(summary.epochs, 2):g}"
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
        ("model", _model(row, found)),
        ("doing", visible(row.phase) if row.active else ""),
        ("step", step),
        ("loss", losses),
        ("job", _job(row)),
        ("speed", speed),
        (
            "saved",
            f"checkpoint of step {count(summary.last_checkpoint_step)}" if summary.last_checkpoint else "",
        ),
    ]


def _job(row: RunRow) -> str:
    """A remote run's job, with the price of its training."""
    summary = row.summary
    if not summary.job:
        return ""
    price = (
        "its price was unknown" if summary.cost_usd is None else f"{money(summary.cost_usd)} for the training"
    )
    return f"{visible(summary.job)}, {price} when it was sent"


def _keys(row: RunRow, has_model: bool) -> str:
    if row.trashed_at:
        return "u or enter brings it back   t the other runs"
    keys = ["enter watch"]
    if row.active:
        keys += ["s stop"] if row.backend == "azure" else ["s stop", "p pause"]
    elif row.state != "finished":
        keys.append("r resume")
    if has_model:
        keys += ["c chat", "d deploy"]
    if not row.active:
        keys.append("x delete")
    return "   ".join([*keys, "e rename", "y copy the id"])
