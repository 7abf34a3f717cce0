"""Two lines about a run: what it is and in which state, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from core.events import Status
from tui.format import ascii_only, clip, count, duration, one_line, pad, plain, size
from tui.states import colour, state_of, words


@dataclass(frozen=True)
class Progress:
    """What the two lines say.

    Args:
        state: as in core.runs.summary.
        name: the run's name.
        about: model and device.
        phase: what happens while there are no steps.
        done: finished steps.
        total: steps in all, 0 while unknown.
        epoch: epochs done.
        eta_s: seconds to the last step, None when unknown.
        took_s: seconds worked, shown when the run is over.
        silent_s: seconds without a word from a run that should be working.
        status: progress of something that isn't a step.
    """

    state: str
    name: str
    about: str = ""
    phase: str = ""
    done: int = 0
    total: int = 0
    epoch: float = 0.0
    eta_s: float | None = None
    took_s: float = 0.0
    silent_s: float = 0.0
    status: Status | None = None


class RunProgress(Widget):
    """The two lines; only the one that changed is repainted."""

    DEFAULT_CSS = """
    RunProgress { height: 2; width: 1fr; background: transparent; }
    RunProgress > .progress--name { text-style: bold; }
    RunProgress > .progress--muted { color: $foreground 70%; }
    RunProgress > .progress--done { color: $text-primary; }
    RunProgress > .progress--left { color: $foreground 25%; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"progress--{part}" for part in ("name", "muted", "done", "left")
    }

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._lines: list[list[tuple[str, str]]] = [[], []]

    def show(self, progress: Progress | None) -> None:
        """Say this; None says nothing."""
        width = self.size.width
        lines = [[], []] if progress is None else [_what(progress, width), _how_far(progress, width)]
        changed = [y for y in (0, 1) if lines[y] != self._lines[y]]
        self._lines = lines
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        segments = []
        for text, style in self._lines[y] if y < 2 else []:
            if style.startswith("state:"):
                rich = self.rich_style + colour(self.app, state_of(style[6:]).colour)
            else:
                rich = self.get_component_rich_style(f"progress--{style}") if style else self.rich_style
            if text:
                segments.append(Segment(text, rich))
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)


def _what(progress: Progress, width: int) -> list[tuple[str, str]]:
    state = f" {words(progress.state, progress.silent_s)}  "
    name = clip(one_line(progress.name), max(0, width - len(state)))
    room = width - len(state) - len(name) - 4
    about = one_line(progress.about) if room > 10 else ""
    about = plain(about) if ascii_only() else about
    return [
        (state, f"state:{progress.state}"),
        (name, "name"),
        (f"  {clip(about, room)}" if about else "", "muted"),
    ]


def _how_far(progress: Progress, width: int) -> list[tuple[str, str]]:
    done, total, words_right = progress.done, progress.total, ""
    status = progress.status
    if status is not None and status.total and not progress.done:
        done, total = status.done, status.total
        amount = size if status.unit in ("B", "bytes") else count
        words_right = f"{one_line(status.text)}  {amount(done)} / {amount(total)}"
    elif progress.phase and not progress.done:
        words_right = one_line(progress.phase)
    elif done and not total:  # a service doesn't tell how many there will be
        epoch = f"epoch {progress.epoch:.1f}" if progress.epoch else ""
        took = f"in {duration(progress.took_s)}" if progress.eta_s is None and progress.took_s else ""
        phase = progress.phase if progress.phase != progress.state else ""
        words_right = "  ".join(part for part in (phase, f"step {count(done)}", epoch, took) if part)
    elif total:
        words_right = "  ".join(part for part in _step_words(progress) if part)
    if not words_right:
        return [("", "")]
    if not total:
        return [(clip(f" {words_right}", width), "muted")]
    words_right = clip(words_right, max(10, width - 14))
    bar = max(0, width - len(words_right) - 4)
    full = min(bar, int(bar * done / total))
    signs = ("#", ".") if ascii_only() else ("━", "─")
    return [
        (" " + signs[0] * full, "done"),
        (signs[1] * (bar - full) + "  ", "left"),
        (pad(words_right, width - bar - 3), ""),
    ]


def _step_words(progress: Progress) -> list[str]:
    parts = [f"{count(progress.done)} / {count(progress.total)}"]
    parts.append(f"{int(100 * progress.done / progress.total)} %")
    if progress.epoch:
        parts.append(f"epoch {progress.epoch:.1f}")
    if progress.eta_s is not None:
        parts.append(f"ETA {duration(progress.eta_s)}")
    elif progress.took_s:
        parts.append(f"in {duration(progress.took_s)}")
    return parts
