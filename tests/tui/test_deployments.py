"""The page of deployments: what it lists and tells, and what its keys do. The directories are made by hand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from textual.pilot import Pilot

from core.runs import locks
from core.runs.process import Identity
from core.serving import deployments, sockets
from core.serving.settings import DeploymentError, digest, read_settings
from tests.core.serving.gateways import make_settings
from tests.core.serving.gateways import running as gateway
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_deployments import entry, log_requests, make_deployment, running, served, three
from tests.tui.made_runs import T0
from tui import deployment_watch
from tui.app import FinetuiApp
from tui.deployment_text import ms, remove_question, request_paragraphs, row, stop_question, watch_paragraphs
from tui.deployment_watch import PERIODS, Feed, Looker, write_requests
from tui.screens import deployments as screen_module
from tui.screens.deployments import DeploymentsScreen
from tui.screens.runs import RunsScreen
from tui.widgets.deploydialog import KeyDialog
from tui.widgets.dialogs import Confirm, ErrorDialog

SIZES = [(80, 24), (160, 45)]
sizes = pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x45"])
NOW = T0 + 60.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute after the newest deployment was made."""
    monkeypatch.setattr(screen_module, "now", lambda: NOW)


async def opened(pilot: Pilot[Any]) -> DeploymentsScreen:
    """Open the page from the list of runs, and wait for its first look."""
    await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
    await press(pilot, "D")
    await until(pilot, lambda: isinstance(pilot.app.screen, DeploymentsScreen))
    screen = pilot.app.screen
    assert isinstance(screen, DeploymentsScreen)
    await until(pilot, lambda: screen.items is not None)
    await pilot.pause()
    return screen


# What it shows


@sizes
async def test_states_and_figures_are_listed(size: tuple[int, int]) -> None:
    made = three()
    async with FinetuiApp().run_test(size=size) as pilot:
        await opened(pilot)
        await shown(pilot, "support-prod")
        text = screen_text(pilot)
        lines = {
            name: next(line for line in text.splitlines() if f" {name} " in line) for name in list(made)[:3]
        }
        assert "● healthy" in lines["support-prod"]
        assert "■ stopped" in lines["support-test"]
        assert "✗ failed" in lines["old-phi"]
        # 26 requests, 2 of them errors and 2 blocked; of 23 measured ones the 22nd is the 95th percentile
        figures = r"26 +2 +330 ms" if size[0] == 80 else r"26 +2 +2 +330 ms"
        assert re.search(figures, lines["support-prod"])
        assert ("127.0.0.1:8100 " in lines["support-prod"]) == (size[0] > 100)


async def test_the_page_tells_of_one_deployment() -> None:
    three()
    async with FinetuiApp().run_test(size=(160, 45)) as pilot:
        await opened(pilot)
        for words in (
            "http://127.0.0.1:8100/v1",
            "support-prod  from support-01 @120",
            "ready, 1 restart",
            "smollm2-135m  the base",
            "26 in the last day: 2 errors, 2 blocked",
            "p50 210 ms   p95 330 ms",
            "cost      0.0002 USD",
            "1 prompt unlike the training data",
            "completion: Hate [/foo] ␛[31m (1), prompt: block",
            "Refuses 4 of 12",
            "a block list of patterns",
            "upstream [bold]ready[/] ␛[31mred",
        ):
            await shown(pilot, words)


async def test_requests_are_never_markup_and_say_why() -> None:
    three()
    async with FinetuiApp().run_test(size=(160, 45)) as pilot:
        await opened(pilot)
        for words in (
            "400  40+0 tokens  600 ms  ✗ context_length_exceeded",
            "✗ blocked in the prompt: block list",
            "completion: Hate [/foo] ␛[31m",
            "499  40+12 tokens  first 330 ms  630 ms  the client left",
            "! unlike the training",
            "no such model  404",
        ):
            await shown(pilot, words)


async def test_a_failed_one_says_why_and_what_to_do() -> None:
    three()
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "G")
        await shown(pilot, "The port 8102 is taken [/x].")
        await shown(pilot, "Choose another port, then start it again.")
        await shown(pilot, "a Start")
        assert "s Stop" not in screen_text(pilot)


@sizes
async def test_without_deployments_it_says_what_they_are(size: tuple[int, int]) -> None:
    async with FinetuiApp().run_test(size=size) as pilot:
        screen = await opened(pilot)
        await shown(pilot, "n deploys the model of a run")
        assert screen._timer is None  # nothing can change: nothing is looked at
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))


