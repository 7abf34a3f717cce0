"""Every method on every kind of model: it learns, leaves the rest alone, and what is saved is what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.utils.integrations import dequantize_bnb_weight
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from core.backends.local import LocalBackend
from core.recipe import Recipe, build
from core.training import methods
from core.training.adapters import load_base
from core.training.fit import FitError
from core.training.fused_layers import fuse
from core.training.fused_quantized import LAYERS
from tests.core.training import reference, tiny
from tests.core.training.conftest import Ask, FolderRun
from tests.core.training.test_packing import make_rows, packed, worst

MakeRecipe = Callable[..., Recipe]
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4},
    "rslora": {"rank": 4, "rslora": True},
    "dora": {"rank": 4, "dora": True},
    "pissa": {"rank": 4, "init": "pissa"},
    "lora+": {"rank": 4, "lora_plus_ratio": 8},
    "lora on the last layer": {"rank": 4, "last_layers": 1},
    "lora and the head": {"rank": 4, "modules_to_save": ["lm_head"]},
    "lora on the head": {"rank": 4, "target_modules": ["o_proj", "lm_head"]},
    "qlora nf4": {"rank": 4, "quantization": "nf4"},
    "loftq": {"rank": 4, "quantization": "nf4", "init": "loftq", "alpha": 2},
    "qlora int8": {"rank": 4, "quantization": "int8"},
    "dora on nf4": {"rank": 4, "quantization": "nf4", "dora": True},
    "ia3": {"method": "ia3", "learning_rate": 0.2},
    "full": {"method": "full", "learning_rate": 3e-3},
    "last layer": {"method": "full", "last_layers": 1},
    "chosen modules": {"method": "full", "target_modules": ["down_proj", "norm"]},
}
WHOLE = {"full", "last layer", "chosen modules"}
ON_HEAD = {"lora and the head", "lora on the head"}
TIED = {"qwen2", "gemma3"}
"""Families whose head is their embedding."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("families")
    return {family: tiny.make_model(folder / family, family=family) for family in tiny.FAMILIES}


def run(recipe: Recipe, folder: Path) -> FolderRun:
    result = FolderRun(folder)
    assert LocalBackend().train(recipe, result).kind == "finished"
    return result


def loss_of(model: Any, data: Path, base: Path) -> float:
    """Row by row, by the model's own forward pass."""
    total = tokens = 0.0
    with torch.no_grad():
        for ids, trained in reference.rows_of(data, base):
            logits = model(ids[None], use_cache=False).logits[0, :-1]
            wanted = trained[1:]
            losses = torch.nn.functional.cross_entropy(logits[wanted], ids[1:][wanted], reduction="sum")
            total, tokens = total + losses.item(), tokens + wanted.sum().item()
    return total / tokens


def grid() -> Iterator[Any]:
    """Every method on every family; each method on one of them is quick, by turns."""
    families = list(tiny.FAMILIES)
    for at, method in enumerate(METHODS):
        quick = families[at % len(families)]
        for family in families:
            yield pytest.param(family, method, marks=() if family == quick else pytest.mark.slow)


