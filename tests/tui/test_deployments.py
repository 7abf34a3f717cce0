"""The page of deployments: what it lists and tells, and what its keys do. The directories are made by hand."""

from __future__ import annotations

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
from core.serving.trash import Dependents
from tests.core.serving.gateways import make_settings
from tests.core.serving.gateways import running as gateway
from tests.tui.driving import press, screen_text, shown, until
from tests.tui.made_deployments import entry, log_requests, make_deployment, running, three
from tests.tui.made_runs import T0
from tui import deployment_watch
from tui.app import FinetuiApp
from tui.deployment_text import ms, remove_question, request_paragraphs, stop_question, watch_paragraphs
from tui.deployment_watch import PERIODS, Looker
from tui.screens import deployments as screen_module
from tui.screens.deployments import DeploymentsScreen
from tui.screens.runs import RunsScreen
from tui.widgets.deploydialog import KeyDialog
from tui.widgets.dialogs import Confirm

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
            "cost      0.00022 USD",
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
            "-  404",
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
        await shown(pilot, "u brings back")
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
    _, loses, _ = remove_question(item, 5_000_000, Dependents(("a", "b"), ("a [/] chat",)))
    assert "5.0 MB" in loses and "30 days" in loses
    assert "a, b ask it" in loses
    assert "without new replies: a [/] chat." in loses


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
            await shown(pilot, "-  404")
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
                await shown(pilot, "-  404")
                await until(pilot, lambda: screen.table.rows_shown[0].cells["errors"] == "1")
                assert screen.table.rows_shown[0].cells["p95"] == ms(entry_of_stream.first_token_ms)
