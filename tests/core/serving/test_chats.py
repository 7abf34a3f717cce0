"""Chats as trees, and as they are kept: nothing that was said is lost, whatever ends the app."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import paths
from core.serving import chats as store
from core.serving.chats import ChatError, Chats, Tally, new_id, title_of
from core.serving.talk import SIDES, Reply, Talk, Turn, shuffled


def said(text: str) -> Reply:
    return Reply(text, tokens=3, tokens_per_s=1.5, first_token_ms=9.0, ended="turn end")


def answer(turn: Turn, mark: str = "") -> Turn:
    turn.replies = {side: said(f"{side.lower()}{turn.number}{mark}") for side in SIDES}
    return turn


def contents(talk: Talk, side: str, turn: Turn) -> list[str]:
    return [message["content"] for message in talk.messages(side, turn, "sys")]


# the tree


def test_each_side_goes_on_from_its_own_replies() -> None:
    talk = Talk()
    answer(talk.say("one"))
    second = talk.say("two")
    second.replies["A"] = said("a2")
    third = talk.say("three")
    assert contents(talk, "A", third) == ["sys", "one", "a1", "two", "a2", "three"]
    assert contents(talk, "B", third) == ["sys", "one", "b1", "three"]
    assert talk.waiting(("A",)) == (third, "A")
    assert talk.waiting(SIDES) == (second, "B")


def test_asking_again_and_changing_a_message_keep_what_was_there() -> None:
    talk = Talk()
    first = answer(talk.say("one"))
    second = answer(talk.say("two"))
    again = answer(talk.instead(second, "two"))
    assert [turn.number for turn in talk.path()] == [1, again.number]
    changed = answer(talk.instead(first, "ONE"))
    assert talk.path() == [changed]
    later = talk.say("after")
    assert contents(talk, "A", later) == ["sys", "ONE", f"a{changed.number}", "after"]
    assert talk.siblings(second) == [second, again]
    assert talk.move(changed, -1) is first
    assert talk.path() == [first, again]  # with the branch that was shown after it
    assert talk.move(again, -1) is second and talk.path() == [first, second]
    assert talk.move(second, -1) is second  # at its end
    assert talk.move(first, 5) is changed and talk.path() == [changed, later]
    assert len(talk.turns) == 5


def test_what_is_given_up_is_not_waited_for() -> None:
    talk = Talk()
    first = talk.say("one")
    first.replies["A"] = Reply("half")
    assert talk.give_up() == [(first, "A"), (first, "B")]
    assert talk.waiting(SIDES) is None
    assert first.replies["A"].text == "half" and first.replies["A"].ended == "stopped"
    assert not first.answered


def test_a_blind_turn_is_shuffled_by_the_seed_and_hidden_until_the_vote() -> None:
    lefts = [shuffled(7, number) for number in range(2000)]
    assert lefts == [shuffled(7, number) for number in range(2000)]
    assert abs(lefts.count("A") - 1000) < 100  # 4.5 standard deviations
    assert lefts != [shuffled(8, number) for number in range(2000)]
    same = sum(one == other for one, other in zip(lefts, lefts[1:], strict=False))
    assert abs(same - 1000) < 100  # nor does one turn tell of the next
    talk = Talk()
    turn = talk.say("one", blind_seed=7)
    assert turn.hidden and turn.left == shuffled(7, 1)
    assert {turn.shown("left"), turn.shown("right")} == set(SIDES) and turn.shown("left") == turn.left
    assert talk.waiting(SIDES) == (turn, turn.left)  # or the order of writing would tell
    turn.vote = "tie"
    assert not turn.hidden
    assert Turn(1, 0, "x").shown("left") == "A"


# the store


@pytest.fixture
def chats() -> Chats:
    return Chats()


def keep(chats: Chats, chat: str, talk: Talk, a: str = "run-1", b: str = "run-1@base") -> None:
    chats.begin(chat, "first [/foo] \x1b[31m", a, b, {"seed": 7})
    for turn in talk.turns.values():
        chats.put_turn(chat, turn)
        for side, reply in turn.replies.items():
            chats.put_reply(chat, turn.number, side, reply)


def test_a_chat_is_read_as_it_was_kept(chats: Chats) -> None:
    talk = Talk()
    first = answer(talk.say("one\n\x1b é", blind_seed=3))
    first.vote = "B"
    second = answer(talk.say("two"))
    answer(talk.instead(second, "two"))
    keep(chats, "c", talk)
    talk.move(second, -1)
    chats.choose("c", talk.path()[-1])
    row, found = chats.read("c")
    assert (found.turns, found.chosen) == (talk.turns, talk.chosen)
    assert (row.a, row.b, row.settings, row.turns) == ("run-1", "run-1@base", {"seed": 7}, 3)
    assert row.title == "first [/foo] \x1b[31m"
    assert chats.path == paths.data_dir() / "chats" / "chats.db"
    assert stat.S_IMODE(chats.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(chats.path.parent.stat().st_mode) == 0o700


def test_chats_are_listed_renamed_deleted_and_brought_back(
    chats: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        talk = Talk()
        answer(talk.say(name))
        keep(chats, name, talk)
    chats.put_reply("one", 1, "A", said("later"))
    assert [row.id for row in chats.all()] == ["one", "three", "two"]
    chats.rename("two", "  a\nb " + "x" * 99)
    assert next(row.title for row in chats.all() if row.id == "two") == title_of("a b " + "x" * 99)
    chats.delete("two")
    assert [row.id for row in chats.all(trash=True)] == ["two"]
    with pytest.raises(ChatError, match="no chat 'two'"):
        chats.read("two")
    chats.restore("two")
    assert chats.read("two")[1].path()[0].text == "two"
    chats.delete("two")
    now = time.time()
    monkeypatch.setattr(store.time, "time", lambda: now + 31 * 24 * 3600)
    chats.delete("one")
    assert [row.id for row in chats.all(trash=True)] == ["one"]
    with sqlite3.connect(chats.path) as database:
        assert database.execute("SELECT COUNT(*) FROM replies WHERE chat = 'two'").fetchone() == (0,)


def test_going_on_with_a_deleted_chat_brings_it_back(chats: Chats) -> None:
    talk = Talk()
    turn = answer(talk.say("one"))
    keep(chats, "c", talk)
    chats.delete("c")
    with pytest.raises(ChatError, match="c is in the trash"):
        chats.find("c")
    chats.put_turn("c", talk.say("two"))
    assert chats.read("c")[1].turns[2].text == "two" and chats.all(trash=True) == []
    chats.delete("c")
    chats.put_reply("c", turn.number, "A", said("more"))
    assert [row.id for row in chats.all()] == ["c"]


def test_votes_are_counted_for_a_pair_whichever_was_a(chats: Chats) -> None:
    for number, (a, b, votes) in enumerate(
        [("x", "y", ["A", "A", "tie"]), ("y", "x", ["A", "B", "B"]), ("x", "z", ["A"])]
    ):
        talk = Talk()
        for vote in votes:
            answer(talk.say("q", blind_seed=1)).vote = vote
        keep(chats, f"c{number}", talk, a, b)
    assert chats.tally("x", "y") == Tally(4, 1, 1)
    assert chats.tally("y", "x") == Tally(1, 4, 1)
    chats.delete("c0")
    assert chats.tally("x", "y") == Tally(2, 1, 0)
    assert chats.tally("p", "q") == Tally()


def test_the_newest_judgements_of_a_pair_are_kept(chats: Chats) -> None:
    for number in range(store.MOST_JUDGEMENTS + 3):
        chats.put_judgement({"A": {"spec": "x"}, "B": {"spec": "y"}, "number": number})
    chats.put_judgement({"A": {"spec": "y"}, "B": {"spec": "x"}, "number": -1})
    found = [item["number"] for item in chats.judgements("x", "y")]
    assert found == list(range(12, 2, -1))


@pytest.fixture
def writer(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes a reply piece by piece until it is killed."""
    code = """
from core.serving.chats import Chats
from core.serving.talk import Reply, Talk
chats, talk = Chats(), Talk()
turn = talk.say("hello")
chats.begin("c", "hello", "run-1", "", {})
chats.put_turn("c", turn)
for number in range(1, 10**9):
    chats.put_reply("c", 1, "A", Reply("word " * number))
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_a_killed_app_loses_no_more_than_the_last_words(writer: subprocess.Popen[str], chats: Chats) -> None:
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= 20:
            break
    os.kill(writer.pid, signal.SIGKILL)
    written = 20 + sum(1 for _ in writer.stdout)
    writer.wait()
    _, talk = chats.read("c")
    (turn,) = talk.path()
    assert turn.replies["A"].text.count("word ") in (written, written + 1)
    assert turn.replies["A"].ended == turn.replies["B"].ended == "stopped"
    talk.say("and on")
    chats.put_turn("c", talk.path()[-1])
    assert [item.text for item in chats.read("c")[1].path()] == ["hello", "and on"]


def test_a_damaged_file_is_told_and_left_alone(chats: Chats) -> None:
    keep(chats, "c", Talk())
    chats.path.write_bytes(b"no database " * 500)
    with pytest.raises(ChatError) as refused:
        chats.all()
    assert str(chats.path) in refused.value.what and "move it away" in refused.value.next_step
    assert chats.path.read_bytes().startswith(b"no database")


def test_a_newer_one_is_not_touched(chats: Chats) -> None:
    keep(chats, "c", Talk())
    with sqlite3.connect(chats.path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(ChatError, match="newer finetui"):
        chats.all()


def test_ids_differ() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
