"""What can go from the disk, in words. No widgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from core.runs.clean import KINDS
from tui.format import clip, one_line, pad, size, visible
from tui.widgets.textpane import Paragraph

if TYPE_CHECKING:
    from core.runs.clean import Item

MOST_TITLE = 40
KIND_WIDTH = max(map(len, KINDS.values()))


def why(item: Item) -> str:
    """Why it can go, or why it can't."""
    return one_line(f"not now: {item.held}" if item.held else item.why)


def lines(items: Sequence[Item], width: int) -> list[str]:
    """A line for each item under its kind: whether it is proposed, bytes, title, why; then its id for the command."""
    told: list[str] = []
    room = min(MOST_TITLE, max((cell_len(one_line(item.title)) for item in items), default=0))
    kind = ""
    for item in items:
        if item.kind != kind:
            kind = item.kind
            told += ([""] if told else []) + [KINDS[kind]]
        sign = "x" if item.proposed else "-" if item.held else " "
        line = f"  [{sign}] {size(item.bytes):>8}  {pad(one_line(item.title), room)}  {why(item)}"
        told += [clip(line, width), clip(f"      {'':8}  {item.id}", width)]
    return told


def sums(items: Sequence[Item]) -> str:
    """`12 can go (3.4 GB), 4 of them proposed (1.2 GB)`."""
    free = [item for item in items if not item.held]
    proposed = [item for item in free if item.proposed]
    return (
        f"{len(free)} can go ({size(sum(item.bytes for item in free))}), "
        f"{len(proposed)} of them proposed ({size(sum(item.bytes for item in proposed))})"
    )


def details(item: Item) -> list[Paragraph]:
    """Everything about one item."""
    told = [
        Paragraph(visible(item.held), "warning", head="now     ") if item.held else None,
        Paragraph(visible(item.why), head="why     "),
        Paragraph(visible(item.back), head="then    "),
        Paragraph(", ".join(item.needed_by), head="runs    ") if item.needed_by else None,
        Paragraph(visible(str(item.path)), "muted", head="place   "),
        Paragraph(visible(item.id), "muted", head="id      "),
    ]
    return [paragraph for paragraph in told if paragraph is not None]


def loses(items: Sequence[Item]) -> str:
    """What a confirmation says of what is taken away."""
    names = ", ".join(one_line(item.title) for item in items[:4])
    more = f" and {len(items) - 4} more" if len(items) > 4 else ""
    text = f"{size(sum(item.bytes for item in items))} are freed: {names}{more}. It can't be undone."
    needed = sorted({run for item in items for run in item.needed_by})
    if needed:
        text += (
            f"\n{', '.join(needed[:4])}{' and others' if len(needed) > 4 else ''} can't be resumed or talked to "
            "until their model is fetched again."
        )
    if any(item.kind in ("trash", "checkpoint") for item in items):
        text += "\nRuns and checkpoints can't be had again."
    return text
