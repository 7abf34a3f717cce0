"""LoftQ: an adapter that begins with what quantising took, on 4 bits as it was trained and on the exact base."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import PeftModel
from peft.tuners.lora import Linear4bit
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from core.backends.local import LocalBackend
from core.recipe import Recipe, build, dump
from core.training import methods
from core.training.adapters import AdapterError, load_base
from core.training.export import export
from core.training.first_values import FirstValues
from tests.core.training import tiny
from tests.core.training.conftest import FolderRun
from tests.core.training.test_methods import loss_of
from tests.core.training.test_report import evaluated

MakeRecipe = Callable[..., Recipe]
CPU = torch.device("cpu")
NF4 = {"quantization": "nf4", "rank": 4}


def begun(base: Path, record: Path, **changes: Any) -> Any:
    """A model as training begins with it."""
    recipe = build({"model": "-", "data": "-", **NF4, **changes})
    model = methods.prepare(load_base(base, "fp32", CPU, "nf4"), recipe)
    if recipe.init is not None:
        FirstValues(model, recipe.init, base, record)
    return model


def quantised(layer: Any) -> torch.Tensor:
    weight: torch.Tensor = dequantize_4bit(layer.base_layer.weight.data, layer.base_layer.weight.quant_state)
    return weight


@pytest.mark.parametrize(
    "scale", [{}, {"alpha": 1.0}, {"alpha": 50.0, "rslora": True}], ids=["twice", "small", "rslora"]
)
@pytest.mark.parametrize("family", ["phi3", "llama", "gemma3"])
def test_it_begins_nearer_to_the_exact_model_in_every_layer_and_in_what_it_says(
    family: str, scale: dict[str, Any], tmp_path: Path
) -> None:
    base = tiny.make_model(tmp_path / "base", family=family)
    model = begun(base, tmp_path / "first.safetensors", init="loftq", **scale)
    weights = load_file(base / "model.safetensors")
    layers = [(name, part) for name, part in model.named_modules() if isinstance(part, Linear4bit)]
    assert len(layers) == {"phi3": 8, "llama": 14, "gemma3": 14}[family]
    for name, layer in layers:
        missing = weights[f"{name.removeprefix('base_model.model.')}.weight"] - quantised(layer)
        left = (missing - layer.get_delta_weight("default")).norm()
        sizes = torch.linalg.svdvals(missing)
        assert left < 0.95 * missing.norm(), name
        assert left < 1.001 * sizes[4:].norm(), name  # no product of this rank is nearer (Eckart and Young)

    ids = torch.arange(5, 45)[None]
    exact, plain = load_base(base, "fp32", CPU), begun(base, tmp_path / "none")
    with torch.no_grad():
        wanted = exact(ids).logits
        off, plainly_off = ((side(ids).logits - wanted).norm() for side in (model, plain))
    assert off < 0.95 * plainly_off


def test_weights_are_found_without_the_model_s_prefix_and_in_several_files(tmp_path: Path) -> None:
    base = tiny.make_model(tmp_path / "base")
    begun(base, tmp_path / "first.safetensors", init="loftq")
    bare = tmp_path / "bare"
    shutil.copytree(base, bare)
    weights = load_file(bare / "model.safetensors")
    (bare / "model.safetensors").unlink()
    for part in (0, 1):
        chosen = {
            name.removeprefix("model."): value
            for name, value in weights.items()
            if (".layers.1." in name) == bool(part)
        }
        save_file(chosen, bare / f"model-{part}.safetensors", metadata={"format": "pt"})
    recipe = build({"model": "-", "data": "-", **NF4})
    torch.manual_seed(0)
    model = methods.prepare(load_base(base, "fp32", CPU, "nf4"), recipe)
    FirstValues(model, "loftq", bare, tmp_path / "second.safetensors")
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("first", "second"))
    for name in one:
        if "lora_A" in name:
            other = name.replace("lora_A", "lora_B")
            assert torch.allclose(one[other] @ one[name], two[other] @ two[name], atol=1e-4)


def test_weights_under_other_names_are_refused(tmp_path: Path) -> None:
    base = tiny.make_model(tmp_path / "base")
    (tmp_path / "other").mkdir()
    with pytest.raises(AdapterError, match="can't read the exact weights"):
        recipe = build({"model": "-", "data": "-", **NF4})
        model = methods.prepare(load_base(base, "fp32", CPU, "nf4"), recipe)
        FirstValues(model, "loftq", tmp_path / "other", tmp_path / "first.safetensors")
    assert not (tmp_path / "first.safetensors").exists()


def trained(make_recipe: MakeRecipe, folder: Path, **changes: Any) -> tuple[Recipe, FolderRun]:
    recipe = make_recipe(sample_prompts=[], **NF4, **changes)
    run = FolderRun(folder)
    assert LocalBackend().train(recipe, run).kind == "finished"
    (folder / "recipe.yaml").write_text(dump(recipe))
    return recipe, run


@pytest.mark.parametrize("changes", [{}, {"rslora": True, "alpha": 3}], ids=str)
def test_what_is_saved_for_the_exact_base_adds_what_was_learned_and_no_correction(
    changes: dict[str, Any], make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path
) -> None:
    recipe, run = trained(make_recipe, tmp_path / "run", init="loftq", **changes)
    measured = run.of("evaluated")[-1].loss
    validation, saved = Path(recipe.validation or ""), tmp_path / "run/model"

    rounded = load_base(tiny_model, "fp32", CPU, "nf4")
    as_trained = PeftModel.from_pretrained(rounded, saved, subfolder="on_nf4").eval()
    assert loss_of(as_trained, validation, tiny_model) == pytest.approx(measured, rel=1e-4)

    def weights(folder: Path) -> dict[str, torch.Tensor]:
        tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), folder)
        return dict(tuned.merge_and_unload().state_dict())

    layers = {
        name.removeprefix("base_model.model."): part
        for name, part in as_trained.named_modules()
        if isinstance(part, Linear4bit)
    }
    merged, corrected_twice = weights(saved), weights(saved / "on_nf4")
    for name, layer in layers.items():
        wanted = quantised(layer) + layer.get_delta_weight("default")
        off, twice = ((found[f"{name}.weight"] - wanted).norm() for found in (merged, corrected_twice))
        assert off < 0.95 * twice, name
    on_exact = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), saved).eval()
    assert loss_of(on_exact, validation, tiny_model) == pytest.approx(measured, abs=0.01)


def test_it_is_evaluated_as_it_was_trained_and_exported_in_both_forms(
    make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path / "home"))
    _, run = trained(make_recipe, tmp_path / "run", init="loftq")
    evaluation, _ = evaluated(run.directory)
    assert evaluation["tuned"]["loss"] == pytest.approx(run.of("evaluated")[-1].loss, rel=1e-5)
    saved = run.directory / "model"
    (run.directory / "run.json").write_text('{"name": "rounded"}')  # as the store would
    list(export(run.directory, saved, "adapter", tmp_path / "out"))
    for folder in ("", "on_nf4"):
        one, two = (
            load_file(side / folder / "adapter_model.safetensors") for side in (saved, tmp_path / "out")
        )
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert 'subfolder="on_nf4"' in (tmp_path / "out/README.md").read_text()
    list(export(run.directory, saved, "merged", tmp_path / "merged"))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    recipe = make_recipe()
    assert loss_of(merged, Path(recipe.validation or ""), tiny_model) == pytest.approx(
        run.of("evaluated")[-1].loss, abs=0.01
    )