async def test_a_damaged_deployment_can_be_removed() -> None:
    directory = make_deployment("broken")
    (directory / "deployment.json").write_text("{")
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await shown(pilot, "The deployment broken is damaged")
        await press(pilot, "x")
        await shown(pilot, "Remove broken?")
        await press(pilot, "y")
        await shown(pilot, "No deployments yet.")
    assert not directory.exists()


async def test_a_damaged_request_log_is_an_error_in_its_parts() -> None:
    directory = make_deployment("support")
    (directory / "requests.db").write_bytes(b"no database " * 100)
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await shown(pilot, "The request log of support can't be read.")
        await shown(pilot, "Stop the deployment, move the file away")


# Following


async def test_new_requests_and_lines_appear_by_themselves() -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(1)])
    with running(directory):
        async with FinetuiApp().run_test(size=(160, 45)) as pilot:
            screen = await opened(pilot)
            await until(pilot, lambda: len(screen.requests.paragraphs) == 1)
            log_requests(directory, [entry(2, status=500, error="upstream_failed"), entry(3)])
            with (directory / "gateway.log").open("a") as log:
                log.write("the upstream ended\nhalf a li")
            await shown(pilot, "✗ upstream_failed")
            await shown(pilot, "the upstream ended")
            assert len(screen.requests.paragraphs) == 3
            assert "half a li" not in screen_text(pilot)
            await until(pilot, lambda: screen.table.rows_shown[0].cells["requests"] == "3")
            assert screen._timer is not None
            await press(pilot, "escape")
            await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
            assert screen._timer is None


async def test_a_reader_of_earlier_requests_is_not_moved() -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(number) for number in range(60)])
    with running(directory):
        async with FinetuiApp().run_test(size=(80, 24)) as pilot:
            screen = await opened(pilot)
            await until(pilot, lambda: len(screen.requests.paragraphs) == 60)
            await press(pilot, "enter tab g")
            top = screen.requests.scroll_offset.y
            log_requests(directory, [entry(60), entry(61)])
            await shown(pilot, "▼ 2 new lines")
            assert screen.requests.scroll_offset.y == top == 0
            await press(pilot, "f")
            await shown(pilot, "62 lines")


async def test_another_deployment_has_its_own_requests() -> None:
    for number, name in enumerate(("one", "two")):
        directory = make_deployment(name, number * 60.0)
        log_requests(directory, [entry(1, model=f"model-{name}")])
    async with FinetuiApp().run_test(size=(160, 45)) as pilot:
        await opened(pilot)
        await shown(pilot, "model-one  200")
        await press(pilot, "j")
        await shown(pilot, "model-two  200")
        assert "model-one  200" not in screen_text(pilot)


def test_a_feed_gives_everything_once(home: Path) -> None:
    directory = make_deployment("support-prod")
    feed = Feed(deployments.find("support-prod"))
    assert not feed.read().requests
    log_requests(directory, [entry(number) for number in range(5)])
    (directory / "gateway.log").write_text("one\ntwo")
    first = feed.read()
    assert [item.id for item in first.requests] == [1, 2, 3, 4, 5]
    assert first.lines == ["one"]
    assert feed.read() == deployment_watch.News([], [])
    with (directory / "gateway.log").open("a") as log:
        log.write(" and a half\nthree\n")
    log_requests(directory, [entry(5)])
    second = feed.read()
    assert [item.id for item in second.requests] == [6]
    assert second.lines == ["two and a half", "three"]


def test_a_feed_begins_anew_with_another_log(home: Path) -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(number) for number in range(5)])
    (directory / "gateway.log").write_text("a long line of the log that was\n")
    feed = Feed(deployments.find("support-prod"))
    assert len(feed.read().requests) == 5
    (directory / "requests.db").rename(directory / "aside.db")
    log_requests(directory, [entry(7)])
    (directory / "gateway.log").write_text("new\n")
    news = feed.read()
    assert [item.at for item in news.requests] == [T0 + 7]
    assert news.lines == ["new"]


def test_a_log_that_stays_the_same_is_not_read_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(1)])
    looker, reads = Looker(), []
    whole = deployment_watch.watch.summary

    def counted(*arguments: Any) -> Any:
        reads.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr(deployment_watch.watch, "summary", counted)
    for _ in range(3):
        assert looker.look(PERIODS[0], NOW)[0].summary.requests == 1
    assert len(reads) == 1
    log_requests(directory, [entry(2)])
    assert looker.look(PERIODS[0], NOW)[0].summary.requests == 2


