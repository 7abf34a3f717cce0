"""The catalogue: every entry is complete, ids are unique, lookups find what a person types."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from core import catalog
from core.catalog import CatalogError, Entry, HubSource, WheelSource

EMBEDDED = "smollm2-135m-instruct"


def test_ids_and_hub_ids_are_unique() -> None:
    entries = catalog.entries()
    assert len({entry.id for entry in entries}) == len(entries)
    assert len({entry.hub_id.lower() for entry in entries}) == len(entries)


@pytest.mark.parametrize("entry", catalog.entries(), ids=lambda entry: entry.id)
def test_an_entry_is_complete(entry: Entry) -> None:
    assert re.fullmatch(r"[a-z0-9.-]+", entry.id)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.hub_id)
    assert entry.title and entry.licence and entry.licence_url.startswith("https://")
    assert 1e8 < entry.parameters < 2e10
    assert 2048 <= entry.context <= 131072
    assert re.fullmatch(r"<\|\w+\|>", entry.turn_end)
    assert entry.registry_id is None or re.fullmatch(
        r"azureml://registries/[\w-]+/models/[\w.-]+", entry.registry_id
    )
    assert any(isinstance(source, HubSource) for source in entry.sources)


def test_the_phi_family_is_there_with_its_registry_ids() -> None:
    phi = [entry for entry in catalog.entries() if entry.hub_id.startswith("microsoft/")]
    assert {entry.id for entry in phi} == {
        "phi-3-mini-4k-instruct",
        "phi-3-mini-128k-instruct",
        "phi-3.5-mini-instruct",
        "phi-4",
        "phi-4-mini-instruct",
    }
    assert all(entry.registry_id for entry in phi)


def test_the_embedded_model_names_a_pinned_wheel() -> None:
    entry = catalog.get(EMBEDDED)
    assert entry is not None
    wheel = entry.sources[1]
    assert isinstance(wheel, WheelSource)
    assert "==" in wheel.requirement
    assert re.fullmatch(r"[0-9a-f]{64}", wheel.sha256)
    assert "Q4_1" in wheel.note


def test_lookups_ignore_case() -> None:
    assert catalog.get("Phi-4") is catalog.get("phi-4") is not None
    assert catalog.by_hub_id("Microsoft/Phi-4") is catalog.get("phi-4")
    assert catalog.get("phi-5") is None
    assert catalog.by_hub_id("microsoft/phi-5") is None


def test_nearest_knows_what_was_meant() -> None:
    assert catalog.nearest("smollm2-135m-instrct")[0] == EMBEDDED
    assert catalog.nearest("Phi-4-mini")[0] in {"phi-4-mini-instruct", "phi-4"}
    assert catalog.nearest("zzzzzzzzzzzz") == ()


def test_a_broken_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    broken = tmp_path / "models.yaml"
    broken.write_text("- id: x\n  sources: [{kind: floppy}]\n")
    monkeypatch.setattr(catalog, "MODELS_FILE", broken)
    with pytest.raises(CatalogError, match=r"models\.yaml can't be read") as caught:
        catalog.entries.__wrapped__()
    assert "floppy" in caught.value.cause


def test_importing_the_catalogue_is_cheap() -> None:
    heavy = {"yaml", "pydantic", "torch", "transformers", "huggingface_hub", "numpy", "tokenizers"}
    code = f"import sys, core.catalog.fetch; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