@pytest.mark.parametrize(("family", "method"), grid())
def test_it_learns_and_what_is_saved_is_what_was_measured(
    family: str, method: str, models: dict[str, Path], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    base, changes = models[family], METHODS[method]
    recipe = make_recipe(model=str(base), sample_prompts=[], **changes)
    if method in ON_HEAD and family in TIED:
        with pytest.raises(FitError, match="lm_head can't be adapted"):
            LocalBackend().train(recipe, FolderRun(tmp_path / "run"))
        return
    done = run(recipe, tmp_path / "run")
    losses = [step.loss for step in done.of("step")]
    assert sum(losses[:3]) - sum(losses[-3:]) > 0.03
    measured = done.of("evaluated")[-1]
    assert measured.loss < done.of("evaluated")[0].loss
    sizes = LocalBackend().check(recipe).estimate
    assert sizes is not None
    (planned,) = done.of("planned")
    assert (sizes.trainable_parameters, sizes.parameters) == (
        planned.trainable_parameters,
        planned.parameters,
    )

    saved, validation = tmp_path / "run/model", Path(recipe.validation or "")
    if method in WHOLE:
        tuned = AutoModelForCausalLM.from_pretrained(saved)
        assert loss_of(tuned, validation, base) == pytest.approx(measured.loss, rel=1e-4)
        check_frozen(method, load_file(base / "model.safetensors"), load_file(saved / "model.safetensors"))
        return
    plain = load_base(base, "fp32", torch.device("cpu"), recipe.quantization)
    as_trained = saved / "on_nf4" if method == "loftq" else saved
    tuned = PeftModel.from_pretrained(plain, as_trained).eval()
    assert loss_of(tuned, validation, base) == pytest.approx(measured.loss, rel=1e-4)
    check_merge(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), saved).eval())