def test_a_period_counts_its_own_requests(home: Path) -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(0), entry(50_000), entry(80_000), entry(86_000)])
    looker = Looker()
    counts = [looker.look(period, T0 + 86_450)[0].summary.requests for period in PERIODS]
    assert [period.words for period in PERIODS] == ["the last day", "the last hour", "all time"]
    assert counts == [3, 1, 4]


def test_a_quick_look_counts_nothing(home: Path) -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(1)])
    looker = Looker()
    item = looker.look(PERIODS[0], NOW, quick=True)[0]
    assert item.summary is None
    assert row(item, NOW).cells["requests"] == "—"
    assert any(paragraph.text == "being counted" for paragraph in watch_paragraphs(item, PERIODS[0], NOW))
    assert not looker.knows(PERIODS[0])
    looker.look(PERIODS[0], NOW)
    assert looker.knows(PERIODS[0]) and not looker.knows(PERIODS[1])
    again = looker.look(PERIODS[0], NOW, quick=True)[0].summary
    assert again is not None and again.requests == 1


def test_figures_of_each_model_where_there_are_several(home: Path) -> None:
    directory = make_deployment("two", models=(served("a"), served("b", "base")))
    log_requests(directory, [entry(1, model="a"), entry(2, model="b"), entry(3, model="b")])
    item = Looker().look(PERIODS[0], NOW)[0]
    assert {name: summary.requests for name, summary in item.models.items()} == {"a": 1, "b": 2}


# Its keys


async def test_p_changes_the_period_and_the_list_says_so() -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(-90_000), entry(1)])
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        assert screen.table.rows_shown[0].cells["requests"] == "1"
        await press(pilot, "p")
        await shown(pilot, "requests of the last hour")
        await press(pilot, "p")
        await shown(pilot, "requests of all time")
        await until(pilot, lambda: screen.table.rows_shown[0].cells["requests"] == "2")
        await shown(pilot, "2 in all")


async def test_words_filter_the_list_and_escape_brings_it_back() -> None:
    three()
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "slash")
        await type_text(pilot, "failed phi")
        await shown(pilot, "Deployments  1 of 3")
        await press(pilot, "enter")
        await shown(pilot, "old-phi  ✗ failed")
        await press(pilot, "escape")
        await shown(pilot, "Deployments  3")


async def test_y_copies_the_address() -> None:
    three()
    app = FinetuiApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "y")
        assert app.clipboard == "http://127.0.0.1:8100/v1"


async def test_w_writes_the_request_log_for_this_user_alone(tmp_path: Path) -> None:
    three()
    out = tmp_path / "out.jsonl"
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "w")
        await shown(pilot, "Write the request log")
        await type_text(pilot, str(out))
        await press(pilot, "enter")
        await until(pilot, out.exists)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(1, 27))
    assert rows[22]["category"] == "Hate [/foo] \x1b[31m"
    assert out.stat().st_mode & 0o777 == 0o600


def test_a_log_longer_than_one_reading_is_written_whole(home: Path, tmp_path: Path) -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(number) for number in range(2500)])
    assert write_requests(directory, tmp_path / "out") == 2500
    assert len((tmp_path / "out").read_text().splitlines()) == 2500


async def test_another_key_is_shown_once_after_a_question(home: Path) -> None:
    directory = make_deployment("support-prod")
    before = read_settings(directory).key_sha256
    app = FinetuiApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "K")
        await shown(pilot, "Make another key for support-prod?")
        assert read_settings(directory).key_sha256 == before
        await press(pilot, "y")
        await until(pilot, lambda: isinstance(app.screen, KeyDialog))
        dialog = app.screen
        assert isinstance(dialog, KeyDialog)
        key = dialog.made.key
        await shown(pilot, key)
        await press(pilot, "enter q space")  # typed for something else: the key stays
        assert app.screen is dialog
        await press(pilot, "y")
        assert app.clipboard == key
        await press(pilot, "a")
        assert app.clipboard == "http://127.0.0.1:8100/v1"
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(app.screen, DeploymentsScreen))
    assert read_settings(directory).key_sha256 == digest(key)
    found = [path for path in home.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    assert found == []


async def test_remove_names_what_is_lost_and_no_is_the_safe_answer() -> None:
    directory = make_deployment("support-prod")
    (directory / "weights").write_bytes(bytes(5_000_000))
    make_deployment("asks", 60.0, safety={"kind": "guard", "deployment": "support-prod", "model": "m"})
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "x")
        await shown(pilot, "Remove support-prod?")
        await shown(pilot, "5.0 MB")
        await shown(pilot, "asks asks it about each text")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DeploymentsScreen))
        assert directory.exists()
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: not directory.exists())
        await shown(pilot, "Deployments  1")


