"""What the chat keeps: whole chats, whatever ends the app; replies as training rows, and a better model of them."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core import recipe as recipes
from core.pipes import PipeError
from core.serving.chats import Chats
from core.serving.rows import RowError, append_row, training_row
from core.serving.targets import Target
from tests.tui.chatting import FakeClient, answered, ask, choose, enter_text, ready, say, screen_of
from tests.tui.driving import press, screen_text, shown, until
from tests.tui.made_deployments import make_deployment, served
from tui.app import FinetuiApp
from tui.screens import chat_replies
from tui.screens.chat_list import ChatList
from tui.screens.data import DataScreen
from tui.screens.train import TrainScreen
from tui.widgets.dialogs import ErrorDialog

WIDE = (160, 45)


def kept() -> list[str]:
    return [row.title for row in Chats().all()]


def told(pilot: Pilot[Any]) -> str:
    return "\n".join(notice.message for notice in pilot.app._notifications)


# kept chats


async def test_a_chat_is_gone_on_with_where_it_was_left(client: FakeClient, made: list[Target]) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await ready(pilot)
        await ask(pilot, "first [/foo]")
        await press(pilot, "x")
        await ask(pilot, "second")
    assert kept() == ["second", "first [/foo]"]
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        screen = await ready(pilot)
        await press(pilot, "a")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatList))
        await shown(pilot, "first [/foo]")
        await press(pilot, "j enter")
        await shown(pilot, "A answers first")
        await ask(pilot, "and on")
        assert [message["content"][:14] for message in client.asked[-1]["messages"]] == [
            "You are Fox.", "first [/foo]", "B answers firs", "and on",
        ]  # fmt: skip
        assert screen.settings.system == "You are Fox."
    assert kept() == ["first [/foo]", "second"]


async def test_chats_are_renamed_deleted_and_brought_back_in_the_list(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await ready(pilot)
        await ask(pilot, "one")
        await press(pilot, "a")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatList))
        await press(pilot, "e")
        await enter_text(pilot, "a better name")
        await shown(pilot, "a better name")
        await press(pilot, "x")
        await shown(pilot, "No chats are kept yet")
        assert kept() == []
        await press(pilot, "u")
        await shown(pilot, "a better name")
        assert kept() == ["a better name"]


async def test_a_chat_whose_model_is_gone_can_still_be_read(
    client: FakeClient, made: list[Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await ready(pilot)
        await ask(pilot, "one")
    made[:] = [made[0]]
    client.loads.clear()
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await shown(pilot, "A  newer @20")
        await press(pilot, "a")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatList))
        await press(pilot, "enter")
        await shown(pilot, "A answers one")
        await shown(pilot, "has no model yet.")
        await press(pilot, "i r")
        assert pilot.app.focused is not screen_of(pilot).message


async def test_what_was_said_is_kept_when_the_app_is_left_mid_reply(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await ready(pilot)
        client.gate.clear()
        await say(pilot, "hello")
        await shown(pilot, "writing")
    _, talk = Chats().read(Chats().all()[0].id)
    (turn,) = talk.path()
    assert (turn.text, turn.replies["A"].text, turn.replies["A"].ended) == ("hello", "A answ", "stopped")


async def test_a_reply_given_up_for_another_chat_is_kept_with_its_own(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await ready(pilot)
        client.gate.clear()
        await say(pilot, "hello")
        await shown(pilot, "writing")
        await press(pilot, "escape x")
        client.gate.set()
        await ask(pilot, "another")
    chats = {row.title: Chats().read(row.id)[1].path() for row in Chats().all()}
    assert chats["hello"][0].replies["A"].text == "A answ"
    assert chats["another"][0].replies["A"].text.startswith("A answers another")


async def test_a_store_that_can_t_be_written_is_told_and_the_chat_goes_on(
    client: FakeClient, made: list[Target]
) -> None:
    path = Chats().path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database " * 100)
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await shown(pilot, "A  done-one")
        await say(pilot, "hello")
        await shown(pilot, "The kept chats in")
        await shown(pilot, "B answers hello")
    assert path.read_bytes().startswith(b"no database")


async def test_a_reply_is_kept_while_it_is_written(
    client: FakeClient, made: list[Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_replies, "KEEP_S", 0.0)
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        screen = await ready(pilot)
        client.gate.clear()
        await say(pilot, "hello")
        await shown(pilot, "writing")
        _, talk = await screen.keeping.ask(lambda chats: chats.read(chats.all()[0].id))  # as after a kill
        assert talk.path()[0].replies["A"].text == "A answ"


# rows and improving


def test_a_row_teaches_its_last_reply_only(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "s"}, {"role": "user", "content": "a"},
        {"role": "assistant", "content": "bad"}, {"role": "user", "content": "b"},
    ]  # fmt: skip
    row = training_row(messages, "good")
    assert [item.get("weight") for item in row["messages"]] == [None, None, 0, None, None]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"messages": []}')  # its last line is torn off
    assert [append_row(path, row), append_row(path, row)] == [2, 3]
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"messages": []}, row, row]
    from core.data.rows import read_rows

    fresh = tmp_path / "fresh.jsonl"
    assert append_row(fresh, row) == 1
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o600
    (read,) = read_rows(fresh, None, "fresh.jsonl")  # the data room reads it as it was meant
    assert [message.weight for message in read.messages if message.role == "assistant"] == [0, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b'{"text": "x"}\n', b"[1]\n", b"\xff\xfe"])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(RowError) as refused:
        append_row(path, training_row([{"role": "user", "content": "a"}], "b"))
    assert refused.value.next_step and path.read_bytes() == content
    with pytest.raises(RowError):
        append_row(tmp_path, {})


async def test_a_reply_is_saved_as_it_is_or_corrected(
    client: FakeClient, made: list[Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited: list[str] = []

    def edit(_: object, text: str) -> str:
        edited.append(text)
        return "a corrected reply"

    monkeypatch.setattr("tui.external.edit", edit)
    path = tmp_path / "rows.jsonl"
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await ready(pilot)
        await ask(pilot, "one")
        await ask(pilot, "two")
        await press(pilot, "w")
        await choose(pilot, "B edit")
        await enter_text(pilot, str(path))
        await until(pilot, path.exists)
        await press(pilot, "w")
        await choose(pilot, "A")
        await until(pilot, lambda: path.read_bytes().count(b"\n") == 2)
        await until(
            pilot, lambda: any(f"row 2 written: {path}" in note.message for note in pilot.app._notifications)
        )
        path.write_text("something else\n")
        await press(pilot, "w")
        await choose(pilot, "A")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        assert path.read_text() == "something else\n"
    assert edited[0].startswith("B answers two")


async def test_saved_rows_are_opened_in_data_which_checks_them(
    client: FakeClient, made: list[Target], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    append_row(path, training_row([{"role": "user", "content": "a lamp?"}], "b"))
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        screen = await ready(pilot)
        screen.rows_file = path
        await press(pilot, "D")
        await until(pilot, lambda: isinstance(pilot.app.screen_stack[0], DataScreen))
        await shown(pilot, "a lamp?")


async def test_improve_opens_train_with_the_rows_and_the_model(
    client: FakeClient, made: list[Target], tmp_path: Path
) -> None:
    assert "init_from" in {item.name for item in recipes.fields()}
    path = tmp_path / "rows.jsonl"
    append_row(path, training_row([{"role": "user", "content": "a"}], "b"))
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        screen = await ready(pilot)
        await ask(pilot, "one")
        screen.rows_file = path
        await press(pilot, "t")
        await until(pilot, lambda: isinstance(pilot.app.screen_stack[0], TrainScreen))
        await until(pilot, lambda: "init from" in screen_text(pilot))
        line = next(line for line in screen_text(pilot).splitlines() if "init from" in line)
        assert "done-one" in line
        assert "smollm2-135m-instruct" in screen_text(pilot)
        train = pilot.app.screen_stack[0]
        assert isinstance(train, TrainScreen)


async def test_a_deployment_s_chat_improves_the_run_that_it_serves(
    client: FakeClient, made: list[Target], tmp_path: Path
) -> None:
    make_deployment("lan", models=(served("lan", run="done-one"), served("lan-base", "base", run="done-one")))
    path = tmp_path / "rows.jsonl"
    async with FinetuiApp(mode="chat", run="deployment:lan/lan").run_test(size=WIDE) as pilot:
        await shown(pilot, "A  lan at lan")
        screen = screen_of(pilot)
        await ask(pilot, "one")
        screen.rows_file = path
        await press(pilot, "w")
        await choose(pilot, "A")
        await until(pilot, lambda: "checks the rows, t trains on them" in told(pilot))
        await press(pilot, "t")
        await until(pilot, lambda: isinstance(pilot.app.screen_stack[0], TrainScreen))
        await until(pilot, lambda: "init from" in screen_text(pilot))
        assert "done-one" in next(line for line in screen_text(pilot).splitlines() if "init from" in line)


async def test_keys_that_do_nothing_in_a_deployment_s_chat_say_why(
    client: FakeClient, made: list[Target], tmp_path: Path
) -> None:
    make_deployment("lan", models=(served("lan", "base", run="done-one"),))
    async with FinetuiApp(mode="chat", run="deployment:lan/lan").run_test(size=WIDE) as pilot:
        await shown(pilot, "A  lan at lan")
        screen = screen_of(pilot)
        await press(pilot, "escape w")
        await until(pilot, lambda: "Nothing was said yet" in told(pilot))
        client.fails = PipeError("lan refuses (400).", "The prompt was blocked.", "Read its answer.")
        client.gate.clear()
        await say(pilot, "poison")
        await press(pilot, "escape")
        client.gate.set()
        await answered(pilot)
        screen.talk.path()[0].replies["A"].text = ""
        await press(pilot, "d w t")
        for why in ("here is one", "no reply in this turn", "no side here is one"):
            assert why in told(pilot)
        screen.rows_file = tmp_path / "rows.jsonl"
        await ask(pilot, "two")
        await press(pilot, "w")
        await choose(pilot, "A")
        await until(pilot, lambda: "D checks the rows" in told(pilot))
        assert "t trains on them" not in told(pilot)
