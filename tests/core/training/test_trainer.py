"""Stops, pauses, resumes, full disks, diverging losses: nothing trained is lost, a resumed run is the same run."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import GenerationConfig

from core.backends.local import LocalBackend
from core.recipe import Recipe, build
from core.training import adapters, job
from core.training.inputs import InputError
from core.training.trainer import StepTrainer
from tests.core.training.conftest import Ask, FolderRun

MakeRecipe = Callable[..., Recipe]


def train(recipe: Recipe, run: FolderRun) -> Any:
    return LocalBackend().train(recipe, run)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_paused_and_resumed_equals_uninterrupted_bit_for_bit(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(dropout=0.1)
    whole = FolderRun(tmp_path / "whole")
    train(recipe, whole)

    first = FolderRun(tmp_path / "parts")
    first.asked = {4: Ask("pause")}
    outcome = train(recipe, first)
    assert (outcome.kind, outcome.step, outcome.checkpoint) == ("paused", 4, "checkpoints/step-4")
    assert not (tmp_path / "parts" / "model").exists()
    second = FolderRun(tmp_path / "parts", resume_from=tmp_path / "parts" / "checkpoints" / "step-4")
    assert train(recipe, second).kind == "finished"

    steps = [*first.of("step"), *second.of("step")]
    assert [step.step for step in steps] == list(range(1, 11))
    assert [step.loss for step in steps] == [step.loss for step in whole.of("step")]
    assert [step.learning_rate for step in steps] == [step.learning_rate for step in whole.of("step")]
    one, two = weights(tmp_path / "whole" / "model"), weights(tmp_path / "parts" / "model")
    assert all(torch.equal(one[name], two[name]) for name in one)
    evaluated = {event.step: event.loss for event in [*first.of("evaluated"), *second.of("evaluated")]}
    assert evaluated == {event.step: event.loss for event in whole.of("evaluated")}


def test_measuring_does_not_change_training(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    often, seldom = FolderRun(tmp_path / "often"), FolderRun(tmp_path / "seldom")
    train(make_recipe(dropout=0.1, evaluate_every=1), often)
    train(make_recipe(dropout=0.1, evaluate_every=10, sample_prompts=[]), seldom)
    assert len(often.of("evaluated")) == 11
    assert len(seldom.of("evaluated")) == 2
    assert not seldom.of("sampled")
    assert [step.loss for step in often.of("step")] == [step.loss for step in seldom.of("step")]


def test_stop_keeps_a_checkpoint_and_the_adapter(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = FolderRun(tmp_path / "run")
    run.asked = {3: Ask("stop")}
    outcome = train(make_recipe(), run)
    assert (outcome.kind, outcome.step) == ("stopped", 3)
    saved, checkpoint = weights(tmp_path / "run" / "model"), weights(tmp_path / "run" / outcome.checkpoint)
    assert all(torch.equal(saved[name], checkpoint[name]) for name in saved)
    assert run.of("requested") == []  # the run tells of requests itself, once


def test_requests_for_a_checkpoint_and_a_sample(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = FolderRun(tmp_path / "run")
    run.asked = {2: Ask("checkpoint"), 3: Ask("sample", {"prompt": "how long"})}
    train(make_recipe(), run)
    assert [event.step for event in run.of("checkpointed")] == [2, 5, 10]
    assert [event.prompt for event in run.of("sampled") if event.step == 3] == ["how long"]


def test_events_tell_what_was_trained(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = FolderRun(tmp_path / "run")
    outcome = train(make_recipe(), run)
    (planned,) = run.of("planned")
    steps = run.of("step")
    assert planned.steps == 10
    kinds = [event.kind for event in run.events]
    assert kinds.index("planned") < kinds.index("step")
    assert planned.tokens == sum(step.tokens for step in steps)
    assert planned.trained_tokens == sum(step.trained_tokens for step in steps)
    assert planned.epochs == steps[-1].epoch == pytest.approx(80 / 20)
    assert [event.step for event in run.of("evaluated")] == [0, 5, 10]
    base, last = run.of("evaluated")[0], run.of("evaluated")[-1]
    assert last.loss < base.loss
    assert (outcome.base_loss, outcome.loss) == (base.loss, last.loss)
    assert {event.expected != "" for event in run.of("sampled")} == {True}


def test_a_full_disk_at_a_checkpoint_is_a_warning(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = StepTrainer._write_checkpoint

    def full_at_five(self: StepTrainer, folder: Path, *parts: Any) -> None:
        write(self, folder, *parts)
        if self.state.global_step == 5:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StepTrainer, "_write_checkpoint", full_at_five)
    run = FolderRun(tmp_path / "run")
    assert train(make_recipe(), run).kind == "finished"
    assert [event.step for event in run.of("checkpointed")] == [10]
    (warned,) = run.of("warned")
    assert "disk is full" in warned.text
    assert "Free space" in warned.next_step
    assert sorted(item.name for item in (tmp_path / "run" / "checkpoints").iterdir()) == ["step-10"]


def test_a_pause_that_cannot_be_saved_goes_on(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = StepTrainer._write_checkpoint

    def full_at_three(self: StepTrainer, folder: Path, *parts: Any) -> None:
        if self.state.global_step == 3:
            raise RuntimeError(
                "PytorchStreamWriter failed writing file data/0: file write failed: No space left on device"
            )
        write(self, folder, *parts)

    monkeypatch.setattr(StepTrainer, "_write_checkpoint", full_at_three)
    run = FolderRun(tmp_path / "run")
    run.asked = {3: Ask("pause")}
    assert train(make_recipe(), run).kind == "finished"
    assert "was not paused and goes on" in run.of("warned")[0].text


def test_the_finished_adapter_waits_for_space(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "DISK_POLL_S", 0.0)
    run = FolderRun(tmp_path / "run")
    publish, tries = run.publish_model, []

    def full_twice(partial: Path) -> Path:
        tries.append(partial)
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return publish(partial)

    monkeypatch.setattr(run, "publish_model", full_twice)
    assert train(make_recipe(max_steps=1), run).kind == "finished"
    assert len(tries) == 3
    assert len([event for event in run.of("warned") if "waits in memory" in event.text]) == 1
    assert (tmp_path / "run" / "model" / "adapter_model.safetensors").exists()


def test_another_failure_of_a_checkpoint_is_not_swallowed(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: StepTrainer, folder: Path, *parts: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(StepTrainer, "_write_checkpoint", broken)
    with pytest.raises(PermissionError):
        train(make_recipe(), FolderRun(tmp_path / "run"))


def test_turn_end_ends_replies(make_recipe: MakeRecipe, tmp_path: Path, tiny_model: Path) -> None:
    train(make_recipe(max_steps=1), FolderRun(tmp_path / "run"))
    config = GenerationConfig.from_pretrained(tmp_path / "run" / "model")
    tokenizer = json.loads((tmp_path / "run" / "model" / "tokenizer.json").read_text())
    end = next(token["id"] for token in tokenizer["added_tokens"] if token["content"] == "<|end|>")
    assert config.eos_token_id == [end, 0]


def test_the_adapter_holds_no_pickle(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    train(make_recipe(max_steps=1), FolderRun(tmp_path / "run"))
    suffixes = {item.suffix for item in (tmp_path / "run" / "model").iterdir()}
    assert suffixes == {".safetensors", ".json", ".jinja"}


def test_rows_past_the_length_are_dropped_and_counted(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(sequence_length=16, max_steps=2)
    run = FolderRun(tmp_path / "run")
    train(recipe, run)
    (planned,) = run.of("planned")
    assert planned.cut_rows > 0
    assert planned.dropped_rows > 0
    assert planned.rows + planned.dropped_rows == 20
    assert all(step.trained_tokens > 0 for step in run.of("step"))


def test_nothing_left_to_train_is_an_error(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    rows = tmp_path / "long.jsonl"
    messages = [{"role": "user", "content": "salt " * 40}, {"role": "assistant", "content": "yes"}]
    rows.write_text(json.dumps({"messages": messages}) + "\n")
    with pytest.raises(InputError) as caught:
        train(make_recipe(data=str(rows), sequence_length=16), FolderRun(tmp_path / "run"))
    assert "No row can be trained on" in caught.value.what


def test_broken_rows_are_named_by_the_users_file_and_line(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    rows = tmp_path / "mine.jsonl"
    good = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
    rows.write_text(f"{good}\n{good[:-5]}\n{good}\n")
    with pytest.raises(InputError) as caught:
        train(make_recipe(data=str(rows)), FolderRun(tmp_path / "run"))
    assert "mine.jsonl:2:" in caught.value.what


def test_a_run_keeps_its_rows_when_the_file_changes(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe()
    first = FolderRun(tmp_path / "run")
    first.asked = {2: Ask("pause")}
    train(recipe, first)
    Path(recipe.data[0].path or "").write_text("not json\n")
    second = FolderRun(tmp_path / "run", resume_from=tmp_path / "run" / "checkpoints" / "step-2")
    assert train(recipe, second).kind == "finished"


def test_split_rows_are_not_trained(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = FolderRun(tmp_path / "run")
    train(make_recipe(validation=None, validation_fraction=0.25, max_steps=1), run)
    (planned,) = run.of("planned")
    assert (planned.rows, planned.validation_rows) == (15, 5)


@pytest.mark.parametrize(("verb", "kind"), [("stop", "stopped"), ("pause", "paused")])
def test_leaves_before_the_first_step(verb: str, kind: str, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = FolderRun(tmp_path / "run")
    run.asked = {1: Ask(verb)}
    run.asked_early = True
    outcome = train(make_recipe(), run)
    assert (outcome.kind, outcome.step) == (kind, 0)
    assert not run.of("step")


@pytest.mark.parametrize(
    ("changes", "file"),
    [
        ({}, "adapter_model.safetensors"),
        ({"method": "full"}, "model.safetensors"),
        ({"init": "pissa"}, "adapter_model.safetensors"),
    ],
    ids=str,
)
def test_training_stops_when_nothing_gets_better_and_the_best_is_the_model(
    changes: dict[str, Any], file: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    """At this rate the loss on the validation rows falls and then rises."""
    recipe = make_recipe(
        early_stopping=2, keep_best=True, evaluate_every=1, checkpoint_every=50, max_steps=60,
        learning_rate=3e-2, sample_prompts=[], schedule="constant", **changes,
    )  # fmt: skip
    run = FolderRun(tmp_path / "run")
    outcome = train(recipe, run)
    losses = {event.step: event.loss for event in run.of("evaluated") if event.step}
    best = min(losses, key=lambda step: losses[step])
    assert outcome.kind == "finished"
    assert outcome.step == best + 2 == max(losses) < 60
    assert outcome.loss == losses[best]
    assert run.kept == (2, best)
    saved, checkpoint = (
        load_file(tmp_path / "run" / folder / file) for folder in ("model", f"checkpoints/step-{best}")
    )
    assert all(torch.equal(saved[name], checkpoint[name]) for name in saved)


def test_without_keep_best_the_last_is_the_model(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = FolderRun(tmp_path / "run")
    recipe = make_recipe(early_stopping=1, evaluate_every=1, max_steps=60, learning_rate=3e-2)
    outcome = train(recipe, run)
    assert outcome.step < 60
    saved = weights(tmp_path / "run/model")
    checkpoint = weights(tmp_path / f"run/checkpoints/step-{outcome.step}")
    assert all(torch.equal(saved[name], checkpoint[name]) for name in saved)


def falling(share: float) -> float:
    """Half a cosine, from 1 to 0."""
    return (1 + math.cos(math.pi * share)) / 2


@pytest.mark.parametrize(
    ("schedule", "left"),
    [
        ("linear", lambda step: 1 - step / 36),
        ("cosine", lambda step: falling(step / 36)),
        ("constant", lambda step: 1.0),
        ("inverse_sqrt", lambda step: math.sqrt(4 / (4 + step))),
        ("warmup_stable_decay", lambda step: falling(max(0, step - 32) / 4)),
    ],
)
def test_the_learning_rate_rises_and_falls_as_the_schedule_says(
    schedule: str, left: Callable[[int], float], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    run = FolderRun(tmp_path / "run")
    shape = {"schedule": schedule, "warmup": 0.1, "max_steps": 40, "batch_size": 1, "accumulation": 1}
    train(make_recipe(**shape, evaluate_every=40, checkpoint_every=40, sample_prompts=[]), run)
    rates = [step.learning_rate / 1e-2 for step in run.of("step")]
    assert rates == pytest.approx([0, 0.25, 0.5, 0.75, *map(left, range(36))], abs=1e-6)


def test_a_model_is_saved_with_the_template_it_was_trained_with(
    make_recipe: MakeRecipe, tmp_path: Path, tiny_model: Path
) -> None:
    own = (tiny_model / "chat_template.jinja").read_text()
    other = tmp_path / "other.jinja"
    other.write_text("{{ 'ask' }}" + own)
    train(make_recipe(max_steps=1, chat_template=str(other)), FolderRun(tmp_path / "run"))
    assert (tmp_path / "run/model/chat_template.jinja").read_text() == other.read_text() != own


@pytest.mark.parametrize(
    ("asked", "device", "able", "used"),
    [
        (None, "cpu", False, "fp32"),
        (None, "cuda", True, "bf16"),
        (None, "cuda", False, "fp32"),
        ("fp16", "cuda", True, "fp16"),
        ("fp32", "cuda", True, "fp32"),
    ],
)
def test_the_number_format_is_what_the_device_can_do(
    asked: str | None, device: str, able: bool, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: able)
    recipe = build({"model": "-", "data": "-", **({"precision": asked} if asked else {})})
    assert adapters.choose_precision(recipe, torch.device(device)) == used
