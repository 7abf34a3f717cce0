"""What is changed while a run goes, and what is told of a run that went on: dials, the warm-up, the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.recipe import Recipe
from core.training.report_file import put_evaluation
from tests.core.training.conftest import Ask, FolderRun
from tests.core.training.test_trainer import train

MakeRecipe = Callable[..., Recipe]


def test_dials_are_turned_while_a_run_goes_and_stay_turned_when_it_is_resumed(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(schedule="linear", warmup=0.0, max_steps=10, evaluate_every=5, sample_prompts=[])
    whole = FolderRun(tmp_path / "whole")
    train(recipe, whole)
    first = FolderRun(tmp_path / "run")
    first.asked = {
        2: Ask("change", {"name": "learning_rate", "value": 5e-3}),
        3: Ask("change", {"name": "evaluate_every", "value": 2}),
        5: Ask("change", {"name": "stop_after", "value": 8}),
        6: Ask("pause"),
    }
    train(recipe, first)
    second = FolderRun(tmp_path / "run", resume_from=tmp_path / "run/checkpoints/step-6")
    assert train(recipe, second).kind == "stopped"
    steps = [*first.of("step"), *second.of("step")]
    assert [step.step for step in steps] == list(range(1, 9))
    planned = [step.learning_rate for step in whole.of("step")]
    assert [step.learning_rate for step in steps] == pytest.approx(
        [*planned[:2], *(rate / 2 for rate in planned[2:8])]
    )
    evaluated = [event.step for event in [*first.of("evaluated"), *second.of("evaluated")]]
    assert evaluated == [0, 4, 6, 8]
    told = [(event.name, event.old, event.new, event.step) for event in first.of("changed")]
    assert told == [
        ("learning_rate", "0.01", "0.005", 2),
        ("evaluate_every", "5", "2", 3),
        ("stop_after", "the end", "8", 5),
    ]


def test_a_run_stopped_by_stop_after_goes_on_when_it_is_resumed(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(sample_prompts=[])
    first = FolderRun(tmp_path / "run")
    first.asked = {2: Ask("change", {"name": "stop_after", "value": 3})}
    outcome = train(recipe, first)
    assert (outcome.kind, outcome.step) == ("stopped", 3)
    (tmp_path / "run" / "model").rename(tmp_path / "first_model")
    second = FolderRun(tmp_path / "run", resume_from=tmp_path / "run/checkpoints/step-3")
    outcome = train(recipe, second)
    assert (outcome.kind, outcome.step) == ("finished", 10)
    told = [(event.name, event.old, event.new, event.step) for event in second.of("changed")]
    assert told == [("stop_after", "3", "the end", 3)]


def test_what_was_measured_of_earlier_weights_is_not_told_of_later_ones(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe, folder = make_recipe(sample_prompts=[]), tmp_path / "run"
    first = FolderRun(folder)
    first.asked = {4: Ask("stop")}
    train(recipe, first)
    report = folder / "report.json"
    told = json.loads(report.read_text())
    put_evaluation(report, {"step": 4})
    (folder / "model").rename(tmp_path / "first_model")

    second = FolderRun(folder, resume_from=folder / "checkpoints" / "step-4")
    second.worked, second.asked = 20.0, {2: Ask("pause")}
    assert train(recipe, second).kind == "paused"
    kept = json.loads(report.read_text())
    assert kept == {**told, "evaluation": {"step": 4}}  # the model is still that of step 4

    third = FolderRun(folder, resume_from=folder / "checkpoints" / "step-6")
    third.worked = 31.5
    train(recipe, third)
    last = json.loads(report.read_text())
    assert "evaluation" not in last
    assert (last["step"], last["seconds"], last["base_loss"]) == (10, 31.5, told["base_loss"])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("rank", 8, "can't be changed"),
        ("learning_rate", -1, "`learning_rate` is -1"),
        ("evaluate_every", "often", "`evaluate_every` is 'often'"),
        ("stop_after", 0, "`stop_after` is 0"),
        ("stop_after", 1, "`stop_after` is 1, and step 1 is done already"),
    ],
)
def test_a_dial_that_can_t_be_turned_is_a_warning_and_the_run_goes_on(
    name: str, value: Any, said: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    run = FolderRun(tmp_path / "run")
    run.asked = {2: Ask("change", {"name": name, "value": value})}
    assert train(make_recipe(max_steps=3, sample_prompts=[]), run).kind == "finished"
    (warned,) = run.of("warned")
    assert said in warned.text
    assert not run.of("changed")


@pytest.mark.parametrize(("steps", "first_rates"), [(3, [1e-2, 1e-2]), (20, [0.0, 1e-2])])
def test_a_warm_up_of_less_than_half_a_step_is_none(
    steps: int, first_rates: list[float], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    settings = {
        "schedule": "constant",
        "warmup": 0.03,
        "batch_size": 1,
        "accumulation": 1,
        "sample_prompts": [],
    }
    run = FolderRun(tmp_path / "run")
    train(make_recipe(max_steps=steps, **settings), run)
    assert [step.learning_rate for step in run.of("step")][:2] == first_rates