@pytest.mark.parametrize(("key", "verb"), [("s", "stop"), ("r", "restart")])
async def test_a_running_one_is_stopped_after_a_question(
    key: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(deployments, verb, lambda name: asked.append(name) or deployments.find(name))
    three_of = three()
    assert three_of
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, key)
        await shown(pilot, f"{verb.title()} support-prod?")
        await press(pilot, "n")
        await press(pilot, key)
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert asked == []
        await press(pilot, "y")
        await until(pilot, lambda: asked == ["support-prod"])


async def test_a_start_that_fails_is_told_in_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(name: str) -> None:
        raise DeploymentError("The gateway can't listen [/].", "Port 8101 is taken.", "Choose another.")

    monkeypatch.setattr(deployments, "start", start)
    make_deployment("support-test")
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await press(pilot, "a")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await shown(pilot, "The gateway can't listen [/].")
        await shown(pilot, "Choose another.")
        assert screen.busy == {}


async def test_c_opens_the_chat_with_the_chosen_model(monkeypatch: pytest.MonkeyPatch) -> None:
    talked: list[str] = []
    monkeypatch.setattr(FinetuiApp, "chat_with", lambda self, ref: talked.append(ref))
    three_of = three()
    assert three_of
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await press(pilot, "c")
        await shown(pilot, "Talk to which model of support-prod?")
        await press(pilot, "j enter")
        await until(pilot, lambda: talked == ["deployment:support-prod/smollm2-135m"])


# Words


def test_milliseconds_are_told_as_people_read_them() -> None:
    assert [ms(value) for value in (None, 0.42, 9.96, 420.4, 999.4, 1000, 65_000)] == [
        "—", "0.4 ms", "10 ms", "420 ms", "999 ms", "1.0 s", "65.0 s",
    ]  # fmt: skip


def test_questions_name_the_deployment_and_what_is_lost(home: Path) -> None:
    make_deployment("support-prod")
    item = Looker().look(PERIODS[0], NOW)[0]
    question, loses, answer = stop_question(item.deployment, False)
    assert (question, answer) == ("Stop support-prod?", "Stop it")
    assert "20 s to end" in loses
    assert "http://127.0.0.1:8100/v1" in loses
    _, loses, _ = remove_question(item, 5_000_000, ["a", "b"])
    assert "5.0 MB" in loses
    assert "a, b ask it" in loses


def test_kept_texts_are_shown_as_they_are() -> None:
    told = request_paragraphs([entry(1, prompt="Where [/foo]\nis\x1b[31m it?", completion="x" * 5000)])
    assert [paragraph.text for paragraph in told[1:]] == ["Where [/foo] is␛[31m it?", "x" * 300]


def test_another_address_than_loopback_is_warned_of(home: Path) -> None:
    directory = make_deployment("open")
    path = directory / "deployment.json"
    path.write_text(path.read_text().replace("127.0.0.1", "0.0.0.0"))
    told = watch_paragraphs(Looker().look(PERIODS[0], NOW)[0], PERIODS[0], NOW)
    assert any("plain HTTP" in paragraph.text and paragraph.style == "warning" for paragraph in told)


# Pictures


