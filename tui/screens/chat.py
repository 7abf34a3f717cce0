"""The chat: a tuned model beside its base. The models live in a worker process; this only shows the words."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import events, on, work
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from core.errors import FinetuiError
from tui.actions import bindings
from tui.conversation import PARAGRAPHS_A_TURN, SIDES, Conversation, Reply, Settings, Turn
from tui.format import one_line
from tui.screens.chat_actions import ChatActions
from tui.widgets.field import Field
from tui.widgets.problem import Problem
from tui.widgets.textpane import TextPane

if TYPE_CHECKING:
    from core.pipes import PipeClient
    from core.serving.targets import Target

DRAW_S, SSH_DRAW_S = 0.1, 0.25
"""A reply that is being written is drawn at most this often."""

NOBODY = (
    "Nobody to talk to yet.\n\n"
    "Here you talk to a model you trained, its untrained base beside it. A run can be talked to as soon as it has "
    "written its first checkpoint.\n2 sets up a run.   4 lists the runs: c there talks to one."
)
HELLO = "Type a message: i or enter. Both models get the same words."


def make_client() -> PipeClient:
    """The pipe to the chat worker; the process starts with the first request."""
    from core.paths import logs_dir, make_private
    from core.pipes import PipeClient

    return PipeClient("core.serving.chat_worker", make_private(logs_dir()) / "chat-worker.log")


class ChatScreen(ChatActions):
    """Two columns of replies and a field for the message."""

    MODE = "chat"
    HELP = (
        "Talk to a model you trained. Its base gets the same messages, so that you see what training changed. "
        "Each side goes on from its own replies."
    )
    HOME = "#tuned"
    CSS_PATH = "chat.tcss"
    BINDINGS = bindings("chat")

    def __init__(self) -> None:
        super().__init__()
        self.target: Target | None = None
        self.conversation = Conversation()
        self.settings = Settings()
        self.beside = True
        self.busy = False
        self._names = {"tuned": "tuned", "base": "base"}
        self.panes = {side: TextPane(side, HELLO, id=side) for side in SIDES}
        self.problem = Problem(id="problem")
        self.state_line = Static("", id="state", markup=False)
        self.message = Field(placeholder="enter sends, esc leaves the field", id="message")
        self.message_box = Vertical(id="message-box")
        self.settings_line = Static("", id="settings", markup=False)
        self._asked = False
        self._client: PipeClient | None = None
        self._loaded: Target | None = None
        self._drawn = 0.0
        self._drawing_later = False

    def compose_body(self) -> Iterable[Widget]:
        yield Static(NOBODY, id="nobody", markup=False)
        with Vertical(id="talk"):
            with Horizontal(id="sides"):
                yield from self.panes.values()
            yield self.problem
            yield self.state_line
            with self.message_box:
                yield self.message
            yield self.settings_line

    def on_mount(self) -> None:
        super().on_mount()
        self.message_box.border_title = Content("Message")
        self._show_settings()

    # -- whom to talk to

    def talk_to(self, run_id: str) -> None:
        """Talk to a run's model."""
        self._asked = True
        self._find(run_id, True)

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        if self.target is None and not self._asked:
            self._find("", False)

    @work(thread=True, exclusive=True, group="find")
    def _find(self, run_id: str, asked: bool) -> None:
        """Look a run's model up; without an id, the newest finished run's, else the newest checkpoint."""
        from core.runs import supervisor
        from core.serving import targets

        try:
            if run_id:
                found = targets.target(run_id)
            else:
                every = targets.targets()
                if not every:
                    return
                found = next((item for item in every if item.adapter.name == "model"), every[0])
            model = supervisor.get(found.run_id).model
        except FinetuiError as error:
            self.app.call_from_thread(self.show_problem, error)
            return
        self.app.call_from_thread(self._found, found, model, asked)

    def _found(self, target: Target, model: str, asked: bool) -> None:
        if self._asked and not asked:
            return  # somebody was chosen while the usual one was being looked up
        if self.target is None or self.target.adapter != target.adapter:
            self.workers.cancel_group(self, "reply")
            self.target = target
            self._names = {"tuned": one_line(target.title), "base": f"{one_line(model)} (untuned)"}
            self.conversation = Conversation()
            self.settings = replace(self.settings, system=target.system)
            self.context = target.title
            self._show_all()
            self.answer()
        self.set_class(True, "-talking")
        if asked:
            self.set_focus(self.message)

    # -- replies

    @on(Input.Submitted, "#message")
    def _submitted(self, event: Input.Submitted) -> None:
        if event.value.strip() and self.target is not None:
            event.input.value = ""
            self.send(event.value.strip())

    def send(self, text: str) -> None:
        """Say something to both sides; while they are at something else, it waits its turn."""
        self.conversation.turns.append(Turn(text))
        self._show_all(len(self.conversation.turns) - 1)
        for pane in self.panes.values():
            pane.action_move_last()
        if not self.busy:
            self.answer()

    @work(exclusive=True, group="reply")
    async def answer(self) -> None:
        """Load the model if it isn't, then write every reply that is missing, one after the other."""
        self.busy = True
        self.problem.clear()
        self.refresh_bindings()
        try:
            if self._client is None:
                self._client = make_client()
            if self._loaded != self.target:
                await self._load(self._client)
            while waiting := self.conversation.waiting(self.sides()):
                await self._reply(self._client, *waiting)
        except asyncio.CancelledError:
            self.conversation.give_up()
            self._show_all()
            raise
        except FinetuiError as error:
            self._loaded = None  # the worker may have ended: load anew with the next message
            self.show_problem(error)
        finally:
            self.busy = False
            self.say("")
            self.refresh_bindings()

    async def _load(self, client: PipeClient) -> None:
        target = self.target
        assert target is not None
        self._loaded = None
        started, phase = time.monotonic(), "starting"

        def tell() -> None:
            self.say(f"{phase}: {time.monotonic() - started:.0f} s")

        timer = self.set_interval(1.0, tell)
        try:
            stream = client.stream("load", model_folder=str(target.model_folder), adapter=str(target.adapter))
            async with aclosing(stream) as frames:
                async for kind, value in frames:
                    if kind == "chunk":
                        phase = one_line(value["phase"])
                        tell()
                    else:
                        self.message_box.border_subtitle = Content(
                            f"on {one_line(value['device'])}, loaded in {value['seconds']:.0f} s"
                        )
        finally:
            timer.stop()
        self._loaded = target

    async def _reply(self, client: PipeClient, index: int, side: str) -> None:
        settings = self.settings
        reply = Reply()
        messages = self.conversation.messages(side, index, settings.system)
        self.conversation.turns[index].replies[side] = reply
        self.say(f"{side} writes; s stops it")
        self._show_side(side, index)
        try:
            stream = client.stream(
                "reply",
                messages=messages,
                side=side,
                max_tokens=settings.max_tokens,
                temperature=settings.temperature,
                top_p=settings.top_p,
                seed=settings.seed,
            )
            async with aclosing(stream) as frames:
                async for kind, value in frames:
                    if kind == "chunk":
                        reply.text += value["text"]
                        self._show_soon(side, index)
                    else:
                        reply.text, reply.tokens = value["text"], value["tokens"]
                        reply.tokens_per_s = value["tokens_per_s"]
                        reply.first_token_ms = value["first_token_ms"]
                        reply.ended = value["ended"]
        finally:
            reply.ended = reply.ended or "stopped"
            self._show_side(side, index)

    # -- drawing

    def sides(self) -> tuple[str, ...]:
        """The sides that answer."""
        return SIDES if self.beside else SIDES[:1]

    def say(self, text: str) -> None:
        """What is going on, in the line over the message."""
        self.state_line.update(Content(text))

    def show_problem(self, error: FinetuiError) -> None:
        """An error in place; the screen lives on."""
        self.set_class(True, "-talking")
        self.problem.show_error(error)

    def _show_soon(self, side: str, index: int) -> None:
        pause = SSH_DRAW_S if os.environ.get("SSH_CONNECTION") else DRAW_S
        wait = self._drawn + pause - time.monotonic()
        if wait <= 0:
            self._show_side(side, index)
        elif not self._drawing_later:
            self._drawing_later = True
            self.set_timer(wait, lambda: self._show_side(side, index))

    def _show_side(self, side: str, start: int = 0) -> None:
        self._drawn = time.monotonic()
        self._drawing_later = False
        pane = self.panes[side]
        pane.title = f"{side}  {self._names[side]}"
        pane.replace_from(
            start * PARAGRAPHS_A_TURN, self.conversation.paragraphs(side, self._names[side], start)
        )
        pane.show_titles()

    def _show_all(self, start: int = 0) -> None:
        for side in SIDES:
            self._show_side(side, start)
        self._show_settings()

    def _show_settings(self) -> None:
        words = f"{self.settings.words()}   (o changes)"
        note = f"   {one_line(self.target.note)}" if self.target is not None and self.target.note else ""
        self.settings_line.update(Content(words + note))

    def changed_settings(self, settings: Settings) -> None:
        """Take settings over; they hold from the next reply on."""
        self.settings = settings
        self._show_settings()

    def start_over(self) -> None:
        """Forget the conversation."""
        self.conversation = Conversation()
        for pane in self.panes.values():
            pane.clear()
        self._show_all()

    async def on_unmount(self) -> None:
        if self._client is not None:
            await self._client.close()
