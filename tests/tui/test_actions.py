"""The registry of actions: complete, without clashes, and small enough for a narrow footer."""

from __future__ import annotations

import importlib

import pytest
from rich.cells import cell_len

from tui.actions import ACTIONS, AZURE_PAGES, Action, actions_of, bindings, keys_of, show_key
from tui.app import MODE_NAMES, FinetuiApp
from tui.screens.base import ModeScreen
from tui.widgets.footer import NARROW_VERBS, RIGHT, fitting

AZURE = tuple(AZURE_PAGES)
SCREENS = (*MODE_NAMES, "evaluation", "compare", "clean", "deployments", "judge", *AZURE)
"""The modes, and the pages over them."""


def keys(action: Action) -> list[str]:
    return [key.strip() for key in action.keys.split(",")]


def screen_class(mode: str) -> type[ModeScreen]:
    cls = getattr(importlib.import_module(f"tui.screens.{mode}"), f"{mode.title().replace('_', '')}Screen")
    assert issubclass(cls, ModeScreen)
    return cls


def test_ids_are_unique_and_belong_to_a_screen_or_the_app() -> None:
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    assert {action.screen for action in ACTIONS} == {"app", *SCREENS}


@pytest.mark.parametrize("mode", SCREENS)
def test_no_key_means_two_things_on_a_screen(mode: str) -> None:
    used = [key for action in (*actions_of("app"), *actions_of(mode)) for key in keys_of(action, mode)]
    assert len(used) == len(set(used)), sorted(key for key in used if used.count(key) > 1)


@pytest.mark.parametrize("mode", SCREENS)
def test_an_action_of_the_app_keeps_a_key_on_every_screen(mode: str) -> None:
    assert all(keys_of(action, mode)[:1] == keys(action)[:1] for action in actions_of("app"))


@pytest.mark.parametrize("mode", SCREENS)
def test_no_action_takes_a_key_that_moves(mode: str) -> None:
    moves = {
        "j",
        "k",
        "up",
        "down",
        "ctrl+d",
        "ctrl+u",
        "pageup",
        "pagedown",
        "g",
        "G",
        "home",
        "end",
        "escape",
    }
    assert not [action.id for action in actions_of(mode) if moves & set(keys(action))]


def test_every_action_has_a_plain_key_that_tmux_lets_through() -> None:
    for action in ACTIONS:
        assert any("+" not in key for key in keys(action)), action.id


@pytest.mark.parametrize("mode", SCREENS)
def test_every_action_has_its_method_on_its_screen(mode: str) -> None:
    missing = [
        action.id for action in actions_of(mode) if not hasattr(screen_class(mode), f"action_{action.verb}")
    ]
    assert missing == []


def test_every_action_of_the_app_has_its_method() -> None:
    assert [
        action.id for action in actions_of("app") if not hasattr(FinetuiApp, f"action_{action.verb}")
    ] == []


@pytest.mark.parametrize("mode", SCREENS)
def test_every_screen_says_what_it_is_for(mode: str) -> None:
    cls = screen_class(mode)
    assert mode == cls.MODE
    assert len(cls.HELP) > 40
    assert cls.HOME


@pytest.mark.parametrize("mode", SCREENS)
@pytest.mark.parametrize("columns", [80, 100, 120, 160])
def test_every_footer_fits_beside_help_and_commands(mode: str, columns: int) -> None:
    shown = fitting(actions_of(mode), columns)
    width = sum(cell_len(key) + cell_len(label) + 3 for key, label in [*shown, *RIGHT])
    assert shown
    assert width <= columns
    if columns < 100:
        assert len(shown) <= NARROW_VERBS


def test_bindings_carry_the_stable_ids() -> None:
    assert [getattr(binding, "id", "") for binding in bindings("runs")] == [
        item.id for item in actions_of("runs")
    ]


def test_keys_are_shown_as_people_write_them() -> None:
    assert [show_key(name) for name in ("ctrl+p", "question_mark", "slash", "G", "escape")] == [
        "^P",
        "?",
        "/",
        "G",
        "esc",
    ]
