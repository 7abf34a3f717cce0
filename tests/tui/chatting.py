"""A chat without models, for tests: a worker's pipe that answers at once, and two runs that can be talked to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from core.pipes import PipeError
from core.serving import endpoint, targets
from core.serving.judgements import keep
from core.serving.targets import Side, Target, TargetError
from tests.tui.driving import press, shown, type_text, until
from tests.tui.made_runs import make_run, some_runs, story, write
from tui.screens import chat_replies
from tui.screens.chat import ChatScreen
from tui.widgets.dialogs import Ask, Choose


class FakeClient:
    """The chat worker's pipe without a worker: each reply says which side and message it answers.

    Attributes:
        gate: replies wait in their middle until it is set.
        fails: raised by the next reply.
        marks: put before each reply.
        unmarked: replies don't say whose they are.
        cost: of each reply.
        judgement: what a judging keeps, with the run `done-one`.
    """

    def __init__(self) -> None:
        self.loads: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails: PipeError | None = None
        self.marks = ""
        self.unmarked = False
        self.cost: float | None = None
        self.judged: list[dict[str, Any]] = []
        self.judgement: dict[str, Any] = {}
        self.cancelled = 0
        self.closed = False

    async def stream(self, op: str, **arguments: Any) -> AsyncIterator[tuple[str, Any]]:
        if op == "load":
            self.loads.append(arguments["sides"])
            yield "chunk", {"phase": "loading the model"}
            yield "result", {"device": "cpu", "seconds": 6.2}
            return
        if op == "judge":
            async for frame in self._judge(arguments):
                yield frame
            return
        self.asked.append(arguments)
        who = "it" if self.unmarked else arguments["side"]
        words = f"{self.marks}{who} answers {arguments['messages'][-1]['content']} [/foo] \x1b[31m"
        try:
            yield "chunk", {"text": words[:6]}
            await self.gate.wait()
            if self.fails is not None:
                error, self.fails = self.fails, None
                raise error
            yield "chunk", {"text": words[6:]}
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled += 1
            raise
        yield (
            "result",
            {
                "text": words,
                "tokens": 1234,
                "seconds": 3.0,
                "tokens_per_s": 41.25,
                "first_token_ms": 96.0,
                "cost_usd": self.cost,
                "ended": "turn end",
            },
        )

    async def _judge(self, arguments: dict[str, Any]) -> AsyncIterator[tuple[str, Any]]:
        self.judged.append(arguments)
        yield "chunk", {"phase": "asking A and B", "done": 16, "total": 40}
        try:
            await self.gate.wait()
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled += 1
            raise
        if self.fails is not None:
            raise self.fails
        keep(self.judgement, Path(arguments["wanted"]["run"]))
        yield "result", self.judgement

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    monkeypatch.setattr(chat_replies, "make_client", lambda: fake)
    return fake


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """Two runs that can be talked to: a newer one with a checkpoint only, and a finished one."""
    some_runs()
    newer = make_run("newer")
    write(newer, story(40, 25))
    model = newer.path.parent / "done-one/model"
    every = [
        Target(
            "newer", "newer @20", Path("/m"), newer.path / "checkpoints/step-20", "You are Fox.", "from a wheel"
        ),
        Target("done-one", "done-one", Path("/m"), model, "You are Fox.", ""),
    ]  # fmt: skip

    def side(ref: str) -> Side:
        if endpoint.is_endpoint(ref):
            return endpoint.parse(ref)
        for item in every:
            if item.run_id == ref:
                return item
            if item.base_spec == ref:
                return replace(
                    item, title="smollm2 (untuned)", adapter=None, which="base", renderer=item.adapter
                )
        raise TargetError(f"{ref} has no model yet.", "It is queued.", "Wait for its first checkpoint.")

    monkeypatch.setattr(targets, "targets", lambda: every)
    monkeypatch.setattr(targets, "choices", lambda: [*every, *(side(item.base_spec) for item in every)])
    monkeypatch.setattr(targets, "side", side)
    return every


def screen_of(pilot: Pilot[Any]) -> ChatScreen:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, ChatScreen)
    return screen


async def say(pilot: Pilot[Any], text: str) -> None:
    """Type a message and send it."""
    await press(pilot, "i")
    await until(pilot, lambda: isinstance(pilot.app.focused, Input))
    await type_text(pilot, text)
    await press(pilot, "enter")


async def answered(pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: not screen_of(pilot).busy and screen_of(pilot).talk.turns)


async def ready(pilot: Pilot[Any]) -> ChatScreen:
    await shown(pilot, "A  done-one")
    screen = screen_of(pilot)
    await until(pilot, lambda: not screen.busy)
    return screen


async def ask(pilot: Pilot[Any], text: str) -> None:
    """Say something and leave the field when it is answered."""
    await say(pilot, text)
    await answered(pilot)
    await press(pilot, "escape")


async def choose(pilot: Pilot[Any], option: str) -> None:
    """Choose an option of the dialog by its id."""
    await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
    dialog = pilot.app.screen
    assert isinstance(dialog, Choose)
    dialog.dismiss(option)
    await pilot.pause()


async def enter_text(pilot: Pilot[Any], text: str) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
    await type_text(pilot, text)
    await press(pilot, "enter")
