"""The page that holds two sides against each other: what it shows, how it judges, and that judging outlives it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core.pipes import PipeError
from core.runs.directory import find as find_run
from core.serving.judgements import keep
from core.serving.targets import Target
from tests.tui.chatting import FakeClient, screen_of
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_runs import T0
from tui.app import FinetuiApp
from tui.judge_text import about, figures, lines, listed, reply_paragraphs
from tui.judging import Settings
from tui.screens import judge
from tui.screens.judge import JudgeScreen
from tui.widgets.dialogs import Ask

SIDE = {"tokens": 420, "seconds": 12.5, "cost_usd": None, "cut": 0}


def reply(a: str, b: str, f1: tuple[float | None, float | None], line: int = 7) -> dict[str, Any]:
    return {
        "where": f"/data/held.jsonl:{line}", "prompt": "Is [/foo] a lamp?\x1b[31m", "expected": "yes", "A": a, "B": b,
        "f1": {"A": f1[0], "B": f1[1]},
    }  # fmt: skip


MADE: dict[str, Any] = {
    "version": 1,
    "when": T0,
    "seconds": 75.0,
    "data": {
        "kind": "validation",
        "available": 120,
        "files": [{"title": "/data/held\x1b out.jsonl", "sha256": "0123456789abcdef" * 4}],
    },
    "seed": 42,
    "max_tokens": 128,
    "asked": 40,
    "scored": 40,
    "same": 30,
    "better": {"A": 7, "B": 2, "equal": 31},
    "A": {"spec": "done-one", "title": "done-one", "exact_match": 0.925, "token_f1": 0.95, "accuracy": 0.9,
          "macro_f1": 0.85, **SIDE},
    "B": {"spec": "done-one@base", "title": "smollm2 [x]", "exact_match": 0.5, "token_f1": 0.625, "accuracy": 0.5,
          "macro_f1": 0.4, **SIDE, "tokens": None, "cost_usd": 0.0123, "cut": 3},
    "confusion": {"labels": ["no", "yes [/x]"], "A": [[0, 0, 19], [1, 1, 21]], "B": [[0, 2, 19], [1, 1, 21]]},
    "replies": [
        reply("yes", "I [bold]can't[/bold] say.", (1.0, 0.0)),
        reply("no", "yes", (0.0, 1.0), 9),
        reply("yes it is", "yes, it is.", (1.0, 1.0), 12),
        reply("a", "b", (None, None), 13),
    ],
    "notes": ["2 rows ask nothing, or with tools; they were left out."],
}  # fmt: skip


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours after the judgement."""
    monkeypatch.setattr(judge, "now", lambda: T0 + 7200)


def run_directory() -> Path:
    found = find_run("done-one")
    assert found is not None
    return found.path


@pytest.fixture
def judged(made: list[Target]) -> Path:
    """A run that was held against its base."""
    keep(MADE, run_directory())
    return run_directory()


async def open_page(pilot: Pilot[Any]) -> JudgeScreen:
    await shown(pilot, "A  done-one")
    await until(pilot, lambda: not screen_of(pilot).busy)
    await press(pilot, "d")
    await until(pilot, lambda: isinstance(pilot.app.screen, JudgeScreen))
    screen = pilot.app.screen
    assert isinstance(screen, JudgeScreen)
    return screen


# words


def test_figures_stand_side_by_side_with_their_difference() -> None:
    assert [line.split() for line in figures(MADE)] == [
        ["A", "B", "B", "-", "A"],
        ["exact", "match", "92.5", "%", "50.0", "%", "-42.5"],
        ["token", "F1", "95.0", "%", "62.5", "%", "-32.5"],
        ["accuracy", "90.0", "%", "50.0", "%", "-40.0"],
        ["macro", "F1", "85.0", "%", "40.0", "%", "-45.0"],
        ["better", "rows", "7", "2"],
        ["tokens", "420", "—"],
        ["seconds", "12.5", "12.5"],
        ["cost", "—", "0.012", "USD"],
        ["cut", "replies", "0", "3"],
    ]
    words = dict(about(MADE, T0 + 7200))
    assert words["asked"] == "40 of 120 validation rows, held␛ out.jsonl (sha256 01234567)"
    assert words["replies"] == "greedy, up to 128 tokens; 10 differ"
    assert words["judged"] == "2 h ago in 1 min 15 s"
    assert "! 2 rows ask nothing, or with tools; they were left out." in lines(MADE, T0, 60)


