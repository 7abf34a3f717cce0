"""What is said of a recipe before anything is spent: the plan is what the run does, problems name key and remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core import backends, devices
from core.backends.base import BackendError, Checked
from core.backends.local import LocalBackend
from core.recipe import Recipe
from tests.core.training.conftest import FolderRun

MakeRecipe = Callable[..., Recipe]


def check(recipe: Recipe) -> Checked:
    return LocalBackend().check(recipe)


def errors(recipe: Recipe) -> list[tuple[str, str]]:
    return [(problem.key, problem.sentence) for problem in check(recipe).errors]


@pytest.mark.parametrize(
    "changes",
    [
        {"max_steps": 3},
        {"max_steps": None, "epochs": 1.5, "batch_size": 3},
        {"max_steps": None, "epochs": 2, "sequence_length": 24},
        {"max_steps": None, "epochs": 1, "validation": None, "validation_fraction": 0.25},
    ],
)
def test_the_estimate_is_what_the_run_does(
    changes: dict[str, Any], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(sample_prompts=[], **changes)
    sizes = check(recipe).estimate
    assert sizes is not None
    run = FolderRun(tmp_path / "run")
    LocalBackend().train(recipe, run)
    (planned,) = run.of("planned")
    assert sizes.steps == planned.steps == len(run.of("step"))
    assert sizes.trainable_parameters == planned.trainable_parameters
    assert sizes.parameters + sizes.trainable_parameters == planned.parameters
    assert sizes.validation_rows == planned.validation_rows
    if not recipe.validation_fraction:  # which rows are split off is only known to the run
        assert (sizes.rows, sizes.cut_rows, sizes.dropped_rows) == (
            planned.rows, planned.cut_rows, planned.dropped_rows,
        )  # fmt: skip
    assert sizes.tokens == pytest.approx(planned.tokens, rel=0.25)


def test_nothing_stands_against_a_good_recipe(make_recipe: MakeRecipe) -> None:
    assert check(make_recipe()).problems == ()


def test_too_little_memory_names_need_and_remedy(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "memory", lambda device: (10_000_000, 20_000_000))
    (problem,) = check(make_recipe()).errors
    assert "Too little memory" in problem.sentence
    assert "10.0 MB free on cpu" in problem.sentence
    assert "token_budget" in problem.fix


def test_memory_grows_with_the_batch_and_shrinks_by_recomputing(make_recipe: MakeRecipe) -> None:
    def peak(**changes: Any) -> int:
        sizes = check(make_recipe(**changes)).estimate
        assert sizes is not None
        return sizes.peak_bytes

    assert peak(batch_size=1) < peak(batch_size=4) < peak(batch_size=16)
    assert peak(gradient_checkpointing=True) < peak()
    assert peak(batch_size=4, token_budget=64) == peak(batch_size=16, token_budget=64) < peak(batch_size=16)


def test_too_little_disk(make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.training import estimate

    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: usage)
    (problem,) = check(make_recipe()).errors
    assert (problem.key, "Too little disk" in problem.sentence) == ("keep_checkpoints", True)


def test_a_gpu_that_is_not_there(make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpus", list)
    assert errors(make_recipe(device="cuda:3")) == [
        ("device", "There is no `cuda:3` here; this machine has no GPU.")
    ]  # fmt: skip


def test_fp16_on_a_cpu(make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpus", list)
    assert errors(make_recipe(precision="fp16")) == [("precision", "fp16 does not train on a CPU.")]


def test_files_are_named_with_line_and_column(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    rows = tmp_path / "bad.jsonl"
    good = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
    alone = json.dumps({"messages": [{"role": "user", "content": "a"}]})
    rows.write_text(f"{good}\n{good[:-20]}\n{alone}\n")
    found = errors(make_recipe(data=str(rows)))
    assert [key for key, _ in found] == ["data", "data"]
    assert f"{rows}:2: " in found[0][1]
    assert "column" in found[0][1]
    assert f"{rows}:3: " in found[1][1]
    assert "assistant" in found[1][1]


def test_many_broken_rows_are_counted_not_listed(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    rows = tmp_path / "bad.jsonl"
    rows.write_text('{"messages": [}\n' * 30)
    found = errors(make_recipe(data=str(rows)))
    assert len(found) == 6
    assert found[-1][1] == "25 more problems in bad.jsonl."


def test_rows_the_template_cannot_render_are_named(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    rows = tmp_path / "odd.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<|end|> b"}]
    rows.write_text(json.dumps({"messages": turns}) + "\n")
    ((key, sentence),) = errors(make_recipe(data=str(rows)))
    assert key == "data"
    assert f"{rows}:1" in sentence
    assert "<|end|>" in sentence


def test_a_missing_file_is_a_problem_beside_others(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    found = errors(make_recipe(data=str(tmp_path / "none.jsonl"), precision="fp16"))
    assert {key for key, _ in found} == {"data", "precision"}
    assert "does not exist" in dict(found)["data"]


def test_a_file_changed_on_disk_is_read_again(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{\n")
    assert errors(make_recipe(data=str(rows)))
    rows.write_text(Path(make_recipe().data[0].path or "").read_text())
    assert not errors(make_recipe(data=str(rows)))


def test_unknown_model_and_missing_template(
    make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path
) -> None:
    ((key, sentence),) = errors(make_recipe(model="smollm2-135m-instrct"))
    assert key == "model"
    bare = tmp_path / "bare"
    bare.mkdir()
    for item in tiny_model.iterdir():
        if item.name != "chat_template.jinja":
            (bare / item.name).write_bytes(item.read_bytes())
    ((key, sentence),) = errors(make_recipe(model=str(bare)))
    assert key == "chat_template"
    assert "chat_template" in sentence or "template" in sentence
    template = tmp_path / "phi.jinja"
    template.write_text((tiny_model / "chat_template.jinja").read_text())
    assert not errors(make_recipe(model=str(bare), chat_template=str(template)))


def test_rows_that_are_cut_are_a_warning(make_recipe: MakeRecipe) -> None:
    (problem,) = check(make_recipe(sequence_length=32)).problems
    assert problem.severity == "warning"
    assert "longer than 32 tokens" in problem.sentence


def test_no_validation_is_a_warning(make_recipe: MakeRecipe) -> None:
    (problem,) = check(make_recipe(validation=None)).problems
    assert (problem.severity, problem.key) == ("warning", "validation")


def test_azure_is_refused_by_name() -> None:
    with pytest.raises(BackendError) as caught:
        backends.get("azure")
    assert "azure" in caught.value.what
    assert "local" in caught.value.next_step
