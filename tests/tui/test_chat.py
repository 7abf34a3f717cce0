"""The chat: two sides, streamed; what each key does; what happens when the worker fails."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core.events import Finished
from core.pipes import PipeError
from core.serving.targets import Target
from tests.core.serving.conftest import adapter, tiny_model  # noqa: F401 - fixtures
from tests.tui.chatting import FakeClient, answered, say, screen_of
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_runs import T0, make_run, story, write
from tui import conversation as talk
from tui.app import FinetuiApp
from tui.conversation import Settings
from tui.widgets.chatsettings import ChatSettings
from tui.widgets.dialogs import Ask, Choose

# words


def test_settings_are_said_in_words() -> None:
    assert talk.Settings().words() == "temperature 0 (greedy)  at most 256 tokens  no system prompt"
    words = talk.Settings(temperature=0.7, top_p=0.9, system="You are\n\x1b[31m Fox").words()
    assert "temperature 0.7  top-p 0.9  seed 42" in words and "system: You are ␛[31m Fox" in words


# the screen


async def test_the_app_can_be_opened_on_a_chat_with_a_run(client: FakeClient, made: list[Target]) -> None:
    app = FinetuiApp(mode="chat", run=made[0].run_id)
    async with app.run_test(size=(100, 30)) as pilot:
        await shown(pilot, f"A  {made[0].title}")
        assert type(app.screen_stack[0]).__name__ == "ChatScreen"


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_both_sides_answer_with_their_figures(
    client: FakeClient, made: list[Target], size: tuple[int, int]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=size) as pilot:
        await shown(pilot, "A  done-one")  # the finished run is taken, not the newer checkpoint
        adapter = str(made[1].adapter)
        assert client.loads == [
            {
                "A": {"model_folder": "/m", "adapter": adapter, "renderer": adapter},
                "B": {"model_folder": "/m", "adapter": None, "renderer": adapter},
            }
        ]
        await say(pilot, "hello")
        await answered(pilot)
        await shown(pilot, "A answers hello [/foo] ␛[31m")
        await shown(pilot, "96 ms · 41.2 tok/s · 1 234 tokens")
        assert ("B answers hello" in screen_text(pilot)) == (size[0] >= 100)
        await press(pilot, "escape tab")
        await shown(pilot, "B answers hello")
        assert [item["side"] for item in client.asked] == ["A", "B"]
        assert client.asked[0]["messages"] == [
            {"role": "system", "content": "You are Fox."},
            {"role": "user", "content": "hello"},
        ]
        await say(pilot, "and now")
        await answered(pilot)
        assert [message["role"] for message in client.asked[-1]["messages"]] == [
            "system", "user", "assistant", "user",
        ]  # fmt: skip
        assert client.asked[-1]["messages"][2]["content"].startswith("B answers hello")
    assert client.closed


async def test_a_reply_is_streamed_and_can_be_stopped(client: FakeClient, made: list[Target]) -> None:
    async with FinetuiApp(mode="chat").run_test(size=(160, 45)) as pilot:
        await shown(pilot, "A  done-one")
        await until(pilot, lambda: not screen_of(pilot).busy)
        client.gate.clear()
        await say(pilot, "hello")
        await shown(pilot, "writing")
        await shown(pilot, "A writes; s stops it")
        await press(pilot, "escape s")
        await shown(pilot, "B writes; s stops it")  # only the one that was being written ends
        await press(pilot, "s")
        await until(pilot, lambda: not screen_of(pilot).busy)
        await press(pilot, "b b")  # the base is not asked now what was given up
        assert client.cancelled == 2 and len(client.asked) == 2
        assert screen_text(pilot).count("stopped") == 2
        client.gate.set()
        await press(pilot, "r")  # again: both sides anew
        await answered(pilot)
        await until(pilot, lambda: len(client.asked) == 4)
        await shown(pilot, "B answers hello")
        assert "stopped" not in screen_text(pilot)


async def test_a_message_sent_meanwhile_waits_its_turn(client: FakeClient, made: list[Target]) -> None:
    async with FinetuiApp(mode="chat").run_test(size=(160, 45)) as pilot:
        await shown(pilot, "A  done-one")
        client.gate.clear()
        await say(pilot, "first")
        await say(pilot, "second")
        client.gate.set()
        await until(pilot, lambda: len(client.asked) == 4)
        await answered(pilot)
        said = [(item["side"], item["messages"][-1]["content"]) for item in client.asked]
        assert said == [(side, text) for text in ("first", "second") for side in ("A", "B")]


async def test_without_the_base_only_the_tuned_side_answers_until_it_is_back(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=(160, 45)) as pilot:
        await shown(pilot, "A  done-one")
        await until(pilot, lambda: not screen_of(pilot).busy)
        await press(pilot, "b")
        await until(pilot, lambda: "(untuned)" not in screen_text(pilot))
        await say(pilot, "hello")
        await answered(pilot)
        assert [item["side"] for item in client.asked] == ["A"]
        await press(pilot, "escape b")
        await shown(pilot, "B answers hello")


async def test_settings_are_checked_and_used(client: FakeClient, made: list[Target]) -> None:
    async with FinetuiApp(mode="chat").run_test(size=(100, 30)) as pilot:
        await shown(pilot, "temperature 0 (greedy)")
        await press(pilot, "o")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatSettings))
        await type_text(pilot, "7")
        await press(pilot, "enter")
        await shown(pilot, "'7' won't do. temperature")
        await type_text(pilot, "0.7")
        await press(pilot, "down")
        await type_text(pilot, "0.9")
        await press(pilot, "enter")
        await shown(pilot, "temperature 0.7  top-p 0.9  seed 42")
        await say(pilot, "hello")
        await answered(pilot)
        assert client.asked[0]["temperature"] == 0.7 and client.asked[0]["top_p"] == 0.9
        assert client.asked[0]["messages"][0] == {"role": "system", "content": "You are Fox."}


async def test_tab_goes_from_setting_to_setting_and_what_is_not_touched_stays(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=(100, 30)) as pilot:
        await shown(pilot, "temperature 0 (greedy)")
        before = Settings(temperature=0.5, top_p=0.25, seed=1234567890123)
        screen_of(pilot).changed_settings(before)
        await press(pilot, "o")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatSettings))
        await press(pilot, "tab tab")
        await type_text(pilot, "17")  # in place of what is there
        await press(pilot, "enter")
        await shown(pilot, "at most 17 tokens")
        assert screen_of(pilot).settings == replace(before, max_tokens=17)


async def test_another_run_is_loaded_in_place_of_the_first(client: FakeClient, made: list[Target]) -> None:
    async with FinetuiApp(mode="chat").run_test(size=(100, 30)) as pilot:
        await shown(pilot, "A  done-one")
        await until(pilot, lambda: not screen_of(pilot).busy)
        await press(pilot, "m")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await press(pilot, "k enter")
        await shown(pilot, "A  newer @20")
        await until(pilot, lambda: len(client.loads) == 2)
        await shown(pilot, "from a wheel")


async def test_a_run_without_a_model_is_an_error_in_place(client: FakeClient, made: list[Target]) -> None:
    app = FinetuiApp(mode="runs")
    async with app.run_test(size=(100, 30)) as pilot:
        app.chat_with("paused-one")
        await shown(pilot, "paused-one has no model yet.")
        await shown(pilot, "Next   Wait for its first checkpoint.")
        assert client.loads == []


async def test_with_nobody_to_talk_to_it_names_the_keys() -> None:
    async with FinetuiApp(mode="chat").run_test(size=(80, 24)) as pilot:
        await shown(pilot, "Nobody to talk to yet.")
        await press(pilot, "i b r o s x e y w tab")
        assert "Nobody to talk to yet." in screen_text(pilot)


async def test_a_dead_worker_is_said_in_place_and_loaded_anew(client: FakeClient, made: list[Target]) -> None:
    async with FinetuiApp(mode="chat").run_test(size=(100, 30)) as pilot:
        await shown(pilot, "A  done-one")
        await until(pilot, lambda: not screen_of(pilot).busy)
        client.fails = PipeError("The helper process ended.", "Its last words are [/foo].", "Try again.")
        await say(pilot, "hello")
        await shown(pilot, "The helper process ended.")
        await shown(pilot, "Cause  Its last words are [/foo].")
        await shown(pilot, "Next   Try again.")
        await press(pilot, "escape r")
        await answered(pilot)
        await shown(pilot, "A answers hello")
        assert len(client.loads) == 2 and "helper process ended" not in screen_text(pilot)


async def test_copy_write_and_clear(client: FakeClient, made: list[Target], tmp_path: Path) -> None:
    app = FinetuiApp(mode="chat")
    async with app.run_test(size=(100, 30)) as pilot:
        await shown(pilot, "A  done-one")
        await say(pilot, "hello")
        await answered(pilot)
        await press(pilot, "escape y")
        assert app.clipboard.startswith("A answers hello")
        await press(pilot, "tab y")
        assert app.clipboard.startswith("B answers hello")
        await press(pilot, "W")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, str(tmp_path / "chat.txt"))
        await press(pilot, "enter")
        await until(pilot, (tmp_path / "chat.txt").exists)
        text = (tmp_path / "chat.txt").read_text()
        assert "you:\nhello" in text and "B answers hello" in text and "A  done-one (96 ms" in text
        await press(pilot, "x")
        await until(pilot, lambda: "answers hello" not in screen_text(pilot))
        await shown(pilot, "Type a message: i or enter.")


async def test_a_message_from_the_editor_is_sent_with_its_lines(
    client: FakeClient, made: list[Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.external.edit", lambda app, text: "line one\nline two")
    async with FinetuiApp(mode="chat").run_test(size=(100, 30)) as pilot:
        await shown(pilot, "A  done-one")
        await until(pilot, lambda: not screen_of(pilot).busy)
        await press(pilot, "e")
        await answered(pilot)
        assert client.asked[0]["messages"][-1]["content"] == "line one\nline two"
        await shown(pilot, "line two")


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
def test_pictures(client: FakeClient, made: list[Target], snap_compare: Any, size: tuple[int, int]) -> None:
    async def ready(pilot: Pilot[Any]) -> None:
        await shown(pilot, "A  done-one")
        await until(pilot, lambda: not screen_of(pilot).busy)
        await say(pilot, "I was charged twice, order 8841.")
        await answered(pilot)
        await press(pilot, "escape")
        await shown(pilot, "41.2 tok/s")

    assert snap_compare(FinetuiApp(mode="chat"), terminal_size=size, run_before=ready)


@pytest.mark.slow
async def test_with_the_real_worker_the_sides_differ(tiny_model: Path, adapter: Path) -> None:  # noqa: F811
    """A tiny model in a real process: both sides stream, and the adapter makes the difference."""
    run = make_run("tiny")
    write(run, [*story(40, 40), Finished(time=T0 + 99, step=40, model="model")])
    shutil.copytree(adapter, run.model_dir)
    record = {"folder": str(tiny_model), "note": "", "revision": "", "source": "folder"}
    (run.path / "model.json").write_text(json.dumps(record))
    async with FinetuiApp(mode="chat").run_test(size=(160, 45)) as pilot:
        await shown(pilot, "A  tiny")
        for _ in range(12):  # torch takes its time to start
            with contextlib.suppress(AssertionError):
                await until(pilot, lambda: not screen_of(pilot).busy)
                break
        await say(pilot, "the lamp glows")
        await answered(pilot)
        (turn,) = screen_of(pilot).talk.path()
        tuned, base = turn.replies["A"], turn.replies["B"]
        assert tuned.text != base.text and tuned.tokens and base.tokens_per_s
        assert {tuned.ended, base.ended} <= {"turn end", "length"}
        await shown(pilot, "on cpu, loaded in")