def test_what_is_worse_is_found_for_either_side() -> None:
    assert [item["where"][-2:] for item in listed(MADE, "all")] == [":7", ":9", "12", "13"]
    assert [item["where"][-2:] for item in listed(MADE, "B")] == [":7"]
    assert [item["where"][-2:] for item in listed(MADE, "A")] == [":9"]
    shown = reply_paragraphs(MADE, "B")
    assert [(item.head.strip(), item.text, item.tail) for item in shown] == [
        ("prompt", "Is [/foo] a lamp?␛[31m", "held.jsonl:7"),
        ("expected", "yes", ""),
        ("A", "yes", "100 %"),
        ("B", "I [bold]can't[/bold] say.", "0 %"),
    ]


# the page


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_it_judges_and_shows_what_came_out(
    client: FakeClient, made: list[Target], size: tuple[int, int]
) -> None:
    client.judgement = MADE
    client.gate.clear()
    app = FinetuiApp(mode="chat")
    async with app.run_test(size=size) as pilot:
        screen = await open_page(pilot)
        await shown(pilot, "Not judged yet: m asks both sides up to 100")
        await press(pilot, "m")
        await shown(pilot, "asking A and B  16 of 40")
        assert "Not judged yet" not in screen_text(pilot)
        await until(pilot, lambda: "x Stop" in screen_text(pilot))
        await press(pilot, "escape")  # it goes on
        await until(pilot, lambda: app.screen is screen_of(pilot))
        assert screen_of(pilot).judgings.working
        client.gate.set()
        await until(pilot, lambda: not screen_of(pilot).judgings.working)
        await press(pilot, "d")
        await shown(pilot, "92.5 %")
        await shown(pilot, "Replies: 4, all that differ")
        await press(pilot, "tab v")
        await shown(pilot, "Replies: 1, where A is worse than its base")
        await press(pilot, "v")
        await shown(pilot, "Replies: 1, where B is worse")
        await shown(pilot, "I [bold]can't[/bold] say.")
        await press(pilot, "y")
        assert "exact match" in app.clipboard
        (asked,) = client.judged
        wanted = asked["wanted"]
        assert wanted["specs"] == {"A": "done-one", "B": "done-one@base"}
        assert (wanted["run"], wanted["rows"], wanted["system"]) == (
            str(run_directory()),
            100,
            "You are Fox.",
        )
        assert asked["sides"] == client.loads[0]
        assert isinstance(screen, JudgeScreen)


async def test_given_up_or_failed_nothing_is_kept_and_it_is_told(
    client: FakeClient, made: list[Target]
) -> None:
    client.gate.clear()
    async with FinetuiApp(mode="chat").run_test(size=(160, 45)) as pilot:
        await open_page(pilot)
        await press(pilot, "m")
        await shown(pilot, "16 of 40")
        await press(pilot, "x")
        await until(pilot, lambda: client.cancelled == 1)
        await shown(pilot, "not judged yet")
        client.gate.set()
        client.fails = PipeError("held.jsonl:3: [/foo] is broken.", "1 of 9 rows.", "Fix it.")
        await press(pilot, "m")
        await shown(pilot, "[/foo] is broken.")
        assert not (run_directory() / "report.json").exists()


async def test_settings_are_asked_for_and_used(client: FakeClient, judged: Path, tmp_path: Path) -> None:
    client.judgement = MADE
    app = FinetuiApp(mode="chat")
    async with app.run_test(size=(160, 45)) as pilot:
        screen = await open_page(pilot)
        prompts, rows = tmp_path / "prompts.txt", tmp_path / "rows.jsonl"
        for key, text in (
            ("l", "0016"),
            ("n", "many"),
            ("p", str(prompts)),
            ("f", str(rows)),
            ("p", str(prompts)),
        ):
            await press(pilot, key)
            await until(pilot, lambda: isinstance(app.screen, Ask))
            await type_text(pilot, text)
            await press(pilot, "enter")
            await until(pilot, lambda: app.screen is screen)
        assert "many is no number above 0" in [notice.message for notice in app._notifications]
        await shown(pilot, "next: 100 prompts of prompts.txt, replies up to 16 tokens")
        assert screen.judgings.settings == Settings(100, 16, rows, prompts)
        await press(pilot, "m")
        await until(pilot, lambda: client.judged)
        asked = client.judged[0]["wanted"]
        assert (asked["data"], asked["prompts"], asked["max_tokens"]) == (str(rows), str(prompts), 16)
        await press(pilot, "w")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, str(tmp_path / "out.json"))
        await press(pilot, "enter")
        await until(pilot, (tmp_path / "out.json").exists)
        assert json.loads((tmp_path / "out.json").read_text()) == MADE


