"""`finetui chats`: kept chats are listed, shown, deleted and brought back."""

from __future__ import annotations

import json

import pytest

from core.serving.chats import Chats
from core.serving.talk import Reply, Talk
from tests.tui.verbs.conftest import Finetui


@pytest.fixture
def kept() -> list[str]:
    """Two chats; of the first the second branch is shown."""
    talk = Talk()
    one = talk.say("Is it a [b]lamp[/b]?\x1b[31m")
    one.replies = {"A": Reply("no", ended="turn end"), "B": Reply("perhaps", ended="turn end")}
    two = talk.instead(one, "Is it a lamp?")
    two.replies = {"A": Reply("yes\x1b[2J", 3, cost_usd=0.25, ended="turn end")}
    chats, ids = Chats(), ["20260101-aaaa0001", "20260102-bbbb0002"]
    chats.begin(ids[0], "a [b]lamp[/b]\x1b[31m", "lamp-a", "lamp-a@base", {"seed": 7, "temperature": 0.5})
    for turn in (one, two):
        chats.put_turn(ids[0], turn)
        for side, reply in turn.replies.items():
            chats.put_reply(ids[0], turn.number, side, reply)
    chats.begin(ids[1], "another", "https://h/v1#m", "", {})
    return ids


def listed(finetui: Finetui, *words: str) -> list[str]:
    done = finetui("chats", *words, "--json")
    assert done.exit_code == 0, done.output
    return [row["id"] for row in json.loads(done.stdout)]


def test_they_are_listed_and_no_title_acts_on_the_terminal(finetui: Finetui, kept: list[str]) -> None:
    told = finetui("chats")
    first = next(line for line in told.stdout.splitlines() if kept[0] in line)
    assert "2 turns, " in first and first.endswith("a [b]lamp[/b]␛[31m  (lamp-a | lamp-a@base)")
    assert sorted(listed(finetui)) == sorted(listed(finetui, "list")) == kept
    assert listed(finetui, "--trash") == []


def test_none_is_no_mistake(finetui: Finetui) -> None:
    done = finetui("chats")
    assert (done.exit_code, done.stdout) == (0, "") and "No chats yet" in done.stderr


def test_one_is_shown_as_in_the_app_and_whole_as_json(finetui: Finetui, kept: list[str]) -> None:
    told = finetui("chats", "show", "aaaa")
    assert "you:\nIs it a lamp?\n" in told.stdout and "yes␛[2J" in told.stdout
    assert "perhaps" not in told.stdout and "seed 7" in told.stdout and "A  lamp-a (" in told.stdout
    found = json.loads(finetui("chats", "show", kept[0], "--json").stdout)
    assert found["shown"] == [2] and [turn["number"] for turn in found["turns"]] == [1, 2]
    assert found["turns"][0]["replies"]["B"]["text"] == "perhaps"
    assert found["turns"][1]["replies"]["A"]["cost_usd"] == 0.25


def test_one_is_deleted_and_brought_back(finetui: Finetui, kept: list[str]) -> None:
    done = finetui("chats", "delete", "bbbb", "--json")
    assert json.loads(done.stdout) == {"id": kept[1], "title": "another"}
    assert f"finetui chats restore {kept[1]}" in done.stderr
    assert listed(finetui) == [kept[0]] and listed(finetui, "--trash") == [kept[1]]
    gone = finetui("chats", "show", "bbbb")
    assert gone.exit_code == 2 and "in the trash" in gone.stderr and f"restore {kept[1]}" in gone.stderr
    assert finetui("chats", "restore", "bbbb").exit_code == 0
    assert sorted(listed(finetui)) == kept


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("show", "cccc"), "No chats have 'cccc' in their ids"),
        (("delete", "2026"), "2 chats have '2026' in their ids"),
        (("restore", "aaaa"), "No chats in the trash have 'aaaa'"),
        (("show", ""), "No chats have '' in their ids"),
    ],
)
def test_which_one_must_be_clear(
    finetui: Finetui, kept: list[str], words: tuple[str, ...], told: str
) -> None:
    done = finetui("chats", *words)
    assert done.exit_code == 2
    assert told in done.stderr and "Next:" in done.stderr
    assert sorted(listed(finetui)) == kept
