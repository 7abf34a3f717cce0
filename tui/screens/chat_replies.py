"""Who is talked to, and how replies come: the models live in a worker process, what is said is kept as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from textual import events, work
from textual.content import Content

from core.errors import FinetuiError
from core.serving.chats import Row, Tally, new_id, title_of
from core.serving.talk import SIDES, STOPPED, Reply, Talk, Turn
from tui.conversation import Settings
from tui.evaluating import Step
from tui.format import one_line
from tui.keeping import Keeping
from tui.screens.chat_view import ChatView

if TYPE_CHECKING:
    from core.pipes import PipeClient
    from core.serving.targets import Side

KEEP_S = 1.0
"""A reply that is being written is kept at least this often."""


def make_client() -> PipeClient:
    """The pipe to the chat worker; the process starts with the first request."""
    from core.paths import logs_dir, make_private
    from core.pipes import PipeClient

    return PipeClient("core.serving.chat_worker", make_private(logs_dir()) / "chat-worker.log")


class ChatReplies(ChatView):
    """The chat without its keys.

    Attributes:
        keeping: where chats are kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keeping = Keeping(self.show_problem)
        self._asked = False
        self._client: PipeClient | None = None
        self._loaded: dict[str, dict[str, Any]] = {}
        self._works = 0
        self._writing: asyncio.Task[None] | None = None

    # -- whom to talk to

    def talk_to(self, sides: str | tuple[str, str]) -> None:
        """Talk to a side, its base beside it where it has one, or to the two sides that are named.

        Args:
            sides: as core.serving.targets writes them.
        """
        self._asked = True
        a, b = (sides, None) if isinstance(sides, str) else sides
        self._find(a, b or None)

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        if not self.sides and not self._asked:
            self._find("", None)

    @work(thread=True, exclusive=True, group="find")
    def _find(self, a: str, b: str | None) -> None:
        """Look two sides up; without the first, the newest finished run's model, else the newest checkpoint."""
        from core.serving import targets

        try:
            if a:
                first = targets.side(a)
            else:
                every = targets.targets()
                if not every:
                    return
                first = next(
                    (item for item in every if item.adapter and item.adapter.name == "model"), every[0]
                )
            found = {"A": first}
            if b is None and isinstance(first, targets.Target) and first.adapter is not None:
                b = first.base_spec
            if b:
                found["B"] = targets.side(b)
        except FinetuiError as error:
            self.app.call_from_thread(self.show_problem, error)
            return
        self.app.call_from_thread(self._found, found, bool(a))

    def _found(self, sides: dict[str, Side], asked: bool) -> None:
        if self._asked and not asked:
            return  # somebody was chosen while the usual one was being looked up
        if sides != self.sides:
            self.take_sides(sides)
        self.set_class(True, "-talking")
        if asked:
            self.set_focus(self.message)

    @work(thread=True, exclusive=True, group="find")
    def choose_side(self, side: str, spec: str) -> None:
        """Talk to another model on one side."""
        from core.serving import targets

        try:
            found = targets.side(spec)
        except FinetuiError as error:
            self.app.call_from_thread(self.show_problem, error)
            return
        self.app.call_from_thread(self._chosen, {**self.sides, side: found})

    def _chosen(self, sides: dict[str, Side]) -> None:
        self._asked = True
        self.take_sides(sides)
        self.set_class(True, "-talking")

    def take_sides(self, sides: dict[str, Side], row: Row | None = None, talk: Talk | None = None) -> None:
        """Talk to these, in a new chat or in one that was kept."""
        self.workers.cancel_group(self, "reply")
        self.problem.clear()
        before = self.sides.get("A")
        self.sides = dict(sorted(sides.items()))
        if row is not None:
            self.settings = Settings.of(row.settings)
            self.beside = "B" in self.sides
        elif "A" in sides and (before is None or before.system != sides["A"].system):
            self.settings = replace(self.settings, system=sides["A"].system)
        self.start_over(talk)
        self.count_votes()
        self.answer()

    def start_over(self, talk: Talk | None = None) -> None:
        """An empty chat, or one that was kept; the one before is kept too."""
        self.talk, self.marked = talk or Talk(), 0
        for pane in self.panes.values():
            pane.clear()
        self.show_all()

    @work(exclusive=True, group="votes")
    async def count_votes(self) -> None:
        """Read how the votes between the two sides stand."""
        if len(self.sides) == len(SIDES):
            a, b = (self.sides[side].spec for side in SIDES)
            try:
                self.tally = await self.keeping.ask(lambda chats: chats.tally(a, b))
            except FinetuiError as error:
                self.show_problem(error)
                return
        else:
            self.tally = Tally()
        self.show_context()

    # -- saying something

    def send(self, text: str) -> None:
        """Say something to both sides; while they are at something else, it waits its turn."""
        self._begin(text)
        self.added(self.talk.say(text, self._blind_seed()))

    def say_instead(self, turn: Turn, text: str) -> None:
        """Say something in the place of a turn, which is kept beside it."""
        self.added(self.talk.instead(turn, text, self._blind_seed()))

    def _blind_seed(self) -> int | None:
        return self.settings.seed if self.blind and self.answering == SIDES else None

    def added(self, turn: Turn) -> None:
        """Show and keep a new turn, and have it answered."""
        self.marked = 0
        self.problem.clear()
        self.keep_turn(turn)
        self.show_all(self.talk.path().index(turn))
        for pane in self.panes.values():
            pane.action_move_last()
        if not self.busy:
            self.answer()

    def _begin(self, text: str) -> None:
        if not self.talk.chat:
            chat = self.talk.chat = new_id()
            a, b = (self.sides[side].spec if side in self.sides else "" for side in SIDES)
            settings, title = asdict(self.settings), title_of(text)
            self.keeping.later(lambda chats: chats.begin(chat, title, a, b, settings))

    def keep_turn(self, turn: Turn, shown: bool = True) -> None:
        """Keep a turn as it is now, and that it is the one shown in its place."""
        chat, copy = self.talk.chat, replace(turn, replies={})
        self.keeping.later(lambda chats: chats.put_turn(chat, copy, shown))

    def _keep_reply(self, talk: Talk, turn: Turn, side: str) -> None:
        chat, number, copy = talk.chat, turn.number, replace(turn.replies[side])
        self.keeping.later(lambda chats: chats.put_reply(chat, number, side, copy))

    # -- replies

    @work(exclusive=True, group="reply")
    async def answer(self) -> None:
        """Load the models that aren't, then write every reply that is missing, one after the other."""
        talk = self.talk  # another may take its place before this ends
        self._works += 1
        this = self._works
        self.busy = True
        self.refresh_bindings()
        try:
            await self._ready()
            while waiting := talk.waiting(self.answering):
                await self._write(self._reply(await self._ready(), talk, *waiting))
        except asyncio.CancelledError:
            self._give_up(talk)
            raise
        except FinetuiError as error:
            self._loaded = {}  # the worker may have ended: load anew with the next message
            self._give_up(talk)
            self.show_problem(error)
        finally:
            if this == self._works:
                self.busy = False
                self.say("")
                self.refresh_bindings()

    async def _write(self, reply: Coroutine[Any, Any, None]) -> None:
        """Have one reply written; when it alone is stopped, the next one is written."""
        writing = self._writing = asyncio.create_task(reply)
        try:
            await asyncio.wait({writing})
        except asyncio.CancelledError:
            writing.cancel()
            await asyncio.wait({writing})
            raise
        if not writing.cancelled():
            writing.result()

    def stop(self) -> None:
        """End the reply that is being written, or give up the loading of models and all that waits for them."""
        if self._writing is not None and not self._writing.done():
            self._writing.cancel()
        else:
            self.workers.cancel_group(self, "reply")

    def _give_up(self, talk: Talk) -> None:
        for turn, side in talk.give_up():
            if turn.replies[side].text:
                self._keep_reply(talk, turn, side)
        if talk is self.talk:
            self.show_all()

    async def client(self) -> PipeClient:
        """The pipe to the worker."""
        if self._client is None:
            self._client = await asyncio.to_thread(make_client)
        return self._client

    async def _ready(self) -> PipeClient:
        """The worker, with those who answer loaded."""
        client = await self.client()
        wanted = {side: self.sides[side].request() for side in self.answering}
        if wanted and any(self._loaded.get(side) != request for side, request in wanted.items()):
            await self._load(client, wanted)
        return client

    async def _load(self, client: PipeClient, wanted: dict[str, dict[str, Any]]) -> None:
        self._loaded = {}
        started, phase = time.monotonic(), "starting"

        def tell() -> None:
            self.say(f"{phase}: {time.monotonic() - started:.0f} s")

        timer = self.set_interval(1.0, tell)
        try:
            async with aclosing(client.stream("load", sides=wanted)) as frames:
                async for kind, value in frames:
                    if kind == "chunk":
                        phase = one_line(value["phase"])
                        self.show_code(value.get("url", ""), value.get("code", ""))
                        tell()
                    elif value["device"]:
                        self.message_box.border_subtitle = Content(
                            f"on {one_line(value['device'])}, loaded in {value['seconds']:.0f} s"
                        )
        finally:
            timer.stop()
            self.show_code("", "")
        self._loaded = wanted

    async def _reply(self, client: PipeClient, talk: Talk, turn: Turn, side: str) -> None:
        reply = turn.replies[side] = Reply()
        messages = talk.messages(side, turn, self.settings.system)
        name = self.place_of(turn, side) if turn.hidden else side
        self.say(f"{name} writes; s stops it")
        self.show_turn(turn, side)
        kept = time.monotonic()
        try:
            sampling = self.settings.sampling(talk.asked_before(turn))
            stream = client.stream("reply", messages=messages, side=side, **sampling)
            async with aclosing(stream) as frames:
                async for kind, value in frames:
                    if kind == "chunk":
                        reply.text += value["text"]
                        self.show_soon(turn, side)
                        if time.monotonic() - kept > KEEP_S:
                            kept = time.monotonic()
                            self._keep_reply(talk, turn, side)
                    else:
                        turn.replies[side] = Reply.of(value)
        finally:
            turn.replies[side].ended = turn.replies[side].ended or STOPPED
            self._keep_reply(talk, turn, side)
            self.show_turn(turn, side)

    async def judge(
        self, sides: dict[str, Side], wanted: dict[str, Any], told: Callable[[Step], None]
    ) -> None:
        """Have the worker hold two sides against each other; replies that are asked for meanwhile wait.

        Args:
            sides: A and B.
            wanted: what is asked, see core.serving.judge.Wanted.
            told: called with each step.

        Raises:
            PipeError: it failed; nothing was kept.
        """
        client = await self.client()
        loaded = {name: side.request() for name, side in sides.items()}
        self._loaded = {}
        async with aclosing(client.stream("judge", sides=loaded, wanted=wanted)) as frames:
            async for kind, value in frames:
                if kind == "chunk":
                    told(Step(**value))
        self._loaded = loaded

    async def on_unmount(self) -> None:
        if self._client is not None:
            await self._client.close()
        await self.keeping.close()