def check_frozen(method: str, before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> None:
    """What is not trained is bit for bit as it was."""
    may_change = {
        "full": lambda name: True,
        "last layer": lambda name: ".layers.1." in name,
        "chosen modules": lambda name: "down_proj" in name or name == "model.norm.weight",
    }[method]
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(may_change(name) for name in changed)
    assert len(changed) >= 0.9 * sum(map(may_change, before))


def check_merge(tuned: Any) -> None:
    """Merged into the weights, the adapter gives the same logits, and others than the base."""
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        beside = tuned(ids).logits
        with tuned.disable_adapter():
            bare = tuned(ids).logits
        merged = tuned.merge_and_unload()(ids).logits
    assert (merged - beside).abs().max() < 1e-4
    assert (bare - beside).abs().max() > 1e-3


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("family", ["phi3", "llama"])
def test_fused_quantised_layers_are_those_of_the_rounded_weights(
    quantization: str, family: str, models: dict[str, Path]
) -> None:
    rounded = load_base(models[family], "fp32", torch.device("cpu"), quantization)
    exact = load_base(models[family], "fp32", torch.device("cpu"))
    parts = dict(exact.named_modules())
    for name, part in rounded.named_modules():
        if type(part) in LAYERS:
            weight = dequantize_bnb_weight(part.weight, state=getattr(part, "state", None))
            assert not torch.equal(parts[name].weight, weight)
            parts[name].weight.data = weight
    tuned = []
    for base, changes in ((rounded, {"quantization": quantization}), (exact, {})):
        model = methods.prepare(base, build({"model": "-", "data": "-", "rank": 4, **changes}))
        torch.manual_seed(3)
        for item in model.parameters():
            if item.requires_grad:
                item.data.normal_(std=0.1)
        tuned.append(model.train())
    assert [fuse(model) for model in tuned] == [2, 2]
    losses, gradients = [], []
    for model in tuned:
        loss, gradient, _ = packed(model, make_rows(), 150, share=True)
        losses.append(loss)
        gradients.append(gradient)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert worst(*gradients) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"init": "pissa", "rank": 4, "rslora": True},
        {"init": "loftq", "rank": 4, "quantization": "nf4"},
        {"method": "full"},
        {"quantization": "int8", "rank": 4, "dropout": 0.1, "optimizer": "adamw_8bit"},
        {"method": "full", "optimizer": "muon", "last_layers": 1},
        *(
            pytest.param(changes, marks=pytest.mark.slow)
            for changes in (
                {"init": "pissa", "rank": 4},
                {"method": "ia3"},
                {"quantization": "nf4", "rank": 4},
                {"optimizer": "adafactor"},
                {"optimizer": "lion_8bit", "lora_plus_ratio": 4},
                {"neftune_alpha": 5, "loss": "dft"},
                {"schedule": "warmup_stable_decay", "optimizer": "lion"},
            )
        ),
    ],
    ids=str,
)
def test_a_resumed_run_is_the_same_run_bit_for_bit(
    changes: dict[str, Any], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(sample_prompts=[], learning_rate=1e-3, **changes)
    whole = run(recipe, tmp_path / "whole")
    first = FolderRun(tmp_path / "parts")
    first.asked = {4: Ask("pause")}
    LocalBackend().train(recipe, first)
    second = FolderRun(tmp_path / "parts", resume_from=tmp_path / "parts/checkpoints/step-4")
    assert LocalBackend().train(recipe, second).kind == "finished"
    losses = [step.loss for step in [*first.of("step"), *second.of("step")]]
    assert losses == [step.loss for step in whole.of("step")]
    (name,) = {item.name for item in (tmp_path / "whole/model").glob("*.safetensors")}
    one, two = (load_file(tmp_path / side / "model" / name) for side in ("whole", "parts"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "adafactor", "lion", "lion_8bit", "muon", "sgd"])
def test_every_optimiser_learns(optimizer: str, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    rate = {"sgd": 1.0, "lion": 3e-3, "lion_8bit": 3e-3, "muon": 3e-2}.get(optimizer, 1e-2)
    done = run(make_recipe(sample_prompts=[], optimizer=optimizer, learning_rate=rate), tmp_path / "run")
    losses = [step.loss for step in done.of("step")]
    assert losses[0] - losses[-1] > 0.05


def test_a_run_of_one_step_learns_whatever_its_warm_up(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """The first step of a warm-up has a learning rate of 0."""
    run(make_recipe(sample_prompts=[], max_steps=1, warmup=0.5, schedule="constant"), tmp_path / "run")
    saved = load_file(tmp_path / "run/model/adapter_model.safetensors")
    assert max(value.abs().max() for name, value in saved.items() if "lora_B" in name) > 0


def test_a_head_that_is_the_embedding_is_saved_once(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    base = tiny.make_model(tmp_path / "tied", family="qwen2")
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    names = load_file(base / "model.safetensors").keys()
    assert "lm_head.weight" not in names
    recipe = make_recipe(model=str(base), method="full", learning_rate=3e-3, sample_prompts=[])
    first = FolderRun(tmp_path / "run")
    first.asked = {5: Ask("pause")}
    assert LocalBackend().train(recipe, first).kind == "paused"
    second = FolderRun(tmp_path / "run", resume_from=tmp_path / "run/checkpoints/step-5")
    assert LocalBackend().train(recipe, second).kind == "finished"
    saved, checkpoint = tmp_path / "run/model", tmp_path / "run/checkpoints/step-10"
    assert load_file(saved / "model.safetensors").keys() == names
    tuned = AutoModelForCausalLM.from_pretrained(saved)
    rounded = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
    assert tuned.lm_head.weight is tuned.model.embed_tokens.weight
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        assert torch.equal(tuned(ids).logits, rounded(ids).logits)


def test_lora_plus_lets_b_learn_faster(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """After one step of AdamW a weight has moved by its learning rate."""
    recipe = make_recipe(
        sample_prompts=[], max_steps=1, warmup=0, schedule="constant", lora_plus_ratio=8, learning_rate=1e-3
    )
    run(recipe, tmp_path / "run")
    saved = load_file(tmp_path / "run/model/adapter_model.safetensors")
    largest = max(value.abs().max() for name, value in saved.items() if "lora_B" in name)
    assert largest == pytest.approx(8e-3, rel=1e-2)


def test_more_layers_than_there_are_are_refused(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(FitError, match="the model has 2 layers"):
        LocalBackend().train(make_recipe(last_layers=3), FolderRun(tmp_path / "run"))


def test_modules_that_are_not_there_are_named(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    for method in ("full", "ia3"):
        recipe = make_recipe(method=method, target_modules=["q_proj"])
        with pytest.raises(FitError, match="does not fit the model") as caught:
            LocalBackend().train(recipe, FolderRun(tmp_path / method))
        assert "qkv_proj" in str(caught.value)
