"""A run that goes on from what another has trained: same values at its start, own copy, refusals by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.backends.local import LocalBackend
from core.recipe import Recipe, RecipeError, build
from core.training.initial import InitialError, adopted, named
from tests.core.training import tiny
from tests.core.training.conftest import FolderRun
from tests.core.training.test_tasks import labelled

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def trained(home: Path, name: str, recipe: Recipe) -> FolderRun:
    """A run in the runs directory, trained to its end."""
    folder = home / "data" / "runs" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    run = FolderRun(folder)
    LocalBackend().train(recipe, run)
    return run


def last_loss(run: FolderRun) -> float:
    return float(run.of("evaluated")[-1].loss)


@pytest.mark.parametrize("how", [{}, {"method": "ia3"}, {"dora": True, "rank": 4}, {"method": "full"}])
def test_a_run_begins_where_the_earlier_one_ended(
    make_recipe: MakeRecipe, home: Path, how: dict[str, Any]
) -> None:
    first = trained(home, "first-1", make_recipe(**how))
    second = trained(home, "second-2", make_recipe(init_from="first-1", max_steps=4))
    begun = second.of("evaluated")[0]
    assert begun.step == 0
    assert begun.loss == pytest.approx(last_loss(first), rel=1e-5)
    assert begun.loss < first.of("evaluated")[0].loss - 1e-4
    assert last_loss(second) != begun.loss


def test_the_adapters_shape_is_its_own(make_recipe: MakeRecipe, home: Path) -> None:
    first = trained(home, "first-1", make_recipe(rank=4, alpha=4, last_layers=1, rslora=True))
    recipe = adopted(make_recipe(init_from="first-1"), named("first-1"))
    assert (recipe.rank, recipe.alpha, recipe.rslora, recipe.init_from) == (4, 4, True, None)
    second = trained(home, "second-2", make_recipe(init_from="first-1", max_steps=2))
    shapes = [
        {
            name: value.shape
            for name, value in load_file(run.directory / "model/adapter_model.safetensors").items()
        }
        for run in (first, second)
    ]
    assert shapes[0] == shapes[1]
    assert second.of("planned")[0].trainable_parameters == first.of("planned")[0].trainable_parameters
    estimate = LocalBackend().check(make_recipe(init_from="first-1")).estimate
    assert estimate is not None
    assert estimate.trainable_parameters == first.of("planned")[0].trainable_parameters


def test_pissa_is_gone_on_from_as_the_plain_adapter_it_was_saved_as(
    make_recipe: MakeRecipe, home: Path
) -> None:
    first = trained(home, "first-1", make_recipe(init="pissa", rank=4))
    second = trained(home, "second-2", make_recipe(init_from="first-1", max_steps=2))
    assert second.of("evaluated")[0].loss == pytest.approx(last_loss(first), rel=1e-4)


def test_loftq_is_gone_on_from_on_the_exact_base(make_recipe: MakeRecipe, home: Path) -> None:
    first = trained(home, "first-1", make_recipe(init="loftq", quantization="nf4", rank=4))
    second = trained(home, "second-2", make_recipe(init_from="first-1", max_steps=2))
    assert second.of("evaluated")[0].loss == pytest.approx(last_loss(first), abs=0.01)


def test_a_checkpoint_can_be_named(make_recipe: MakeRecipe, home: Path) -> None:
    first = trained(home, "first-1", make_recipe())
    at_five = next(event for event in first.of("evaluated") if event.step == 5)
    second = trained(home, "second-2", make_recipe(init_from="first-1@5", max_steps=2))
    assert second.of("evaluated")[0].loss == pytest.approx(at_five.loss, rel=1e-5)


def test_the_earlier_run_may_be_deleted(make_recipe: MakeRecipe, home: Path) -> None:
    first = trained(home, "first-1", make_recipe())
    whole = trained(home, "second-2", make_recipe(init_from="first-1"))
    cut = FolderRun(home / "data/runs/third-3")
    recipe = make_recipe(init_from="first-1")
    LocalBackend().train(recipe, cut)
    shutil.rmtree(first.directory)
    shutil.rmtree(cut.directory / "model")
    shutil.rmtree(cut.directory / "checkpoints" / "step-10")
    again = FolderRun(cut.directory, cut.directory / "checkpoints" / "step-5")
    LocalBackend().train(recipe, again)
    ours, theirs = (load_file(run.directory / "model/adapter_model.safetensors") for run in (again, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_dpo_holds_the_earlier_model_as_its_reference(
    make_recipe: MakeRecipe, home: Path, tmp_path: Path
) -> None:
    from tests.core.training.test_tasks import pairs

    trained(home, "first-1", make_recipe())
    rows = str(pairs(tmp_path / "pairs.jsonl", 16))
    changes = {"task": "dpo", "data": rows, "validation": str(pairs(tmp_path / "held.jsonl", 6, seed=5))}
    second = trained(home, "second-2", make_recipe(init_from="first-1", max_steps=2, **changes))
    begun = second.of("evaluated")[0]
    assert begun.loss == pytest.approx(0.6931, abs=1e-3)  # log 2: no margin over the reference yet
    assert begun.metrics["margin"] == pytest.approx(0, abs=1e-4)


def test_a_classifier_keeps_its_head_and_its_labels(
    make_recipe: MakeRecipe, home: Path, tmp_path: Path
) -> None:
    rows = {
        "data": str(labelled(tmp_path / "a.jsonl", 24)),
        "validation": str(labelled(tmp_path / "b.jsonl", 8, 3)),
    }
    first = trained(home, "first-1", make_recipe(task="classification", **rows))
    second = trained(
        home, "second-2", make_recipe(task="classification", init_from="first-1", max_steps=2, **rows)
    )
    assert second.of("evaluated")[0].loss == pytest.approx(last_loss(first), rel=1e-5)
    others = {}
    for name, path in rows.items():
        others[name] = str(Path(path).with_suffix(".fine.jsonl"))
        Path(others[name]).write_text(Path(path).read_text().replace('"good"', '"fine"'))
    with pytest.raises(InitialError, match="bad, good"):
        trained(home, "third-3", make_recipe(task="classification", init_from="first-1", **others))


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"init_from": "nobody-9"}, "init_from", "no run 'nobody-9'"),
        ({"init_from": "first-1@99"}, "init_from", "no checkpoint of step 99"),
        ({"init_from": "first-1", "method": "ia3"}, "init_from", "trained with lora"),
        ({"init_from": "first-1", "task": "classification"}, "init_from", "is none"),
        ({"init_from": "first-1", "model": "OTHER"}, "model", "was trained from"),
    ],
)
def test_what_does_not_fit_is_a_problem_before_the_start(
    make_recipe: MakeRecipe, home: Path, tmp_path: Path, changes: dict[str, Any], key: str, words: str
) -> None:
    trained(home, "first-1", make_recipe(max_steps=2))
    if changes.get("model") == "OTHER":
        changes = {**changes, "model": str(tiny.make_model(tmp_path / "other", seed=8))}
    errors = LocalBackend().check(make_recipe(**changes)).errors
    assert [problem.key for problem in errors] == [key]
    assert words in errors[0].sentence


def test_settings_of_the_adapter_are_refused(make_recipe: MakeRecipe) -> None:
    content = json.loads(make_recipe().model_dump_json(exclude_none=True))
    with pytest.raises(RecipeError, match="`rank` is its own"):
        build({**content, "init_from": "first-1", "rank": 8})
