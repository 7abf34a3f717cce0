"""`finetui set`: a dial of a run that goes, by its name and a value of its kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from core.runs.control import Inbox
from core.runs.directory import RunDirectory
from tests.tui.made_runs import make_run, running, story, write
from tests.tui.verbs.conftest import Finetui
from tests.tui.verbs.test_mistakes import told


@pytest.fixture
def live() -> Iterator[RunDirectory]:
    run = make_run("going")
    lock = running(run)
    write(run, story(40, 25))
    yield run
    lock.release()


@pytest.mark.parametrize(
    ("dial", "value", "sent"),
    [
        ("learning_rate", "1e-4", 1e-4),
        ("evaluate_every", "5", 5),
        ("stop_after", "30", 30),
        ("stop_after", "end", None),
    ],
)
def test_a_dial_is_asked_of_the_worker(
    finetui: Finetui, live: RunDirectory, dial: str, value: str, sent: Any
) -> None:
    result = finetui("set", "going", dial, value, "--json")
    assert json.loads(result.stdout) == {"run": "going", "name": dial, "value": sent}
    (asked,) = Inbox(live.control_dir).take()
    assert (asked.verb, asked.arguments) == ("change", {"name": dial, "value": sent})


def test_mistakes(finetui: Finetui, live: RunDirectory) -> None:
    told(finetui("set", "going", "rank", "8"), "'rank' can't be changed", "learning_rate, evaluate_every")
    told(finetui("set", "going", "learning_rate", "much"), "`learning_rate` is 'much'")
    told(
        finetui("set", "going", "stop_after", "25"),
        "`stop_after` is 25, and step 25 is done already",
        "after 25",
    )
    told(finetui("set", "nonesuch", "stop_after", "8"), "no run 'nonesuch'")
    assert not Inbox(live.control_dir).take()


def test_a_job_in_azure_hears_nothing(finetui: Finetui, live: RunDirectory) -> None:
    live.write_meta(replace(live.meta, backend="azure"))
    told(finetui("set", "going", "learning_rate", "1e-5"), "can't be changed", "finetui stop going")
    assert not Inbox(live.control_dir).take()
