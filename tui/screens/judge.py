"""Two sides held against each other, a page over the chat: figures beside each other, and the replies that differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from time import time as now
from typing import TYPE_CHECKING, Any

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from core.errors import FinetuiError
from tui.actions import bindings
from tui.format import ago, count, one_line
from tui.judge_text import SHOWN, figure_paragraphs, lines, listed, reply_paragraphs
from tui.judging import Judgings, read_judgement
from tui.screens.base import ModeScreen
from tui.widgets.footer import Footer
from tui.widgets.header import Header
from tui.widgets.problem import Problem
from tui.widgets.textpane import TextPane

if TYPE_CHECKING:
    from tui.app import FinetuiApp
    from tui.screens.chat_replies import ChatReplies

LOOK_S = 0.5
"""How often a judging is looked at, while there is one."""

COPIED_COLUMNS = 100
FRAME_COLUMNS = 5
"""A pane's border, padding and scroll bar."""

WIDE_COLUMNS = 120
NOT_YET = "Not judged yet: m asks both sides up to {rows} {which} and holds their replies against each other."


class JudgeScreen(ModeScreen):
    """A judgement of the chat's two sides.

    Args:
        chat: whose sides are judged.
        judgings: what the chat judges.
    """

    MODE = "judge"
    HELP = (
        "Both sides of the chat are asked the same, greedily: a run's validation rows, another file's, or prompts. "
        "Where answers are expected, replies are scored as in an evaluation. Judging goes on when you leave the page; "
        "what came out is kept with the run, of two endpoints with the chats."
    )
    HOME = "#figures"
    CSS_PATH = "judge.tcss"
    BINDINGS = bindings("judge")

    def __init__(self, chat: ChatReplies, judgings: Judgings) -> None:
        super().__init__()
        self.chat = chat
        self.judgings = judgings
        self.sides = dict(chat.sides)
        self.judgement: dict[str, Any] | None = None
        self.show_only = "all"
        self.problem = Problem(id="problem")
        self.step_line = Static("", id="step", markup=False)
        self.next_line = Static("", id="next", markup=False)
        self.figures = TextPane("A beside B", follow=False, id="figures")
        self.replies = TextPane("Replies", "None yet.", follow=False, id="replies")
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Header("chat")
        yield from self.compose_body()
        yield Footer(self.MODE)

    def compose_body(self) -> Iterable[Widget]:
        yield self.step_line
        yield self.next_line
        yield self.problem
        with Container(id="panes"):
            yield self.figures
            yield self.replies

    @property
    def finetui(self) -> FinetuiApp:
        """The app, by its own type."""
        return self.app  # type: ignore[return-value]

    def on_mount(self) -> None:
        self.context = "  |  ".join(one_line(self.sides[side].title) for side in ("A", "B"))
        super().on_mount()

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        self._load()

    def on_screen_suspend(self, event: events.ScreenSuspend) -> None:
        self._rest()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= WIDE_COLUMNS, "-side-by-side")
        self.call_after_refresh(self._draw)

    def close_overlay(self) -> None:
        self.dismiss()

    # -- what was judged, and what is being judged

    @work(thread=True, exclusive=True, group="load")
    def _load(self) -> None:
        try:
            found, error = read_judgement(self.sides), None
        except FinetuiError as wrong:
            found, error = None, wrong
        self.app.call_from_thread(self._show, found, error or self.judgings.wrong)

    def _show(self, found: dict[str, Any] | None, error: FinetuiError | None) -> None:
        self.judgement = found
        if error is None:
            self.problem.clear()
        else:
            self.problem.show_error(error)
        self._draw()
        self._say()
        if self.judgings.working and self._timer is None:
            self._timer = self.set_interval(LOOK_S, self._tick)
        self.refresh_bindings()

    def _draw(self) -> None:
        found = self.judgement
        width = self.figures.outer_size.width - FRAME_COLUMNS
        self.figures.set_paragraphs(figure_paragraphs(found, now(), width) if found else [])
        self.replies.set_paragraphs(reply_paragraphs(found, self.show_only) if found else [])
        number = sum(1 for _ in listed(found, self.show_only)) if found else 0
        self.replies.title = f"Replies: {count(number)}, {SHOWN[self.show_only]}" if found else "Replies"
        self.replies.empty = "None." if found else "None yet."
        self.replies.show_titles()

    def _tick(self) -> None:
        if self.judgings.working:
            self._say()
        else:
            self._rest()
            self._load()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _say(self) -> None:
        """The two lines at the top, and what the empty pane says."""
        judgings, found = self.judgings, self.judgement
        if judgings.working:
            step = f"{judgings.step} ..."
        else:
            step = f"judged {ago(found['when'], now())}" if found else "not judged yet"
        self.step_line.update(Content(step))
        settings = judgings.settings
        which = one_line(settings.words())
        asked = f"next: {count(settings.rows)} {which}, replies up to {count(settings.max_tokens)} tokens"
        self.next_line.update(Content(asked))
        self.figures.empty = NOT_YET.format(rows=count(settings.rows), which=which)
        self.figures.refresh()

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stop":
            return self.judgings.working
        if action in ("measure", "rows", "file", "prompts", "length"):
            return not self.judgings.working
        if action in ("copy", "write", "show"):
            return self.judgement is not None
        return super().check_action(action, parameters)

    def action_measure(self) -> None:
        self.judgings.begin(self.chat)
        self._show(self.judgement, None)

    def action_stop(self) -> None:
        self.judgings.stop()

    def action_show(self) -> None:
        """All that differ, where B is worse, where A is worse, in turn."""
        ways = list(SHOWN)
        self.show_only = ways[(ways.index(self.show_only) + 1) % len(ways)]
        self._draw()
        self.replies.action_move_first()

    @work(group="ask")
    async def action_rows(self) -> None:
        number = await self._number("How many at most?", self.judgings.settings.rows)
        if number:
            self.judgings.settings = replace(self.judgings.settings, rows=number)
            self._say()

    @work(group="ask")
    async def action_length(self) -> None:
        number = await self._number("How many tokens at most in a reply?", self.judgings.settings.max_tokens)
        if number:
            self.judgings.settings = replace(self.judgings.settings, max_tokens=number)
            self._say()

    async def _number(self, title: str, usual: int) -> int | None:
        from tui.widgets.dialogs import Ask

        answer = await self.app.push_screen_wait(Ask(title, str(usual)))
        if answer is None:
            return None
        if not answer.strip().isdecimal() or not int(answer):
            self.finetui.notify(f"{one_line(answer)} is no number above 0")
            return None
        return int(answer)

    @work(group="ask")
    async def action_file(self) -> None:
        """Rows of another file, or the run's own again."""
        found = await self._path(
            "Ask the rows of which file?", self.judgings.settings.data, "the validation rows"
        )
        if found is not None:
            self.judgings.settings = replace(self.judgings.settings, data=found[0], prompts=None)
            self._say()

    @work(group="ask")
    async def action_prompts(self) -> None:
        """Prompts of a file, or rows again."""
        found = await self._path("Ask the prompts of which file?", self.judgings.settings.prompts, "rows")
        if found is not None:
            self.judgings.settings = replace(self.judgings.settings, prompts=found[0])
            self._say()

    async def _path(self, title: str, usual: Path | None, else_: str) -> tuple[Path | None] | None:
        from tui.widgets.dialogs import Ask
        from tui.widgets.field import PathSuggester

        answer = await self.app.push_screen_wait(
            Ask(title, str(usual or ""), f"empty: {else_}", "", PathSuggester())
        )
        if answer is None:
            return None
        return (Path(answer.strip()).expanduser().absolute() if answer.strip() else None,)

    def action_panes(self) -> None:
        self.set_focus(self.replies if self.focused is self.figures else self.figures)

    def action_copy(self) -> None:
        if self.judgement is not None:
            self.finetui.copy("\n".join(lines(self.judgement, now(), COPIED_COLUMNS)))

    @work(group="ask")
    async def action_write(self) -> None:
        import orjson

        from tui.saving import ask_and_write

        if self.judgement is not None:
            text = orjson.dumps(self.judgement, option=orjson.OPT_INDENT_2).decode() + "\n"
            await ask_and_write(self.finetui, "Write the judgement to a file", "judgement.json", text)
