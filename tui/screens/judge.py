"""Two sides held against each other, a page over the chat: figures beside each other, and the replies that differ."""

from __future__ import annotations

from collections.abc import Iterable
from time import time as now
from typing import TYPE_CHECKING, Any

from textual import events, work
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from tui.actions import bindings
from tui.format import ago, count, one_line
from tui.judge_text import SHOWN, figure_paragraphs, lines, listed, reply_paragraphs, shown
from tui.judging import Judgings, Settings, read_judgement
from tui.screens.page import COPIED_COLUMNS, FRAME_COLUMNS, WIDE_COLUMNS, MeasuringPage
from tui.widgets.textpane import TextPane

if TYPE_CHECKING:
    from core.errors import FinetuiError
    from tui.screens.chat_replies import ChatReplies

NOTHING_TO_ASK = (
    "There is nothing yet to ask these two: neither is a run's, so there are no validation rows. f names a file of "
    "rows, p one of prompts; then m judges."
)
BEING_JUDGED = "Being judged: the figures come here; x gives it up."
NOT_YET = "Not judged yet: m asks both sides up to {rows} {which} and holds their replies against each other."


class JudgeScreen(MeasuringPage):
    """A judgement of the chat's two sides.

    Args:
        chat: whose sides are judged.
        judgings: what the chat judges.
    """

    MODE = "judge"
    OVER = "chat"
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
        self.show_only = "all"
        self.step_line = Static("", id="step", markup=False)
        self.next_line = Static("", id="next", markup=False)
        self.figures = TextPane("A beside B", follow=False, id="figures")
        self.replies = TextPane("Replies", "None yet.", follow=False, id="replies")

    def compose_body(self) -> Iterable[Widget]:
        yield self.step_line
        yield self.next_line
        yield self.problem
        with Container(id="panes"):
            yield self.figures
            yield self.replies

    def on_mount(self) -> None:
        self.context = "  |  ".join(one_line(self.sides[side].title) for side in ("A", "B"))
        super().on_mount()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= WIDE_COLUMNS, "-side-by-side")
        self.call_after_refresh(self.draw)

    # -- what was judged, and what is being judged

    @property
    def measuring(self) -> bool:
        return self.judgings.working

    @property
    def askable(self) -> bool:
        """Whether there is something to ask: a file, or the validation rows of a run."""
        mine = any(side.kind == "run" for side in self.sides.values())
        return mine or self.settings.data is not None or self.settings.prompts is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "measure" and not self.askable:
            return False
        return super().check_action(action, parameters)

    @property
    def settings(self) -> Settings:
        return self.judgings.settings

    def set_settings(self, settings: Settings) -> None:
        self.judgings.settings = settings

    def read(self) -> dict[str, Any] | None:
        return read_judgement(self.sides)

    @property
    def wrong(self) -> FinetuiError | None:
        return self.judgings.wrong

    def draw(self) -> None:
        found = self.found
        width = self.figures.outer_size.width - FRAME_COLUMNS
        self.figures.set_paragraphs(figure_paragraphs(found, now(), width) if found else [])
        self.replies.set_paragraphs(reply_paragraphs(found, self.show_only) if found else [])
        number = sum(1 for _ in listed(found, self.show_only)) if found else 0
        self.replies.title = (
            f"Replies: {count(number)}, {shown(found, self.show_only)}" if found else "Replies"
        )
        if found and self.show_only == "all" and (refused := found.get("refused")):
            self.replies.title += f"; {count(len(refused))} refused"
        self.replies.empty = "None." if found else "None yet."
        self.replies.show_titles()

    def say(self) -> None:
        """The two lines at the top, and what the empty pane says."""
        if self.measuring:
            step = f"{self.judgings.step} ..."
        else:
            step = f"judged {ago(self.found['when'], now())}" if self.found else "not judged yet"
        self.step_line.update(Content(step))
        settings = self.settings
        if not self.askable:
            self.next_line.update(Content("next: f names a file of rows, p one of prompts"))
            self.figures.empty = NOTHING_TO_ASK
            self.figures.refresh()
            return
        which = one_line(settings.words())
        asked = f"next: {count(settings.rows)} {which}, replies up to {count(settings.max_tokens)} tokens"
        self.next_line.update(Content(asked))
        not_yet = NOT_YET.format(rows=count(settings.rows), which=which)
        self.figures.empty = BEING_JUDGED if self.measuring else not_yet
        self.figures.refresh()

    # -- keys

    def action_measure(self) -> None:
        self.judgings.begin(self.chat)
        self.problem.clear()
        self.look()

    def action_stop(self) -> None:
        self.judgings.stop()

    def action_show(self) -> None:
        """All that differ, where A is worse, where B is worse, in turn."""
        self.show_only = SHOWN[(SHOWN.index(self.show_only) + 1) % len(SHOWN)]
        self.draw()
        self.replies.action_move_first()

    @work(group="ask")
    async def action_file(self) -> None:
        """Rows of another file, or the run's own again."""
        title, usual = "Ask the rows of which file?", self.settings.data
        if (found := await self.ask_file(title, usual, "the validation rows")) is not None:
            self.change(data=found[0], prompts=None)

    @work(group="ask")
    async def action_prompts(self) -> None:
        """Prompts of a file, or rows again."""
        title, usual = "Ask the prompts of which file?", self.settings.prompts
        if (found := await self.ask_file(title, usual, "rows")) is not None:
            self.change(prompts=found[0])

    def action_panes(self) -> None:
        self.set_focus(self.replies if self.focused is self.figures else self.figures)

    def action_copy(self) -> None:
        if self.found is not None:
            self.finetui.copy("\n".join(lines(self.found, now(), COPIED_COLUMNS)))

    @work(group="ask")
    async def action_write(self) -> None:
        await self.write_found("Write the judgement to a file", "judgement.json")
