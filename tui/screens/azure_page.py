"""What the Azure pages share: whose Azure it is at the top, a code that waits to be typed, errors in place."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from importlib import import_module
from typing import ClassVar, TypeVar

from textual import events, work
from textual.app import ComposeResult
from textual.widget import Widget

from core.errors import FinetuiError
from tui.actions import AZURE_PAGES
from tui.azure_text import account_lines
from tui.azurework import Desk
from tui.screens.base import ModeScreen
from tui.widgets.azurebar import AzureBar
from tui.widgets.footer import Footer
from tui.widgets.header import Header
from tui.widgets.problem import Problem
from tui.widgets.signin import SignIn

Answer = TypeVar("Answer")
WIDE_COLUMNS = 120


def page(mode: str, desk: Desk) -> AzurePage:
    """The page of a mode, imported when it is first shown."""
    name = "".join(word.title() for word in mode.split("_")) + "Screen"
    made: AzurePage = getattr(import_module(f"tui.screens.{mode}"), name)(desk)
    return made


class AzurePage(ModeScreen):
    """One of the pages over Train.

    Args:
        desk: what they share.
    """

    CSS_PATH = "azure.tcss"
    CODE_KEYS: ClassVar[str] = "y copies it"
    """What the keys do while a code waits to be typed."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.bar = AzureBar(self.MODE)
        self.sign_in_panel = SignIn(id="sign-in")
        self.problem = Problem(id="problem")

    def compose(self) -> ComposeResult:
        yield Header("train")
        yield self.bar
        yield self.sign_in_panel
        yield self.problem
        yield from self.compose_body()
        yield Footer(self.MODE)

    def compose_body(self) -> Iterable[Widget]:
        raise NotImplementedError

    def on_mount(self) -> None:
        super().on_mount()
        self.context = AZURE_PAGES[self.MODE]
        self.desk.changed, self.desk.ended = self._desk_changed, self.begin
        self._desk_changed()
        self.begin()

    def on_unmount(self) -> None:
        if self.desk.changed == self._desk_changed:
            self.desk.changed = self.desk.ended = lambda: None

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._desk_changed)

    @work(exclusive=True, group="begin")
    async def begin(self) -> None:
        """Ask what this page shows; what was known before stands meanwhile."""
        if self.desk.signed_in is None:
            await self.answer(self.desk.look())
        await self.load()

    async def load(self) -> None:
        """Ask for what the page shows."""
        raise NotImplementedError

    def show(self) -> None:
        """Draw what is known."""
        raise NotImplementedError

    def show_empty(self, empty: bool) -> None:
        """Show what stands in the list's place while it has no lines; the keys are the list's again when it has."""
        self.set_class(empty, "-empty")
        if not empty and self.focused is None:  # Textual takes the focus from what is not shown
            self.call_after_refresh(self.go_home)

    async def answer(self, asked: Awaitable[Answer]) -> Answer | None:
        """What was asked for; the error is shown in place, and None returned."""
        try:
            found = await asked
        except FinetuiError as error:
            self.problem.show_error(error)
            if self.desk.signed_in:  # perhaps no longer
                await self.desk.look_quietly()
            return None
        self.problem.clear()
        return found

    def _desk_changed(self) -> None:
        """Something of the desk is another now."""
        from core.azure.account import note

        desk = self.desk
        wide = self.size.width >= WIDE_COLUMNS
        lines = account_lines(desk.account, desk.signed_in, wide, desk.who)
        self.bar.show(lines, note(), str(desk.task) if desk.task else "")
        self.sign_in_panel.show(*desk.code, self.CODE_KEYS)
        self.set_class(bool(desk.code[1]), "-code")
        self.show()
        self.refresh_bindings()

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "read":
            return not self.has_class("-empty")
        return super().check_action(action, parameters)

    def close_overlay(self) -> None:
        """`esc`: back to the list, then back to Train."""
        if self.has_class("-reading"):
            self.action_read()
        else:
            self.app.pop_screen()

    def action_read(self) -> None:
        """The details in full, or the list again."""
        reading = not self.has_class("-reading")
        self.set_class(reading, "-reading")
        if reading:
            self.set_focus(self.query_one("#details"))
        else:
            self.go_home()

    def action_next_page(self) -> None:
        self._turn(1)

    def action_previous_page(self) -> None:
        self._turn(-1)

    def _turn(self, by: int) -> None:
        """The page so many further on."""
        modes = list(AZURE_PAGES)
        mode = modes[(modes.index(self.MODE) + by) % len(modes)]
        self.app.switch_screen(page(mode, self.desk))

    def action_copy(self) -> None:
        """The code while one waits, else what the page has under its cursor."""
        if text := self.desk.code[1] or self.copied():
            self.finetui.copy(text)

    def copied(self) -> str:
        """What `y` copies."""
        raise NotImplementedError
