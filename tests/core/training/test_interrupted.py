"""Killed, out of memory, told to end: what is trained in the end is what would have been trained."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.backends.local import LocalBackend
from core.recipe import Recipe, dump
from core.runs.directory import RunDirectory
from core.runs.journal import JournalReader
from core.training import evaluation
from core.training.fused_math import SCRATCH
from core.training.loss import PackLoss
from core.training.memory import is_out_of_memory
from core.training.mishaps import TrainingError
from core.training.surroundings import FILE
from tests.core.training.conftest import Ask, FolderRun

MakeRecipe = Callable[..., Recipe]
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes."


def train(recipe: Recipe, run: FolderRun) -> Any:
    return LocalBackend().train(recipe, run)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def equal(one: Path, two: Path) -> bool:
    """Whether two models are the same bit for bit."""
    left, right = weights(one), weights(two)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_is_the_same_run(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(max_steps=60, checkpoint_every=1, evaluate_every=20, sample_prompts=[], dropout=0.1)
    (tmp_path / "recipe.yaml").write_text(dump(recipe))
    command = [
        sys.executable,
        "-P",
        "-m",
        "tests.core.training.killing",
        str(tmp_path / "recipe.yaml"),
        "20",
        "5",
    ]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(set(found["steps"])) == 20
    assert equal(Path(found["whole"]) / "model", Path(found["killed"]) / "model")
    resumed = [event for event in events(found["killed"]) if event.kind == "resumed"]
    assert len(resumed) == 20
    told = [event.text for event in events(found["killed"]) if event.kind == "warned"]
    assert [("another size" in text, "other content" in text) for text in told] == [
        (True, False),
        (False, True),
    ]
    losses = {event.step: event.loss for event in events(found["killed"]) if event.kind == "step"}
    assert losses == {event.step: event.loss for event in events(found["whole"]) if event.kind == "step"}
    assert not list((Path(found["killed"]) / "checkpoints").glob(".*"))


def events(run: str) -> list[Any]:
    reader = JournalReader(RunDirectory(Path(run)).journal_path)
    found: list[Any] = []
    while some := reader.read(1 << 20):
        found += some
    return found


# Memory


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int, calls: list[int]) -> None:
    """Packs of more tokens than `most` don't fit from the fourth pack on."""
    summed = PackLoss.summed

    def limited(self: PackLoss, batch: dict[str, Any]) -> torch.Tensor:
        calls.append(batch["computed"])
        if len(calls) > 3 and batch["computed"] > most and torch.is_grad_enabled():
            raise RuntimeError(NO_MEMORY)
        return summed(self, batch)

    monkeypatch.setattr(PackLoss, "summed", limited)


