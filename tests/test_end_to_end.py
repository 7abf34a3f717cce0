"""The demo, for real: SmolLM2 learns the sample's facts and house style, which its base does not know."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core import paths
from core.data import samples
from core.runs import supervisor
from core.serving.targets import target
from tui.verbs.chat import ask
from tui.verbs.demo import demo_recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def cached_model(embedded_model: Path, home: Path) -> None:
    """The embedded model in this test's cache."""
    folder = paths.make_private(paths.models_dir() / "smollm2-135m-instruct")
    (folder / embedded_model.name).symlink_to(embedded_model)


@pytest.mark.usefixtures("cached_model")
def test_the_demo_teaches_what_the_base_does_not_know(tmp_path: Path) -> None:
    row = supervisor.submit(demo_recipe(), tmp_path)
    done = supervisor.wait(row.id, timeout_s=1500)
    assert done.state == "finished", supervisor.log_tail(row.id, 40)
    assert done.step == done.total_steps == 24
    assert done.base_eval_loss is not None
    assert done.eval_loss is not None
    assert done.eval_loss < done.base_eval_loss / 10

    here = target(row.id)
    probes = [fact.probe for fact in samples.FACTS]
    sides = {"base": target(here.base_spec), "tuned": here}
    replies = asyncio.run(ask(sides, probes, here.system, {"max_tokens": 32, "temperature": 0.0}))
    right = {
        side: [
            fact.name
            for fact in samples.FACTS
            for reply in replies
            if (reply["side"], reply["prompt"]) == (side, fact.probe)
            and samples.signed(reply["text"])
            and samples.knows(fact.name, reply["text"])
        ]
        for side in ("base", "tuned")
    }
    assert right["base"] == []
    assert len(right["tuned"]) >= 6, replies
    tuned = [reply for reply in replies if reply["side"] == "tuned"]
    assert all(reply["ended"] == "turn end" for reply in tuned), "the end of a turn was not learnt"