async def test_two_endpoints_have_nothing_to_be_asked_until_a_file_is_named(
    client: FakeClient, made: list[Target], tmp_path: Path
) -> None:
    a, b = "https://one.example/v1#a", "https://two.example/v1#b"
    async with FinetuiApp(mode="chat", run=a, beside=b).run_test(size=(160, 45)) as pilot:
        await shown(pilot, "B  b at two.example")
        await until(pilot, lambda: not screen_of(pilot).busy)
        await press(pilot, "escape d")
        await shown(pilot, "nothing yet to ask these two")
        screen = pilot.app.screen
        assert isinstance(screen, JudgeScreen)
        assert "validation rows, replies" not in screen_text(pilot) and "m Judge" not in screen_text(pilot)
        await press(pilot, "m")
        assert not screen.judgings.working and not client.judged
        await press(pilot, "p")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await type_text(pilot, str(tmp_path / "p.txt"))
        await press(pilot, "enter")
        await shown(pilot, "next: 100 prompts of p.txt")
        await shown(pilot, "m Judge")


async def test_refused_prompts_are_listed_with_their_reasons(client: FakeClient, made: list[Target]) -> None:
    refused = {"where": "/d/p.txt:2", "prompt": "x [/foo]", "expected": "", "A": "", "B": "Blocked\x1b[31m."}
    both = {**MADE, "refused": [refused], "B": {**MADE["B"], "refused": 1}, "A": {**MADE["A"], "refused": 0}}
    assert ["refused", "prompts", "0", "1"] in [line.split() for line in figures(both)]
    told = reply_paragraphs(both, "all")[-2:]
    assert [(item.head, item.text, item.tail) for item in told] == [
        ("prompt    ", "x [/foo]", "p.txt:2"),
        ("B         refused: ", "Blocked␛[31m.", ""),
    ]
    keep(both, run_directory())
    async with FinetuiApp(mode="chat").run_test(size=(160, 45)) as pilot:
        await open_page(pilot)
        await shown(pilot, "Replies: 4, all that differ; 1 refused")


async def test_a_damaged_report_is_told(client: FakeClient, made: list[Target]) -> None:
    (run_directory() / "report.json").write_text("[1")
    async with FinetuiApp(mode="chat").run_test(size=(80, 24)) as pilot:
        await open_page(pilot)
        await shown(pilot, "report.json can't be read")


def test_chat_and_page_import_nothing_that_belongs_in_workers(tmp_path: Path, home: Path) -> None:
    code = """
import asyncio, sys
from pathlib import Path
from tests.tui.chatting import FakeClient
from tests.tui.made_runs import some_runs
from core.serving import targets
from core.serving.targets import Target
from tui.screens import chat_replies
from tui.app import FinetuiApp
async def main():
    some_runs()
    client = FakeClient()
    chat_replies.make_client = lambda: client
    side = lambda ref: Target("done-one", ref, Path("/m"), Path("/a"), "", "", "", None)
    targets.side, targets.targets = side, lambda: [side("done-one")]
    app = FinetuiApp(mode="chat")
    async with app.run_test(size=(160, 45)) as pilot:
        while app.screen.busy or not app.screen.sides:
            await pilot.pause(0.05)
        app.screen.send("**hello**")
        while app.screen.busy or not app.screen.talk.turns[1].answered:
            await pilot.pause(0.05)
        await pilot.press("d")
        while not hasattr(app.screen, "found"):
            await pilot.pause(0.05)
        await pilot.press("escape")
asyncio.run(main())
heavy = ("torch", "transformers", "peft", "sklearn", "tokenizers", "pyarrow", "openai", "httpx", "azure")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr[-2000:]


# pictures


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=["80x24", "160x45"])
def test_pictures(
    client: FakeClient,
    judged: Path,
    snap_compare: Any,
    size: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    async def ready(pilot: Pilot[Any]) -> None:
        await open_page(pilot)
        await shown(pilot, "92.5 %")
        await until(pilot, lambda: pilot.app.screen.size == size)
        await pilot.pause()

    assert snap_compare(FinetuiApp(mode="chat"), terminal_size=size, run_before=ready)
