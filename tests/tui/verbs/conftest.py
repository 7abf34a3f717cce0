"""Running commands: in this process, and as the console script."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.core.training import tiny
from tui.cli import build

Finetui = Callable[..., Result]
COMMAND = (sys.executable, "-P", "-c", "from tui.cli import main; main()")


@pytest.fixture
def finetui() -> Finetui:
    """Run a command; what it raises beside its exit is the test's failure."""

    def run(*words: object, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(build(), [str(word) for word in words], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model(tmp_path_factory.mktemp("tiny") / "phi3")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return tiny.make_rows(tmp_path / "rows.jsonl", 12)
