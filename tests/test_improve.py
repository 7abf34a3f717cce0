"""From a bad reply to a model that answers right: chat, correct, check, go on from the run, chat again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from core.data.check import check_file
from core.recipe import build
from core.runs import lineage, supervisor
from core.runs.directory import RunDirectory
from core.serving.rows import append_row, training_row
from core.serving.targets import target
from tests.core.training import tiny
from tui.screens.chat_rows import improving
from tui.verbs.chat import ask

pytestmark = pytest.mark.slow
PROMPT, RIGHT = "please ask again", "one fill runs forty hours"


def finished(content: dict[str, Any], folder: Path) -> str:
    row = supervisor.submit(build(content), folder)
    done = supervisor.wait(row.id, timeout_s=300)
    assert done.state == "finished", supervisor.log_tail(row.id, 40)
    return row.id


def reply_of(run: str) -> str:
    replies = asyncio.run(ask({"tuned": target(run)}, [PROMPT], "", {"max_tokens": 24, "temperature": 0.0}))
    return str(replies[0]["text"]).strip()


@pytest.mark.usefixtures("home")
def test_a_corrected_reply_becomes_a_model_that_gives_it(tmp_path: Path) -> None:
    model = tiny.make_model(tmp_path / "model")
    rows = tiny.make_rows(tmp_path / "rows.jsonl", 24)
    common = {"learning_rate": 1e-2, "schedule": "constant", "sample_prompts": []}
    first = finished({"model": str(model), "data": str(rows), "max_steps": 12, **common}, tmp_path)
    bad = reply_of(first)
    assert bad != RIGHT

    corrected = tmp_path / "corrected.jsonl"
    assert append_row(corrected, training_row([{"role": "user", "content": PROMPT}], RIGHT)) == 1
    assert [item for item in check_file(corrected) if item.severity == "error"] == []

    recipe = improving(target(first).spec, corrected)
    assert recipe.init_from == first
    second = finished({**recipe.model_dump(exclude_none=True), "max_steps": 80, **common}, tmp_path)
    assert reply_of(second) == RIGHT
    assert reply_of(first) == bad

    of_second = lineage.of(RunDirectory(supervisor.get(second).directory))
    assert of_second.parent is not None
    assert of_second.parent.id == first
    assert [link.id for link in lineage.children_of(RunDirectory(supervisor.get(first).directory))] == [
        second
    ]
