"""Every test gets a home of its own, so that none reads or writes the developer's."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# The models of the tests are so small that threads only wait for each other, and tests run side by side.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def embedded_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real SmolLM2 folder: of FINETUI_TEST_MODELS when that is set, else fetched once for the session."""
    from core.catalog.fetch import ModelError, fetch, resolve

    if models := os.environ.get("FINETUI_TEST_MODELS"):
        return next(Path(models).glob("smollm2-135m-instruct/[!.]*"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUI_HOME", str(tmp_path_factory.mktemp("models")))
        try:
            return fetch(resolve("smollm2-135m-instruct"), lambda *_: None).folder
        except ModelError as error:
            pytest.skip(f"the embedded model can't be had here: {error}")


# The same examples every time, and no stopwatch: what fails here fails everywhere.
hypothesis.settings.register_profile("finetui", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("finetui")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty FINETUI_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("FINETUI_HOME", str(folder))
    return folder
