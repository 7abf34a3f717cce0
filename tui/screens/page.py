"""Pages over a mode, and those of them that show what was measured and measure anew in the background."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.timer import Timer

from core.errors import FinetuiError
from tui.format import one_line
from tui.screens.base import ModeScreen
from tui.widgets.footer import Footer
from tui.widgets.header import Header
from tui.widgets.problem import Problem

LOOK_S = 0.5
"""How often a measuring is looked at, while there is one."""

COPIED_COLUMNS = 100
FRAME_COLUMNS = 5
"""A pane's border, padding and scroll bar."""

WIDE_COLUMNS = 120


class Page(ModeScreen):
    """A page over a mode; `esc` closes it."""

    OVER: ClassVar[str] = ""
    """The mode."""

    def compose(self) -> ComposeResult:
        yield Header(self.OVER)
        yield from self.compose_body()
        yield Footer(self.MODE)

    def close_overlay(self) -> None:
        self.dismiss()


class MeasuringPage(Page):
    """A page of what was measured.

    Attributes:
        found: what was measured last, None where there is nothing.
        problem: what went wrong.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Any] | None = None
        self.problem = Problem(id="problem")
        self._timer: Timer | None = None

    # -- what a page says of itself

    @property
    def measuring(self) -> bool:
        """Whether what the page is of is being measured."""
        raise NotImplementedError

    @property
    def settings(self) -> Any:
        """How the next measuring is done: a dataclass with `rows` and `max_tokens`."""
        raise NotImplementedError

    def set_settings(self, settings: Any) -> None:
        """Take settings over."""
        raise NotImplementedError

    def read(self) -> dict[str, Any] | None:
        """What was measured last; called in a thread.

        Raises:
            FinetuiError: it can't be read.
        """
        raise NotImplementedError

    @property
    def wrong(self) -> FinetuiError | None:
        """What went wrong at the last measuring and is told here."""
        return None

    def draw(self) -> None:
        """Show what was found."""
        raise NotImplementedError

    def say(self) -> None:
        """Say how far a measuring is, and how the next one would be."""
        raise NotImplementedError

    # -- what was measured, and what is being measured

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        self._load()

    def on_screen_suspend(self, event: events.ScreenSuspend) -> None:
        self._rest()

    @work(thread=True, exclusive=True, group="load")
    def _load(self) -> None:
        try:
            found, error = self.read(), None
        except FinetuiError as wrong:
            found, error = None, wrong
        self.app.call_from_thread(self._show, found, error or self.wrong)

    def _show(self, found: dict[str, Any] | None, error: FinetuiError | None) -> None:
        self.found = found
        if error is None:
            self.problem.clear()
        else:
            self.problem.show_error(error)
        self.draw()
        self.look()

    def look(self) -> None:
        """Say how far the measuring is, and look again later while there is one."""
        self.say()
        if self.measuring and self._timer is None:
            self._timer = self.set_interval(LOOK_S, self._tick)
        self.refresh_bindings()

    def _tick(self) -> None:
        if self.measuring:
            self.say()
        else:
            self._rest()
            self._load()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stop":
            return self.measuring
        if action in ("measure", "rows", "file", "prompts", "length"):
            return not self.measuring
        if action in ("copy", "write", "show"):
            return self.found is not None
        return super().check_action(action, parameters)

    @work(group="ask")
    async def action_rows(self) -> None:
        await self._change("rows", "How many rows at most?")

    @work(group="ask")
    async def action_length(self) -> None:
        await self._change("max_tokens", "How many tokens at most in a reply?")

    async def _change(self, name: str, title: str) -> None:
        from tui.widgets.dialogs import Ask

        answer = await self.app.push_screen_wait(Ask(title, str(getattr(self.settings, name))))
        if answer is None:
            return
        if not answer.strip().isdecimal() or not int(answer):
            self.finetui.notify(f"{one_line(answer)} is no number above 0")
            return
        self.change(**{name: int(answer)})

    def change(self, **values: Any) -> None:
        """Change some of the settings of the next measuring."""
        self.set_settings(replace(self.settings, **values))
        self.say()
        self.refresh_bindings()

    async def ask_file(
        self, title: str, usual: Path | None, otherwise: str, note: str = ""
    ) -> tuple[Path | None] | None:
        """Ask for a file; returns (the path, None for an empty answer), or None when the user thinks better of it.

        Args:
            title: of the question.
            usual: the file there is.
            otherwise: what an empty answer means.
            note: under the question.
        """
        from tui.widgets.dialogs import Ask
        from tui.widgets.field import PathSuggester

        question = Ask(title, str(usual or ""), f"empty: {otherwise}", note, PathSuggester())
        answer = await self.app.push_screen_wait(question)
        if answer is None:
            return None
        return (Path(answer.strip()).expanduser().absolute() if answer.strip() else None,)

    async def write_found(self, title: str, name: str) -> None:
        """Ask for a file and write what was found into it, as JSON."""
        import orjson

        from tui.saving import ask_and_write

        if self.found is not None:
            text = orjson.dumps(self.found, option=orjson.OPT_INDENT_2).decode() + "\n"
            await ask_and_write(self.finetui, title, name, text)