@sizes
def test_deployments(snap_compare: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    made = three()
    monkeypatch.setattr(deployment_watch, "log_bytes", lambda directory: 12_000)
    steady(monkeypatch)

    async def run(pilot: Pilot[Any]) -> None:
        screen = await opened(pilot)
        await until(pilot, lambda: len(screen.requests.paragraphs) == 26)
        await shown(pilot, "26 in the last day")
        if size[0] > 80:
            await shown(pilot, "Refuses 4 of 12")
            pane = screen.requests
            await until(
                pilot, lambda: pane.scroll_y > 0 and pane.vertical_scrollbar.position == pane.scroll_y
            )
        await pilot.pause()

    assert snap_compare(FinetuiApp(), terminal_size=size, run_before=run)
    assert made["locks"]


@sizes
def test_deployments_none(snap_compare: Any, size: tuple[int, int]) -> None:
    async def run(pilot: Pilot[Any]) -> None:
        await opened(pilot)
        await shown(pilot, "No deployments yet.")

    assert snap_compare(FinetuiApp(), terminal_size=size, run_before=run)


def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what differs from test to test: process and folder."""
    found = deployments.all_deployments

    def same() -> list[deployments.Deployment]:
        return [
            replace(item, pid=4711 if item.pid else 0, directory=Steady(item.directory)) for item in found()
        ]

    monkeypatch.setattr(deployment_watch.deployments, "all_deployments", same)


class Steady(type(Path())):  # type: ignore[misc]
    """A folder that is shown under a name that is the same in every test."""

    def __str__(self) -> str:
        return (
            "/home/tester/deployments/" + self.name
            if self.parent.name == "deployments"
            else super().__str__()
        )

    def __fspath__(self) -> str:
        return super().__str__()


# The process


def test_the_page_needs_nothing_heavy() -> None:
    code = (
        "import asyncio, sys\n"
        "from tui.app import FinetuiApp\n"
        "async def main():\n"
        "    app = FinetuiApp()\n"
        "    async with app.run_test() as pilot:\n"
        "        await pilot.press('D')\n"
        "        while app.screen.__class__.__name__ != 'DeploymentsScreen' or app.screen.items is None:\n"
        "            await pilot.pause(0.05)\n"
        "asyncio.run(main())\n"
        "heavy = ('torch', 'transformers', 'peft', 'azure', 'openai', 'pyarrow', 'starlette', 'uvicorn', 'httpx')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=os.environ
    )
    assert done.stdout.strip() == "[]"


# With real gateways


async def test_a_gateway_s_whole_life_by_keys() -> None:
    """Started, asked, given another key, stopped and removed; its process is the real one, no model is loaded."""
    with sockets.bind_tcp("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    _, directory, old = make_settings("lamp", port=port, warm=False, stopped=True)
    app = FinetuiApp()
    try:
        async with app.run_test(size=(160, 45)) as pilot, httpx.AsyncClient(trust_env=False) as http:
            await opened(pilot)
            await press(pilot, "a")
            await shown(pilot, "● healthy")
            url = f"http://127.0.0.1:{port}/v1"
            answer = await http.post(
                f"{url}/chat/completions",
                headers={"authorization": f"Bearer {old}"},
                json={"model": "nobody", "messages": [{"role": "user", "content": "hello"}]},
            )
            assert answer.status_code == 404
            await shown(pilot, "no such model  404")
            await press(pilot, "K")
            await until(pilot, lambda: isinstance(app.screen, Confirm))
            await press(pilot, "y")
            await until(pilot, lambda: isinstance(app.screen, KeyDialog))
            assert isinstance(app.screen, KeyDialog)
            new = app.screen.made.key
            await press(pilot, "escape")
            codes = []
            for key in (old, new):
                found = await http.get(f"{url}/models", headers={"authorization": f"Bearer {key}"})
                codes.append(found.status_code)
            assert codes == [401, 200]
            await press(pilot, "s")
            await until(pilot, lambda: isinstance(app.screen, Confirm))
            await press(pilot, "y")
            await shown(pilot, "■ stopped")
            with pytest.raises(httpx.ConnectError):
                await http.get(f"{url}/models")
            await press(pilot, "x")
            await until(pilot, lambda: isinstance(app.screen, Confirm))
            await press(pilot, "y")
            await shown(pilot, "No deployments yet.")
        assert not directory.exists()
    finally:
        if directory.exists():
            deployments.remove("lamp")


async def test_replies_through_a_real_gateway_are_watched() -> None:
    async with gateway("lamp", created=T0) as here:
        lock = locks.take(here.directory / "gateway.lock")
        assert lock is not None
        with lock:
            deployments.record_gateway(here.directory, Identity.current())
            async with FinetuiApp().run_test(size=(160, 45)) as pilot:
                screen = await opened(pilot)
                await shown(pilot, "● healthy")
                await here.stream("say hello there")
                await here.ask("say hello there", model="nobody")
                [entry_of_stream, _] = await here.logged(2)
                await until(pilot, lambda: len(screen.requests.paragraphs) == 2)
                await shown(pilot, f"lamp  200  7+2 tokens  first {ms(entry_of_stream.first_token_ms)}")
                await shown(pilot, "no such model  404")
                await until(pilot, lambda: screen.table.rows_shown[0].cells["errors"] == "1")
                assert screen.table.rows_shown[0].cells["p95"] == ms(entry_of_stream.first_token_ms)
