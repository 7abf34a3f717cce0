"""How a run's state is shown: a symbol, a word and a colour, never the colour alone."""

from __future__ import annotations

from dataclasses import dataclass

from rich.style import Style
from rich.text import Text
from textual.app import App

from tui.format import ascii_only, duration

SILENT_AFTER_S = 60.0
"""A run that has written nothing for longer is shown as silent, with the time."""


@dataclass(frozen=True)
class State:
    """One state as shown.

    Args:
        symbol: one cell.
        ascii: the symbol where only ASCII is drawn.
        word: what it is called.
        colour: a theme variable, so that every theme chooses its own (colour-blind safe ones included).
    """

    symbol: str
    ascii: str
    word: str
    colour: str


STATES: dict[str, State] = {
    "queued": State("○", "o", "queued", "foreground-muted"),
    "starting": State("◔", ">", "starting", "text-accent"),
    "running": State("●", "*", "running", "text-accent"),
    "pausing": State("‖", "=", "pausing", "text-warning"),
    "stopping": State("■", "#", "stopping", "text-warning"),
    "paused": State("‖", "=", "paused", "text-warning"),
    "stopped": State("■", "#", "stopped", "foreground"),
    "finished": State("✓", "+", "done", "text-success"),
    "failed": State("✗", "x", "failed", "text-error"),
    "lost": State("?", "?", "lost", "text-error"),
    "healthy": State("●", "*", "healthy", "text-success"),
    "unhealthy": State("!", "!", "unhealthy", "text-warning"),
}
"""Every state of core.runs.summary and of core.serving.deployments, by its name there."""

_UNKNOWN = State("?", "?", "unknown", "foreground-muted")


def state_of(name: str) -> State:
    """How a state is shown; a name this version doesn't know is `? unknown`."""
    return STATES.get(name, _UNKNOWN)


def words(name: str, silent_s: float = 0.0) -> str:
    """Symbol and word: `● running`; with the time of a long silence: `● running, silent for 3 min`.

    Args:
        name: the state's name.
        silent_s: seconds since the run last wrote anything; 0 when it needn't (ended, queued).
    """
    state = state_of(name)
    text = f"{state.ascii if ascii_only() else state.symbol} {state.word}"
    if silent_s > SILENT_AFTER_S:
        # Whole minutes, so that the words change only when the reader would say something else.
        text += f", silent for {duration(silent_s - silent_s % 60)}"
    return text


def colour(app: App[object], variable: str) -> Style:
    """A theme variable of the running theme as a Rich style, for cells and Line-API strips."""
    value = app.theme_variables.get(variable, "")
    return Style(color=value) if value.startswith("#") else Style()


def state_text(app: App[object], name: str, silent_s: float = 0.0) -> Text:
    """`words` in the state's colour."""
    return Text(words(name, silent_s), style=colour(app, state_of(name).colour), no_wrap=True)
