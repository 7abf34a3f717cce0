"""Every test gets a home of its own, so that none reads or writes the developer's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The models of the tests are so small that threads only wait for each other, and tests run side by side.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty FINETUI_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("FINETUI_HOME", str(folder))
    return folder
