"""What is said of a recipe before anything is spent: the plan is what the run does, problems name key and remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import backends, devices
from core.backends.base import BackendError, Checked
from core.backends.local import LocalBackend
from core.data.rendering import Renderer
from core.recipe import Recipe
from core.training.estimate import compute, measure, peak_of
from core.training.fit import FitError
from core.training.memory import read_shape
from core.training.nearest import nearest_that_fits
from core.training.probe import Speeds, ask, time_plan
from tests.core.training import tiny
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
        {"max_steps": 1, "validation": None, "validation_fraction": 0.02},
        {"max_steps": 1, "method": "full"},
        {"max_steps": 1, "modules_to_save": ["lm_head"]},
        {"max_steps": 1, "modules_to_save": ["mlp"], "target_modules": ["qkv_proj"]},
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
    assert sizes.parameters == planned.parameters
    assert sizes.validation_rows == planned.validation_rows
    if not recipe.validation_fraction:  # which rows are split off is only known to the run
        assert (sizes.rows, sizes.cut_rows, sizes.dropped_rows) == (
            planned.rows, planned.cut_rows, planned.dropped_rows,
        )  # fmt: skip
    assert sizes.tokens == pytest.approx(planned.tokens, rel=0.25)


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"modules_to_save": ["foo"]}, "modules_to_save", "`modules_to_save` foo does not fit the model."),
        ({"modules_to_save": ["proj"]}, "modules_to_save", "None of its modules is called proj."),
        ({"target_modules": ["foo"]}, "target_modules", "None of its modules is called foo."),
        ({"target_modules": ["qkv_proj", "foo"]}, "target_modules", "None of its modules is called foo."),
        ({"target_modules": ["norm"]}, "target_modules", "None of its modules is called norm."),
        (
            {"target_modules": ["lm_head"], "last_layers": 1},
            "target_modules",
            "in the last layer is called lm_head",
        ),
        ({"last_layers": 3}, "last_layers", "`last_layers` is 3; the model has 2 layers."),
        ({"last_layers": 3, "method": "ia3"}, "last_layers", "the model has 2 layers."),
        ({"last_layers": 3, "method": "full"}, "last_layers", "the model has 2 layers."),
        (
            {"target_modules": ["foo"], "method": "ia3"},
            "target_modules",
            "None of its modules is called foo.",
        ),
        (
            {"target_modules": ["foo"], "method": "full"},
            "target_modules",
            "None of its modules is called foo.",
        ),
    ],
    ids=str,
)
def test_what_a_model_lacks_is_refused_before_the_run_and_by_it(
    changes: dict[str, Any], key: str, said: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(**changes)
    (problem,) = errors(recipe)
    assert problem[0] == key and said in problem[1]
    with pytest.raises(FitError) as caught:
        LocalBackend().train(recipe, FolderRun(tmp_path / "run"))
    assert said in f"{caught.value.what} {caught.value.cause}"


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": ["norm"], "method": "full"},
        {"target_modules": ["self_attn.qkv_proj", "lm_head"]},
        {"modules_to_save": ["mlp", "layers.0.self_attn"], "target_modules": ["lm_head"]},
        {"last_layers": 2},
    ],
    ids=str,
)
def test_what_a_model_has_is_not_refused(changes: dict[str, Any], make_recipe: MakeRecipe) -> None:
    assert errors(make_recipe(**changes)) == []


def test_labels_that_can_t_be_learned_are_refused_before_the_run(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    rows, held = tmp_path / "rows.jsonl", tmp_path / "held.jsonl"
    held.write_text('{"text": "the lamp", "label": "x"}\n{"text": "the lamp", "label": "unseen"}\n')
    recipe = make_recipe(task="classification", data=str(rows), validation=str(held))
    for others, told in (
        ("x", "All rows have the same label, 'x'."),
        ("y", "no training row has the label 'unseen'"),
    ):
        labels = ["x"] * 3 + [others]
        rows.write_text("".join(f'{{"text": "the lamp", "label": "{label}"}}\n' for label in labels))
        (problem,) = errors(recipe)
        assert told in problem[1]
    held.write_text('{"text": "the lamp", "label": "y"}\n')
    assert errors(recipe) == []


def test_a_fraction_that_holds_no_row_back_is_warned_of(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    one = tiny.make_rows(tmp_path / "one.jsonl", 1)
    recipe = make_recipe(data=str(one), validation=None, validation_fraction=0.1)
    (problem,) = check(recipe).problems
    assert (problem.severity, problem.key) == ("warning", "validation_fraction")
    two = tiny.make_rows(tmp_path / "two.jsonl", 2)
    assert check(make_recipe(data=str(two), validation=None, validation_fraction=0.1)).problems == ()


def test_nothing_stands_against_a_good_recipe(make_recipe: MakeRecipe) -> None:
    assert check(make_recipe()).problems == ()


def test_too_little_memory_names_need_and_what_would_fit(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(batch_size=16)
    sizes = check(recipe).estimate
    assert sizes is not None
    monkeypatch.setattr(devices, "memory", lambda device: (sizes.peak_bytes - 1, sizes.peak_bytes))
    (problem,) = check(recipe).errors
    assert "Too little memory" in problem.sentence
    assert "MB free on cpu" in problem.sentence
    found = re.fullmatch(
        r"Set `token_budget: (\d+)`: that fits; what is learned stays the same.", problem.fix
    )
    assert found
    assert check(make_recipe(batch_size=16, token_budget=int(found[1]))).errors == []


def test_rows_are_shortened_last_and_nothing_is_promised_where_nothing_helps(
    make_recipe: MakeRecipe, tiny_model: Path
) -> None:
    recipe = make_recipe(batch_size=16, sequence_length=2048)
    renderer = Renderer.from_folder(tiny_model)
    shape = replace(read_shape(tiny_model), layers=30, hidden=512)

    def needed(**changes: Any) -> int:
        changed = recipe.model_copy(update=changes)
        computed = compute(changed, measure(changed, renderer), changed.token_budget or 1024)
        return peak_of(changed, shape, computed, "fp32", "cpu").total

    def nearest(available: int) -> dict[str, Any]:
        return nearest_that_fits(recipe, "cpu", "fp32", shape, renderer, available)

    anew = needed(gradient_checkpointing=True, token_budget=128)
    assert needed() > needed(token_budget=256) > needed(token_budget=128) > anew
    assert nearest(needed(token_budget=256)) == {"token_budget": 256}
    assert nearest(needed(token_budget=128)) == {"token_budget": 128}
    assert nearest(anew)["gradient_checkpointing"] is True
    assert nearest(100_000) == {}


def test_the_time_is_what_a_short_training_says(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(max_steps=10, evaluate_every=5, sample_prompts=["one", "two", "three"])
    sizes = check(recipe).estimate
    assert sizes is not None
    speeds = ask(recipe, "cpu")
    assert speeds.measured_tokens > 0
    assert speeds.train_tokens_per_s > 0
    assert speeds.saved_bytes_per_s > 0
    model_bytes = sizes.disk_bytes - sizes.checkpoints * sizes.checkpoint_bytes
    made = Speeds(
        start_s=3.0,
        train_tokens_per_s=sizes.computed_tokens / 20,
        evaluate_tokens_per_s=1e9,
        reply_s=0.5,
        saved_bytes_per_s=(2 * sizes.checkpoint_bytes + model_bytes) / 7,
        measured_tokens=1,
    )
    times = time_plan(recipe, sizes, made)
    assert times.train_s == pytest.approx(20)
    assert times.samples_s == pytest.approx(
        3 * 4 * 0.5
    )  # before, in the middle and at the end; 4 tokens each
    assert times.save_s == pytest.approx(7)  # two checkpoints and the model
    assert times.total_s == pytest.approx(3 + 20 + 6 + 7, abs=0.1)
    assert times.tokens_per_s == pytest.approx(sizes.tokens / 20)


def test_memory_grows_with_the_batch_as_far_as_the_budget_goes(make_recipe: MakeRecipe) -> None:
    def peak(**changes: Any) -> int:
        sizes = check(make_recipe(**changes)).estimate
        assert sizes is not None
        return sizes.peak_bytes

    assert peak(batch_size=1) < peak(batch_size=4) < peak(batch_size=16)
    assert peak(batch_size=16, token_budget=64) == pytest.approx(
        peak(batch_size=4, token_budget=64), rel=1e-3
    )
    assert peak(batch_size=16, token_budget=64) < peak(batch_size=16)


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


def test_a_backend_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(BackendError) as caught:
        backends.get("moon")
    assert "moon" in caught.value.what
    assert "local" in caught.value.next_step
