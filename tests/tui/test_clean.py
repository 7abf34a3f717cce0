"""The page of what can go from the disk: what is marked, what goes, what stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.app import App
from textual.pilot import Pilot

from core import paths
from core.runs import clean, supervisor, trash
from core.runs.clean import Item
from core.runs.directory import RunDirectory
from tests.core.runs.test_clean import based_on, froze, model, rows_file
from tests.core.runs.test_lineage import checkpoint, deploy, init_from
from tests.core.runs.test_trash import deleted
from tests.tui.driving import press, screen_text, shown, until
from tests.tui.made_runs import make_run, running, some_runs
from tui import clean_text
from tui.app import FinetuiApp
from tui.screens.clean import CleanScreen
from tui.screens.runs import RunsScreen
from tui.widgets.dialogs import Confirm, ErrorDialog
from tui.widgets.picklist import Pick, PickList


@pytest.fixture
def runs() -> Iterator[dict[str, RunDirectory]]:
    """Runs with checkpoints and a model, one at work, and things that nothing needs."""
    made = some_runs()
    for step in (10, 20):
        checkpoint(made["stopped-one"], step, 40_000 * step)
    used = model("smollm2-135m-instruct", size=2_700_000)
    model("owner--spare", size=7_700_000)
    busy = made["busy"] = make_run("busy", model="qwen2.5-0.5b-instruct")
    model("qwen2.5-0.5b-instruct", size=900_000)
    froze(busy, "e" * 64)
    based_on(made["done-one"], used)
    rows_file("c" * 64, 123_456)
    lock = running(busy)
    yield made
    lock.release()


async def open_page(pilot: Pilot[Any]) -> CleanScreen:
    await press(pilot, "f")
    await until(pilot, lambda: isinstance(pilot.app.screen, CleanScreen) and pilot.app.screen.loaded)
    screen = pilot.app.screen
    assert isinstance(screen, CleanScreen)
    return screen


async def go_to(pilot: Pilot[Any], screen: CleanScreen, item_id: str) -> None:
    await press(pilot, "g")
    for _ in screen.picks.picks:
        if screen.picks.chosen is not None and screen.picks.chosen.id == item_id:
            return
        await press(pilot, "j")
    raise AssertionError(item_id)


def toasts(pilot: Pilot[Any]) -> list[str]:
    return [notice.message for notice in pilot.app._notifications]


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_what_can_go_is_listed_by_kind_with_sizes_and_reasons(
    runs: dict[str, RunDirectory], size: tuple[int, int]
) -> None:
    async with FinetuiApp().run_test(size=size) as pilot:
        screen = await open_page(pilot)
        await shown(pilot, "Can go  4   3 marked, 8.2 MB")
        text = screen_text(pilot)
        for words in ("checkpoints", "models", "frozen rows", "no run needs it", "needed by 4 runs"):
            assert words in text
        assert "[x]     7.7 MB  owner--spare" in text
        assert "[ ]     2.7 MB  smollm2-135m-instruct" in text
        assert "not now: busy works with it" in text
        assert screen.picks.marked == {
            "checkpoint:stopped-one@10",
            "model:owner--spare@c0ffee",
            "rows:" + "c" * 16,
        }
        await go_to(pilot, screen, "model:smollm2-135m-instruct@c0ffee")
        await shown(pilot, "runs    done-one, stopped-one")
        await shown(pilot, "`finetui models fetch smollm2-135m-instruct` gets it again")
        await press(pilot, "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))


async def test_marked_things_go_after_a_question_whose_safe_answer_is_first(
    runs: dict[str, RunDirectory],
) -> None:
    folder = runs["stopped-one"].checkpoints_dir / "step-10"
    expected = trash.folder_bytes(folder)
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        screen = await open_page(pilot)
        await press(pilot, "a")  # all proposed are marked: none is then
        assert screen.picks.marked == set() and screen.check_action("delete", ()) is False
        await go_to(pilot, screen, "checkpoint:stopped-one@10")
        await press(pilot, "space x")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await shown(pilot, "Delete stopped-one @10 for good?")
        await shown(pilot, "400 kB are freed")
        await press(pilot, "enter")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert folder.exists()
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: not folder.exists() and screen.freed)
        assert screen.freed == expected
        assert toasts(pilot) == ["400 kB freed"]
        await shown(pilot, "400 kB freed")
        assert "Can go  3" in screen_text(pilot)
        assert (paths.models_dir() / "owner--spare" / "c0ffee").exists()


async def test_what_is_held_can_t_be_marked(runs: dict[str, RunDirectory]) -> None:
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        screen = await open_page(pilot)
        before = set(screen.picks.marked)
        await go_to(pilot, screen, "model:qwen2.5-0.5b-instruct@c0ffee")
        await press(pilot, "space")
        assert screen.picks.marked == before


async def test_what_came_into_use_meanwhile_stays_and_is_told(runs: dict[str, RunDirectory]) -> None:
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        screen = await open_page(pilot)
        froze(runs["done-one"], "c" * 64)  # a run takes the rows up while the page is open
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await press(pilot, "y")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await shown(pilot, "in use by now")
        assert (paths.rows_dir() / f"{'c' * 64}.jsonl").exists()
        assert not (paths.models_dir() / "owner--spare" / "c0ffee").exists()
        assert screen.freed > 8_000_000


async def test_the_command_for_the_marks_is_copied(runs: dict[str, RunDirectory]) -> None:
    app = FinetuiApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await open_page(pilot)
        await press(pilot, "y")
        rows = "rows:" + "c" * 16
        assert app.clipboard == (
            f"finetui clean checkpoint:stopped-one@10 model:owner--spare@c0ffee {rows} --yes"
        )


async def test_nothing_to_clean_says_what_the_page_is_for() -> None:
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await open_page(pilot)
        await shown(pilot, "There is nothing to clean.")
        await press(pilot, "space a x y r")
        await shown(pilot, "esc goes back.")


async def test_a_deployment_that_can_t_be_read_is_said() -> None:
    folder = deploy("support", {"run": "x"})
    (folder / "deployment.json").write_text("{")
    async with FinetuiApp().run_test(size=(80, 24)) as pilot:
        await press(pilot, "f")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await shown(pilot, "The deployment support can't be read")


# the list itself


class Listed(App[None]):
    def compose(self) -> Any:
        yield PickList()


async def test_the_cursor_passes_over_headings_and_marks_stay_with_their_lines() -> None:
    app = Listed()
    async with app.run_test(size=(60, 12)) as pilot:
        picks = app.query_one(PickList)
        picks.focus()
        some = [
            Pick("", "one"), Pick("a", "A [/x]"), Pick("b", "B", fixed=True), Pick("", "two"), Pick("c", "C"),
        ]  # fmt: skip
        picks.show(some, "title")
        assert picks.chosen is not None and picks.chosen.id == "a"
        seen = []
        for key in ("j", "j", "j", "k", "k", "k", "G", "g", "ctrl+d", "ctrl+u"):
            await press(pilot, key)
            seen.append(picks.chosen.id if picks.chosen else "")
        assert seen == ["b", "c", "c", "b", "a", "a", "c", "a", "c", "a"]
        picks.toggle()
        picks.toggle()  # of b, which is fixed
        await press(pilot, "G")
        picks.toggle()
        assert picks.marked == {"a", "c"}
        picks.show([Pick("", "two"), Pick("c", "C"), Pick("d", "D")], "title")
        assert picks.marked == {"c"} and picks.chosen is not None and picks.chosen.id == "c"
        assert "[x]" in screen_text(pilot)
        picks.show([], "title")
        assert picks.chosen is None
        await press(pilot, "j k g G")


async def test_a_long_list_scrolls_with_the_cursor() -> None:
    app = Listed()
    async with app.run_test(size=(60, 12)) as pilot:
        picks = app.query_one(PickList)
        picks.focus()
        picks.show([Pick("", "head"), *(Pick(f"n{at}", f"line {at}") for at in range(200))], "title")
        await pilot.pause()
        await press(pilot, "G")
        await shown(pilot, "line 199")
        assert "line 180" not in screen_text(pilot)
        await press(pilot, "g")
        await shown(pilot, "head")


# deleting runs


async def test_deleting_a_run_names_who_started_from_it(runs: dict[str, RunDirectory]) -> None:
    init_from(runs["paused-one"], "done-one@20")
    async with FinetuiApp().run_test(size=(100, 30), notifications=True) as pilot:
        screen: Any = pilot.app.screen
        await until(pilot, lambda: len(screen.table.rows_shown) == 6)
        names = [row.name for row in screen.table.runs]
        await press(pilot, "g " + "j " * names.index("done-one"))
        await shown(pilot, "to      paused-one @20, started from it")
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await shown(pilot, "Started from it, and keeping copies: paused-one @20.")
        await press(pilot, "y")
        await until(pilot, lambda: toasts(pilot))
        assert toasts(pilot)[-1].startswith("done-one is in the trash. u brings it back; f frees its ")


async def test_a_served_run_is_refused_at_once_with_the_way_out(runs: dict[str, RunDirectory]) -> None:
    deploy("support", {"models": [{"run": "stopped-one", "checkpoint": None}]})
    async with FinetuiApp().run_test(size=(100, 30)) as pilot:
        screen: Any = pilot.app.screen
        await until(pilot, lambda: len(screen.table.rows_shown) == 6)
        names = [row.name for row in screen.table.runs]
        await press(pilot, "g " + "j " * names.index("stopped-one"))
        await shown(pilot, "served  by the deployment support")
        await press(pilot, "x")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await shown(pilot, "finetui undeploy support")
        assert supervisor.get("stopped-one").trashed_at == 0


async def test_the_start_of_the_app_empties_the_trash_of_old_runs_only(home: Path) -> None:
    some_runs()
    old, young = deleted("done-one", 31), deleted("stopped-one", 29)
    async with FinetuiApp().run_test(size=(100, 30), notifications=True) as pilot:
        await until(pilot, lambda: not old.path.exists())
        await until(pilot, lambda: toasts(pilot))
        assert toasts(pilot)[0].startswith("Gone from the trash after 30 days: 1 run, ")
        assert young.path.exists()


# words


def item(**values: Any) -> Item:
    usual = {
        "id": "model:a", "kind": "model", "title": "a\x1b[2J", "why": "no run needs it", "back": "fetched again",
        "bytes": 5_000_000, "path": Path("/x"), "proposed": True,
    }  # fmt: skip
    return Item(**{**usual, **values})


def test_lines_tell_marks_sizes_and_ids_and_nothing_acts_on_the_terminal() -> None:
    told = clean_text.lines(
        [item(), item(id="rows:b", kind="rows", held="x starts", proposed=False, title="a" * 300)], 70
    )
    assert told[0] == "models" and told[1].startswith("  [x]   5.0 MB  a␛[2J")
    assert told[4] == "frozen rows" and told[5].startswith("  [-]")
    assert max(map(cell_len, told)) <= 70 and "\x1b" not in "".join(told)
    assert clean_text.sums([item(), item(held="x")]) == "1 can go (5.0 MB), 1 of them proposed (5.0 MB)"


def test_a_confirmation_says_what_is_lost_and_who_needs_it() -> None:
    several = [item(title=str(at), needed_by=("run-1",)) for at in range(6)]
    told = clean_text.loses(several)
    assert told.startswith("30 MB are freed: 0, 1, 2, 3 and 2 more. It can't be undone.")
    assert "run-1 can't be resumed or talked to" in told and "chats" not in told
    assert "can't be had again" in clean_text.loses([item(kind="checkpoint")])
    assert set(clean.KINDS) >= {"model", "chat"} and json.dumps(item().as_dict())


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
def test_pictures(
    runs: dict[str, RunDirectory], snap_compare: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.clean_text.visible", lambda text: text.split("/home/")[-1])

    async def ready(pilot: Pilot[Any]) -> None:
        screen = await open_page(pilot)
        await go_to(pilot, screen, "model:smollm2-135m-instruct@c0ffee")
        await shown(pilot, "runs    done-one, stopped-one")

    assert snap_compare(FinetuiApp(), terminal_size=size, run_before=ready)
