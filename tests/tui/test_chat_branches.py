"""Branches, blind votes, and sides of every kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from textual.pilot import Pilot

from core.pipes import PipeError
from core.serving.chats import Chats
from core.serving.talk import SIDES, Reply
from core.serving.targets import Target
from tests.tui.chatting import FakeClient, answered, ask, choose, enter_text, ready, say, screen_of
from tests.tui.driving import press, screen_text, shown, until
from tui.app import FinetuiApp
from tui.conversation import Settings, figures, stops_in_words
from tui.widgets.chatsettings import ChatSettings, stops_of
from tui.widgets.dialogs import Choose

URL = "https://api.example/v1#big,key=MY_KEY,in=1,out=2"
WIDE = (160, 45)


# words


@pytest.mark.parametrize("stops", [(), ("END",), ("\n\n", "a|b", "x\\n"), ("a b", "\\")])
def test_stop_strings_are_read_as_they_are_written(stops: tuple[str, ...]) -> None:
    assert stops_of(stops_in_words(stops).replace("␊", "\n")) == stops


def test_what_is_not_known_of_a_reply_is_said_to_be_unknown() -> None:
    far = Reply("x", None, None, None, 20.0, None, "turn end")
    assert figures(far, billed=True) == "20 ms · speed unknown · tokens unknown · cost unknown"
    priced = Reply("x", 3, 11, 40.0, 20.0, 0.000017, "blocked")
    assert figures(priced, billed=True) == "20 ms · 40.0 tok/s · 3 tokens · 0.000017 USD (blocked)"
    assert figures(Reply("x", 3, 11, 40.0, 20.0, None, "length")) == "20 ms · 40.0 tok/s · 3 tokens (cut)"


def test_settings_are_kept_whole_and_older_ones_open() -> None:
    here = Settings(0.5, 0.9, 64, 7, "sys", ("END",))
    assert Settings.of(json.loads(json.dumps(vars(here)))) == here
    assert Settings.of({"seed": 3, "of_a_later_version": 1}) == Settings(seed=3)
    assert here.sampling(0) == {
        "temperature": 0.5, "top_p": 0.9, "max_tokens": 64, "seed": 7, "stop": ("END",)
    }  # fmt: skip


# branches


async def test_asking_again_keeps_the_earlier_replies_as_a_branch(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        screen = await ready(pilot)
        await ask(pilot, "one")
        await ask(pilot, "two")
        client.marks = "anew "
        await press(pilot, "r")
        await answered(pilot)
        await shown(pilot, "branch 2 of 2")
        await shown(pilot, "anew A answers two")
        assert [item["seed"] for item in client.asked] == [42, 42, 42, 42, 43, 43]
        assert [turn.number for turn in screen.talk.path()] == [1, 3]
        await press(pilot, "left_square_bracket")
        await shown(pilot, "branch 1 of 2")
        assert "anew" not in screen_text(pilot)
        assert [turn.number for turn in screen.talk.path()] == [1, 2]
        await press(pilot, "right_square_bracket")
        await shown(pilot, "anew A answers two")
    _, talk = Chats().read(Chats().all()[0].id)
    assert [turn.number for turn in talk.path()] == [1, 3] and len(talk.turns) == 3
    assert talk.turns[2].replies["A"].text.startswith("A answers two")


async def test_an_earlier_message_is_changed_on_a_branch_of_its_own(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        screen = await ready(pilot)
        for text in ("one", "two", "three"):
            await ask(pilot, text)
        await press(pilot, "N N")
        await shown(pilot, "▸ you")
        assert screen.turn is screen.talk.path()[0]
        await press(pilot, "c")
        await enter_text(pilot, "uno")
        await answered(pilot)
        await shown(pilot, "A answers uno")
        assert [turn.text for turn in screen.talk.path()] == ["uno"]
        assert [item["content"] for item in client.asked[-1]["messages"]] == ["You are Fox.", "uno"]
        await press(pilot, "left_square_bracket")
        await shown(pilot, "A answers three")  # with all that came after it
        assert "uno" not in screen_text(pilot)


async def test_replies_are_laid_out_or_shown_as_they_are(client: FakeClient, made: list[Target]) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await ready(pilot)
        client.marks = "# Title\n\n- **bold** [x](https://evil.example)\n\n"
        await ask(pilot, "one")
        await shown(pilot, "• bold x (https://evil.example)")
        assert "**" not in screen_text(pilot)
        await press(pilot, "f")
        await shown(pilot, "- **bold** [x](https://evil.example)")
        await shown(pilot, "# Title")


# votes


async def test_a_blind_vote_hides_who_says_what_until_it_is_cast(
    client: FakeClient, made: list[Target]
) -> None:
    lefts = []
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        screen = await ready(pilot)
        client.unmarked = True
        await press(pilot, "v")
        await shown(pilot, "left, hidden")
        for number in range(6):
            await ask(pilot, f"question {number}")
            turn = screen.talk.path()[-1]
            lefts.append(turn.left)
            assert turn.hidden
            await shown(pilot, "Which is better?")
            panes = [line for line in screen_text(pilot).splitlines()[1:-3] if f"question {number}" in line]
            assert panes
            hidden = screen_text(pilot).split(f"question {number}")[-1]
            assert "done-one" not in hidden.split("\n", 1)[1].split("╰")[0]
            assert "tok/s" not in hidden.split("\n", 1)[1].split("╰")[0]
            await press(pilot, "h" if number % 2 else "equals_sign")
            await until(pilot, lambda: not screen.talk.path()[-1].hidden)
            assert screen.talk.path()[-1].vote == (lefts[-1] if number % 2 else "tie")
        asked = [item["side"] for item in client.asked]
        assert [asked[2 * place] for place in range(6)] == lefts  # the left one is written first
        assert set(lefts) == set(SIDES)
        await shown(pilot, "3 ties")
        won = {side: sum(lefts[place] == side for place in (1, 3, 5)) for side in SIDES}
        assert f"A {won['A']}, B {won['B']}, 3 ties" in screen_text(pilot)
        await press(pilot, "h")  # once only
        assert screen.talk.path()[-1].vote == lefts[5]
    assert Chats().tally("done-one", "done-one@base") == type(screen.tally)(won["A"], won["B"], 3)


async def test_leaving_the_vote_shows_what_was_hidden_and_that_can_t_be_voted_on(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        screen = await ready(pilot)
        await press(pilot, "v")
        await ask(pilot, "one")
        await press(pilot, "v")
        await shown(pilot, "41.2 tok/s")
        await press(pilot, "v h")
        assert screen.talk.path()[0].vote == "" and screen.talk.path()[0].left == ""
    assert Chats().read(Chats().all()[0].id)[1].path()[0].left == ""


async def test_showing_one_side_ends_the_vote_and_says_so(client: FakeClient, made: list[Target]) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        screen = await ready(pilot)
        await press(pilot, "v")
        await ask(pilot, "one")
        await press(pilot, "b")
        assert not screen.blind
        assert any("No vote any more" in notice.message for notice in pilot.app._notifications)


async def test_an_empty_chat_says_how_to_type_from_where_the_focus_is(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await ready(pilot)
        await shown(pilot, "Type a message: i or enter.")
        await press(pilot, "i")
        await shown(pilot, "Type a message below; enter sends it.")
        assert "i or enter" not in screen_text(pilot)
        await press(pilot, "escape")
        await shown(pilot, "Type a message: i or enter.")


# sides


async def test_an_address_is_talked_to_beside_a_run_and_its_cost_is_shown(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        screen = await ready(pilot)
        await press(pilot, "tab m")
        await choose(pilot, " other")
        await enter_text(pilot, URL)
        await shown(pilot, "B  big at api.example")
        await until(pilot, lambda: len(client.loads) == 2)
        assert client.loads[-1]["B"] == {"endpoint": URL}
        assert client.loads[-1]["A"]["adapter"] == str(made[1].adapter)
        client.cost = 0.000345
        await ask(pilot, "hello")
        await shown(pilot, "0.00034 USD")
        assert screen.titles["B"] == "big at api.example"
        await press(pilot, "tab m")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await shown(pilot, "used before")
        await press(pilot, "escape")
    assert Chats().all()[0].b == URL


async def test_an_endpoint_that_is_written_wrongly_is_told_in_place(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await ready(pilot)
        await press(pilot, "m")
        await choose(pilot, " other")
        await enter_text(pilot, "https://api.example/v1")
        await shown(pilot, "names no model")
        assert screen_of(pilot).titles["A"] == "done-one"


async def test_two_sides_of_a_command_are_both_taken_and_an_endpoint_stands_alone(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat", run="newer", beside=URL).run_test(size=WIDE) as pilot:
        await shown(pilot, "B  big at api.example")
        await shown(pilot, "A  newer @20")
    async with FinetuiApp(mode="chat", run=URL).run_test(size=WIDE) as pilot:
        await shown(pilot, "A  big at api.example")
        await say(pilot, "hello")
        await answered(pilot)
        assert client.loads[-1] == {"A": {"endpoint": URL}}
        assert [item["side"] for item in client.asked] == ["A"]
        assert "tok/s" in screen_text(pilot) and "cost unknown" in screen_text(pilot)


async def test_a_side_that_fails_is_told_and_is_not_asked_for_ever(
    client: FakeClient, made: list[Target]
) -> None:
    async with FinetuiApp(mode="chat").run_test(size=WIDE) as pilot:
        await ready(pilot)
        client.fails = PipeError("big refuses (401).", "No key.", "Check the key.")
        await say(pilot, "hello")
        await shown(pilot, "big refuses (401).")
        await ask(pilot, "again")
        said = [(item["side"], item["messages"][-1]["content"]) for item in client.asked]
        assert said == [("A", "hello"), ("A", "again"), ("B", "again")]


async def test_stops_and_seed_go_to_both_sides(client: FakeClient, made: list[Target]) -> None:
    async with FinetuiApp(mode="chat").run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await press(pilot, "o")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatSettings))
        pilot.app.screen.query_one("#set-stop").value = "END | \\n\\n"  # type: ignore[attr-defined]
        await press(pilot, "enter")
        await shown(pilot, "stops at END")
        await ask(pilot, "hello")
        assert [(item["side"], item["stop"], item["seed"]) for item in client.asked] == [
            (side, ("END", "\n\n"), 42) for side in SIDES
        ]
        await press(pilot, "o")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatSettings))
        pilot.app.screen.query_one("#set-stop").value = "a|b|c|d|e"  # type: ignore[attr-defined]
        await press(pilot, "enter")
        await shown(pilot, "At most 4 stop strings are taken.")


# pictures


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=["80x24", "160x45"])
@pytest.mark.parametrize("voted", [False, True], ids=["hidden", "voted"])
def test_picture_of_a_vote(
    client: FakeClient, made: list[Target], snap_compare: Any, size: tuple[int, int], voted: bool
) -> None:
    async def run(pilot: Pilot[Any]) -> None:
        screen = await ready(pilot)
        client.unmarked = True
        client.marks = (
            "**Sorry** for the double charge:\n\n1. One was `reversed`.\n2. It takes *three* days.\n\n"
        )
        await press(pilot, "v")
        await ask(pilot, "I was charged twice, order 8841.")
        await shown(pilot, "Which is better?")
        if voted:
            await press(pilot, "l")
            await shown(pilot, "41.2 tok/s")
            await until(pilot, lambda: "0 ties" in screen.context)
        for note in list(screen.app._notifications):
            screen.app._unnotify(note)
        screen.app.clear_notifications()
        await pilot.pause()

    assert snap_compare(FinetuiApp(mode="chat"), terminal_size=size, run_before=run)