def test_out_of_memory_halves_what_is_computed_at_once_and_changes_nothing_else(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(sample_prompts=[], learning_rate=1e-3)
    whole, short = FolderRun(tmp_path / "whole"), FolderRun(tmp_path / "short")
    train(recipe, whole)
    calls: list[int] = []
    short_of_memory(monkeypatch, 80, calls)
    assert train(recipe, short).kind == "finished"
    told = [event for event in short.of("warned") if "Memory ran out" in event.text]
    assert told
    assert len(told) < 4
    assert "token_budget" in told[-1].next_step
    assert [event.step for event in short.of("step")] == list(range(1, 11))
    for one, two in zip(short.of("step"), whole.of("step"), strict=True):
        assert one.loss == pytest.approx(two.loss, rel=1e-5)
        assert (one.tokens, one.trained_tokens) == (two.tokens, two.trained_tokens)
    left, right = weights(tmp_path / "short" / "model"), weights(tmp_path / "whole" / "model")
    assert all(torch.allclose(left[name], right[name], atol=1e-5) for name in left)
    assert max(item.numel() for item in SCRATCH._kept.values()) <= 80 * 64  # none is left of before


def test_an_evaluation_begins_with_what_went_the_last_time(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[int] = []
    evaluate = evaluation.evaluate

    def limited(model: Any, objective: Any, rows: Any, budget: int, *rest: Any) -> Any:
        if budget > 300:
            failed.append(budget)
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes.")
        return evaluate(model, objective, rows, budget, *rest)

    monkeypatch.setattr(evaluation, "evaluate", limited)
    run = FolderRun(tmp_path / "run")
    assert train(make_recipe(sample_prompts=[]), run).kind == "finished"
    assert len(run.of("evaluated")) == 3
    assert failed == [1024, 512]
    told = [event.text for event in run.of("warned")]
    assert [int(re.findall(r"at most (\d+) tokens", text)[0]) for text in told] == [512, 256]


def test_validation_rows_that_don_t_fit_one_by_one_are_an_error_with_what_to_do(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise RuntimeError(NO_MEMORY)

    monkeypatch.setattr(evaluation, "evaluate", full)
    with pytest.raises(TrainingError, match="while the validation rows were measured") as caught:
        train(make_recipe(sample_prompts=[]), FolderRun(tmp_path / "run"))
    assert "sequence_length" in caught.value.next_step


def test_replies_that_don_t_fit_are_left_out_and_nothing_else_changes(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe()
    whole, short = FolderRun(tmp_path / "whole"), FolderRun(tmp_path / "short")
    train(recipe, whole)
    replies, calls = evaluation.greedy_replies, list[int]()

    def second_full(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError(NO_MEMORY)
        return replies(*given)

    monkeypatch.setattr(evaluation, "greedy_replies", second_full)
    assert train(recipe, short).kind == "finished"
    (told,) = short.of("warned")
    assert "at step 5: these replies are left out" in told.text
    assert {event.step for event in short.of("sampled")} == {0, 10}
    assert equal(tmp_path / "short" / "model", tmp_path / "whole" / "model")


@pytest.mark.parametrize(
    "words", ["std::bad_alloc", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"]
)
def test_a_lack_of_memory_is_known_by_the_words_of_every_library(words: str) -> None:
    assert is_out_of_memory(RuntimeError(f"{words} when calling something"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_resumed_run_remembers_how_much_fits(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(sample_prompts=[])
    first = FolderRun(tmp_path / "run")
    first.asked = {6: Ask("pause")}
    with monkeypatch.context() as patch:
        short_of_memory(patch, 80, [])
        assert train(recipe, first).kind == "paused"
    budget = json.loads((tmp_path / "run/checkpoints/step-6" / FILE).read_text())["token_budget"]
    assert budget < 1024
    second = FolderRun(tmp_path / "run", resume_from=tmp_path / "run/checkpoints/step-6")
    calls: list[int] = []
    short_of_memory(monkeypatch, 80, calls)
    train(recipe, second)
    assert not [event for event in second.of("warned") if "Memory" in event.text]


def test_one_row_that_does_not_fit_is_an_error_with_what_to_do(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(monkeypatch, 5, [])
    with pytest.raises(TrainingError, match="Memory ran out at step") as caught:
        train(make_recipe(sample_prompts=[]), FolderRun(tmp_path / "run"))
    assert "gradient_checkpointing" in caught.value.next_step


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: PackLoss, batch: dict[str, Any]) -> torch.Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("a bug")
        return summed(self, batch)

    summed = PackLoss.summed
    monkeypatch.setattr(PackLoss, "summed", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        train(make_recipe(sample_prompts=[]), FolderRun(tmp_path / "run"))


# Little time


class ShortOfTime(FolderRun):
    """SIGTERM comes in the middle of a step and leaves no time for it."""

    in_step = 0
    looks = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "ending_since":
            super().__setattr__(name, value)

    def __getattribute__(self, name: str) -> Any:
        if name != "ending_since":
            return super().__getattribute__(name)
        if not self.in_step or len(self.of("step")) < self.in_step - 1:
            return None
        self.looks += 1
        return time.monotonic() - 1000 if self.looks > 3 else None


def test_a_step_there_is_no_time_for_is_dropped_and_the_last_one_saved(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(sample_prompts=[], dropout=0.1)
    whole = FolderRun(tmp_path / "whole")
    train(recipe, whole)
    first = ShortOfTime(tmp_path / "run")
    first.in_step = 4
    first.asked = {4: Ask("pause")}
    outcome = train(recipe, first)
    assert (outcome.kind, outcome.step, outcome.checkpoint) == ("paused", 3, "checkpoints/step-3")
    assert "Step 4 was dropped" in first.of("warned")[-1].text
    second = FolderRun(tmp_path / "run", resume_from=tmp_path / "run/checkpoints/step-3")
    assert train(recipe, second).kind == "finished"
    assert [step.step for step in [*first.of("step"), *second.of("step")]] == list(range(1, 11))
    assert equal(tmp_path / "run" / "model", tmp_path / "whole" / "model")


def test_a_first_step_there_is_no_time_for_leaves_nothing_behind(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    run = ShortOfTime(tmp_path / "run")
    run.in_step = 1
    run.asked = {1: Ask("stop")}
    outcome = train(make_recipe(sample_prompts=[], validation=None), run)
    assert (outcome.kind, outcome.step, outcome.model) == ("stopped", 0, "")
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


# Elsewhere


def test_going_on_elsewhere_is_told(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(sample_prompts=[])
    first = FolderRun(tmp_path / "run")
    first.asked = {4: Ask("pause")}
    train(recipe, first)
    checkpoint = tmp_path / "run/checkpoints/step-4"
    record = json.loads((checkpoint / FILE).read_text())
    assert record["surroundings"]["torch"] == torch.__version__
    assert record["surroundings"]["threads"] == str(torch.get_num_threads())
    record["surroundings"]["threads"] = "64"
    (checkpoint / FILE).write_text(json.dumps(record))
    second = FolderRun(tmp_path / "run", resume_from=checkpoint)
    assert train(recipe, second).kind == "finished"
    (told,) = second.of("warned")
    assert f"threads {torch.get_num_threads()} instead of 64" in told.text
