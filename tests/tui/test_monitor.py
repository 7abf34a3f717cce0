"""The monitor: what it shows of runs in every state, live, and what each of its keys does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core import events as e
from core.runs import control, supervisor
from core.runs.directory import RunDirectory
from tests.tui.driving import press, screen_text, shown, type_text, until
from tests.tui.made_runs import T0, make_run, running, some_runs, step, story, write
from tui.app import FinetuiApp
from tui.screens import monitor
from tui.screens.monitor import MonitorScreen
from tui.watch import Watch, sample_paragraphs
from tui.widgets.chart import Chart, Mark
from tui.widgets.dialogs import Ask, Choose, Confirm, ErrorDialog

SIZES = [(80, 24), (100, 30), (160, 45)]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed time of day, in UTC: half a minute after the last event of `live`."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(monitor, "now", lambda: T0 + 5 + 25 + 30)


@pytest.fixture
def live() -> Any:
    """A run at step 25 of 40 whose worker seems to live."""
    run = make_run("support-qwen3-04")
    lock = running(run)
    write(run, story(40, 25))
    yield run
    lock.release()


def screen_of(pilot: Pilot[Any]) -> MonitorScreen:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, MonitorScreen)
    return screen


# what is gathered from events


def test_a_watch_keeps_every_step_and_tells_some() -> None:
    watch = Watch()
    lines = watch.feed(story(5000, 5000, every=1000))
    assert watch.loss.points == 5000 and watch.summary.step == 5000
    steps = [line.text for line in lines if line.text.startswith("step") and "grad" in line.text]
    assert 80 <= len(steps) <= 210
    assert any("5 000 steps over 54 rows" in line.text and "1 row cut" in line.text for line in lines)


def test_evaluations_tell_the_best() -> None:
    watch = Watch()
    texts = [line.text for line in watch.feed(story(40, 40))]
    assert "step 0  evaluation loss 2.4000 (the base model)" in texts
    assert sum("(best so far)" in text for text in texts) == 3
    assert any(text.startswith("step 40") and "(best 0.9037 at 30)" in text for text in texts)


async def test_a_turned_dial_is_marked_in_the_charts_and_told_in_the_log(live: RunDirectory) -> None:
    app = FinetuiApp(mode="monitor", run=live.id)
    async with app.run_test(size=(160, 45)) as pilot:
        await shown(pilot, "25 / 40")
        write(live, [e.Changed(time=T0 + 36, name="learning_rate", old="0.0002", new="0.0001", step=25)])
        await shown(pilot, "learning_rate")
        charts = {item.id: item for item in app.screen.query(Chart)}
        last = screen_of(pilot).story.learning_rate.last
        await until(pilot, lambda: charts["chart-rate"].marks == [Mark(25, last, "▼", "v")])
        assert [mark.step for mark in charts["chart-loss"].marks] == [25]
        assert "0.0002" in screen_text(pilot) and "0.0001" in screen_text(pilot)


def test_samples_hold_the_base_and_the_latest_reply() -> None:
    watch = Watch()
    watch.feed(story(40, 20))
    paragraphs = [(p.head.strip(), p.text, p.tail) for p in sample_paragraphs(watch.samples.values())]
    assert paragraphs == [
        ("prompt", "Where is my parcel [/foo] ␛[31mred?", ""),
        ("expected", "It left today.", ""),
        ("base", "I don't know.", ""),
        ("tuned", "It left the depot [bold]today[/bold].", "step 20"),
    ]


def test_a_loss_that_is_not_a_number_is_said() -> None:
    watch = Watch()
    event = e.decode(e.encode(step(1, 40, loss=float("nan"))))
    assert event is not None
    (line,) = watch.feed([event])
    assert "loss —" in line.text and line.style == "error"
    assert watch.loss.missing == 1


# what is on the screen


@pytest.mark.parametrize("size", SIZES)
async def test_a_live_run_is_shown_and_followed(live: RunDirectory, size: tuple[int, int]) -> None:
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=size) as pilot:
        await shown(pilot, "25 / 40")
        text = screen_text(pilot)
        assert "● running" in text and "support-qwen3-04" in text and "62 %" in text and "ETA 15 s" in text
        assert "training loss" in text and "step 25" in text
        assert any(0x2800 < ord(sign) < 0x2900 for sign in text)
        wide = size[0] >= 100
        assert ("evaluation loss" in text.replace("evaluation loss 0", "")) == wide or "best" in text
        assert ("throughput" in text) == wide
        assert ("expected  It left today." in text) == (size[0] >= 120)
        write(live, [step(26, 40)])
        await shown(pilot, "26 / 40")


async def test_without_a_choice_the_newest_active_run_is_watched(live: RunDirectory) -> None:
    some_runs()
    async with FinetuiApp(mode="monitor").run_test(size=(80, 24)) as pilot:
        await shown(pilot, "support-qwen3-04")


async def test_with_nothing_to_watch_it_names_the_keys() -> None:
    async with FinetuiApp(mode="monitor").run_test(size=(80, 24)) as pilot:
        await shown(pilot, "No run to watch.")
        await press(pilot, "s p r c v a z l y w")  # nothing to do it to: nothing happens
        assert "No run to watch." in screen_text(pilot)


async def test_silence_is_said_in_whole_minutes(live: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "now", lambda: T0 + 30 + 3 * 60 + 41)
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "● running, silent for 3 min ")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("done-one", ["✓ done", "40 / 40", "100 %"]),
        ("failed-phi", ["✗ failed", "CUDA out of memory at step 31.", "Cause  One batch", "Next   Set batch_size"]),
        ("stopped-one", ["■ stopped", "20 / 40"]),
        ("paused-one", ["‖ paused", "12 / 40", "paused after step 12; the device is free"]),
        ("lost-one", ["? lost", "MemoryError", "finetui resume lost-one", "(r resumes it)"]),
    ],
)  # fmt: skip
async def test_ended_runs_say_how_they_ended_and_need_no_timer(name: str, words: list[str]) -> None:
    some_runs()
    async with FinetuiApp(mode="monitor", run=name).run_test(size=(100, 40)) as pilot:
        for word in words:
            await shown(pilot, word)
        assert screen_of(pilot)._timer is None


async def test_the_timer_ends_with_the_run_and_rests_while_another_screen_is_shown(
    live: RunDirectory,
) -> None:
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: screen_of(pilot)._timer is not None)
        screen = screen_of(pilot)
        await press(pilot, "1")
        await until(pilot, lambda: screen._timer is None)
        await press(pilot, "3")
        await until(pilot, lambda: screen._timer is not None)
        write(live, [e.Finished(time=T0 + 99, step=40, model="model", duration_s=90)])
        await shown(pilot, "✓ done")
        await until(pilot, lambda: screen._timer is None)


async def test_an_unknown_run_is_an_error_in_three_parts() -> None:
    some_runs()
    async with FinetuiApp(mode="monitor", run="done-two").run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await shown(pilot, "There is no run 'done-two'")
        assert "done-one" in screen_text(pilot)
        await press(pilot, "escape")
        await shown(pilot, "No run to watch.")


async def test_a_journal_that_begins_anew_is_read_anew(live: RunDirectory) -> None:
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "25 / 40")
        live.journal_path.unlink()
        write(live, story(80, 3))
        await shown(pilot, "3 / 80")


async def test_markup_and_escapes_of_a_run_are_only_shown(live: RunDirectory) -> None:
    write(live, [e.Warned(time=T0 + 40, text="[/foo] \x1b[31mred [@click=app.quit]x", next_step="[bold]y")])
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(160, 45)) as pilot:
        await shown(pilot, "! [/foo] ␛[31mred [@click=app.quit]x → [bold]y")
        await shown(pilot, "It left the depot [bold]today[/bold].")


async def test_ascii_terminals_get_only_ascii(live: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_ASCII", "1")
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(160, 45)) as pilot:
        await shown(pilot, "* running")
        body = "\n".join(screen_text(pilot).splitlines()[1:-1])
        assert body.isascii(), [sign for sign in body if not sign.isascii()]


# what the keys do


async def test_stop_asks_names_what_is_kept_and_is_safe_by_default(live: RunDirectory) -> None:
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "25 / 40")
        await press(pilot, "s")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        text = " ".join(screen_text(pilot).replace("┃", " ").split())
        assert "A checkpoint and the model are written first and kept" in text
        await press(pilot, "enter")
        assert control.pending(live.control_dir) == []
        await press(pilot, "s")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: control.pending(live.control_dir) == ["stop"])
        await shown(pilot, "■ stopping")
        await press(pilot, "s")  # a second time: refused, with the reason
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))


async def test_pause_twice_is_refused_with_a_reason(live: RunDirectory) -> None:
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "25 / 40")
        await press(pilot, "p")
        await shown(pilot, "‖ pausing")
        assert control.pending(live.control_dir) == ["pause"]
        await press(pilot, "p")
        await shown(pilot, "is pausing already")


async def test_resume_asks_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    some_runs()
    resumed: list[str] = []
    monkeypatch.setattr(supervisor, "resume", lambda ref: (resumed.append(ref), supervisor.get(ref))[1])
    async with FinetuiApp(mode="monitor", run="paused-one").run_test(size=(80, 24)) as pilot:
        await shown(pilot, "‖ paused")
        await press(pilot, "p v a")  # not for a paused run
        await press(pilot, "r")
        await until(pilot, lambda: resumed == ["paused-one"])


async def test_checkpoint_and_sample_are_asked_of_the_worker(live: RunDirectory) -> None:
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "25 / 40")
        await press(pilot, "v")
        await until(pilot, lambda: control.pending(live.control_dir) == ["checkpoint"])
        await press(pilot, "a")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        await type_text(pilot, "hello")
        await press(pilot, "enter")
        await until(pilot, lambda: control.pending(live.control_dir) == ["checkpoint", "sample"])


async def test_a_dial_is_turned_by_keys_and_a_wrong_value_is_named(live: RunDirectory) -> None:
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "25 / 40")
        for value, wrong in (("much", True), ("0.0001", False)):
            await press(pilot, "t")
            await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
            await press(pilot, "enter")
            await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
            await type_text(pilot, value)
            await press(pilot, "enter")
            if wrong:
                await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
                await shown(pilot, "`learning_rate` is 'much'")
                await press(pilot, "escape")
        await until(pilot, lambda: control.pending(live.control_dir) == ["change"])
        (asked,) = control.Inbox(live.control_dir).take()
        assert asked.arguments == {"name": "learning_rate", "value": 1e-4}


async def test_a_step_to_stop_after_that_is_done_is_refused_where_it_is_set(live: RunDirectory) -> None:
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "25 / 40")
        for value in ("25", "26"):
            await press(pilot, "t")
            await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
            await press(pilot, "down down enter")
            await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
            await type_text(pilot, value)
            await press(pilot, "enter")
            if value == "25":
                await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
                await shown(pilot, "step 25 is done already")
                await press(pilot, "escape")
        await until(pilot, lambda: control.pending(live.control_dir) == ["change"])
        (asked,) = control.Inbox(live.control_dir).take()
        assert asked.arguments == {"name": "stop_after", "value": 26}


async def test_panes_charts_scale_smoothing_and_follow(live: RunDirectory) -> None:
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "25 / 40")
        await press(pilot, "tab")
        await shown(pilot, "expected  It left today.")
        await press(pilot, "tab")
        await until(pilot, lambda: "It left today." not in screen_text(pilot))
        for title in ("evaluation loss", "throughput", "learning rate", "memory", "training loss"):
            await press(pilot, "right_square_bracket")
            await shown(pilot, f"╭ {title} ")
        await press(pilot, "left_square_bracket")
        await shown(pilot, "╭ memory ")
        await press(pilot, "right_square_bracket z l")
        await shown(pilot, "log scale · smoothed")
        await press(pilot, "z l")
        await until(pilot, lambda: "smoothed" not in screen_text(pilot))
        await press(pilot, "g")
        await shown(pilot, "waiting for cpu")
        write(live, [step(26, 40)])
        await shown(pilot, "▼ 1 new line")
        assert "waiting for cpu" in screen_text(pilot)
        await press(pilot, "f")
        await shown(pilot, "step 26")


async def test_four_charts_where_there_is_room_and_memory_in_exchange(live: RunDirectory) -> None:
    async with FinetuiApp(mode="monitor", run=live.id).run_test(size=(160, 45)) as pilot:
        await shown(pilot, "25 / 40")
        await shown(pilot, "learning rate")
        await press(pilot, "right_square_bracket")
        await shown(pilot, "╭ memory ")
        assert "learning rate" not in screen_text(pilot)


async def test_copy_write_detach_and_chat(
    live: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = FinetuiApp(mode="monitor", run=live.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "25 / 40")
        await press(pilot, "y")
        assert "step 25 of 40" in app.clipboard and live.id in app.clipboard
        await press(pilot, "w")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await type_text(pilot, str(tmp_path / "run.log"))
        await press(pilot, "enter")
        await until(pilot, (tmp_path / "run.log").exists)
        assert "step 20  evaluation loss" in (tmp_path / "run.log").read_text()
        talked: list[str] = []
        monkeypatch.setattr(app, "chat_with", talked.append)
        await press(pilot, "c")
        assert talked == [live.id]
        await press(pilot, "d")
        await until(pilot, lambda: app.current_mode == "runs")


# pictures


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
def test_pictures(live: RunDirectory, snap_compare: Any, size: tuple[int, int]) -> None:
    async def ready(pilot: Pilot[Any]) -> None:
        await shown(pilot, "25 / 40")
        await shown(pilot, "step 25")
        await until(pilot, lambda: pilot.app.screen.size == size)

    assert snap_compare(FinetuiApp(mode="monitor", run=live.id), terminal_size=size, run_before=ready)
