"""The engine equals a loop written by hand: losses, gradient norms and the final adapter, to 1e-5."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.backends.local import LocalBackend
from core.recipe import Recipe
from core.training import methods
from core.training.fit import FitError
from tests.core.training import reference
from tests.core.training.conftest import FolderRun

MakeRecipe = Callable[..., Recipe]


def run(recipe: Recipe, folder: Path) -> FolderRun:
    result = FolderRun(folder)
    assert LocalBackend().train(recipe, result).kind == "finished"
    return result


def adapter_of(model: Any) -> dict[str, torch.Tensor]:
    return {
        name.replace(".default", ""): value for name, value in model.state_dict().items() if "lora_" in name
    }


@pytest.mark.parametrize(
    ("changes", "loop"),
    [
        ({}, {}),
        ({"batch_size": 8, "accumulation": 1, "schedule": "linear"}, {"schedule": "linear"}),
        ({"batch_size": 1, "accumulation": 8, "schedule": "constant"}, {"schedule": "constant"}),
        (
            {"max_grad_norm": 0.1, "weight_decay": 0.1, "seed": 5},
            {"max_norm": 0.1, "weight_decay": 0.1, "seed": 5},
        ),
        ({"batch_size": 3, "accumulation": 1}, {"rows_per_step": 3}),
        ({"gradient_checkpointing": True}, {}),
    ],
    ids=["default", "one-batch", "accumulated", "clipped", "odd-batch", "recomputed"],
)
def test_equals_the_reference_loop(
    changes: dict[str, Any],
    loop: dict[str, Any],
    make_recipe: MakeRecipe,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = make_recipe(rank=4, **changes)
    prepare = methods.prepare

    def filled(model: Any, recipe: Recipe) -> Any:
        tuned = prepare(model, recipe)
        reference.fill_b(tuned, 0.05)
        return tuned

    monkeypatch.setattr(methods, "prepare", filled)
    result = run(recipe, tmp_path / "run")

    settings = {"rows_per_step": 8, "schedule": "cosine", "seed": 42, **loop}
    model = reference.load(tiny_model, rank=4, seed=settings["seed"], lora_b=0.05)
    rows = reference.rows_of(Path(recipe.data[0].path or ""), tiny_model)
    losses, norms = reference.train(model, rows, steps=10, peak=1e-2, warmup=0.2, **settings)

    steps = result.of("step")
    assert [step.step for step in steps] == list(range(1, 11))
    assert [step.loss for step in steps] == pytest.approx(losses, abs=1e-5)
    assert [step.grad_norm for step in steps] == pytest.approx(norms, rel=1e-4)
    assert losses[0] - losses[-1] > 0.05, "nothing was learnt, so equality would prove little"

    saved = load_file(tmp_path / "run" / "model" / "adapter_model.safetensors")
    expected = adapter_of(model)
    assert set(saved) == set(expected)
    moved = 0.0
    fresh = adapter_of(reference.load(tiny_model, rank=4, seed=settings["seed"], lora_b=0.05))
    for name, value in expected.items():
        assert torch.allclose(saved[name], value, atol=1e-5), name
        moved = max(moved, float((value - fresh[name]).abs().max()))
    assert moved > 1e-3, "the adapter did not move"


def test_targets_all_linear_layers_of_phi(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run(make_recipe(max_steps=1), tmp_path / "run")
    saved = load_file(tmp_path / "run" / "model" / "adapter_model.safetensors")
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in saved}
    assert layers == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}


def test_unknown_target_module_names_the_real_ones(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(FitError) as caught:
        LocalBackend().train(make_recipe(target_modules=["q_proj"]), FolderRun(tmp_path / "run"))
    assert "q_proj" in caught.value.what
    assert "qkv_proj" in caught.value.next_step
