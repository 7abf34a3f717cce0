"""LongRoPE: from which length on positions are scaled otherwise; the plan parts rows there as training does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from core.backends.local import LocalBackend
from core.recipe import Recipe
from core.training.cutting import long_from
from core.training.memory import read_shape
from core.training.trainer import StepTrainer
from tests.core.training import tiny
from tests.core.training.conftest import FolderRun

FACTORS = {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
PLACE = "original_max_position_embeddings"
WRITTEN: dict[str, dict[str, Any]] = {
    "as Phi-3 was published": {PLACE: 40, "rope_scaling": {"type": "longrope", **FACTORS}},
    "as Phi-4-mini was published": {PLACE: 40, "rope_scaling": {"rope_type": "longrope", **FACTORS}},
    "as transformers writes it": {
        "rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4, PLACE: 40, **FACTORS}, PLACE: 40,
    },
}  # fmt: skip


@pytest.mark.parametrize("written", list(WRITTEN))
def test_it_is_read_from_every_kind_of_config_as_transformers_reads_it(written: str) -> None:
    content = {"head_dim": 8, "hidden_size": 32, "num_attention_heads": 4, **WRITTEN[written]}
    loaded = transformers.Phi3Config(**content, pad_token_id=0)
    assert loaded.rope_parameters["rope_type"] == "longrope"
    assert long_from(content) == long_from(loaded.to_dict()) == 40
    assert loaded.rope_parameters[PLACE] == 40


@pytest.mark.parametrize("kind", [{}, {"rope_parameters": {"rope_type": "default"}}, {"rope_scaling": None}])
def test_other_models_have_one_scale(kind: dict[str, Any]) -> None:
    assert long_from({"max_position_embeddings": 512, PLACE: 256, **kind}) is None
    assert long_from(transformers.Phi3Config(pad_token_id=0).to_dict()) is None
    assert long_from(transformers.Gemma3TextConfig().to_dict()) is None


def test_the_plan_parts_long_rows_as_training_does(
    make_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.make_model(tmp_path / "model", **WRITTEN["as transformers writes it"])
    assert read_shape(model).long_from == 40
    recipe = make_recipe(model=str(model), sample_prompts=[], max_steps=5, batch_size=2, accumulation=2)
    trained: list[tuple[int, ...]] = []
    through = StepTrainer._through

    def counted(self: StepTrainer, inputs: list[dict[str, Any]], weight: int) -> Any:
        trained.append(tuple(pack["computed"] for pack in inputs))
        return through(self, inputs, weight)

    monkeypatch.setattr(StepTrainer, "_through", counted)
    LocalBackend().train(recipe, FolderRun(tmp_path / "run"))
    lengths = {length > 40 for length in _rows(recipe)}
    assert lengths == {True, False}
    assert any(len(packs) == 2 for packs in trained), "no step had long and short rows"
    planned = LocalBackend().check(recipe).estimate
    assert planned is not None
    assert planned.pack_tokens == max(max(packs) for packs in trained)
    together = sum(sum(packs) for packs in trained)
    assert planned.computed_tokens == pytest.approx(together, abs=len(trained))


def _rows(recipe: Recipe) -> list[int]:
    from core.data.rendering import Renderer
    from core.training.estimate import measure

    return [row.tokens for row in measure(recipe, Renderer.from_folder(Path(recipe.model))).kept]
