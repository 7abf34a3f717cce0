"""Several processes train what one would: losses, gradients, adapter, checkpoints, whatever comes in between."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from core.backends.local import LocalBackend
from core.events import Event
from core.recipe import Recipe
from core.runs.directory import RunDirectory
from core.runs.journal import JournalReader
from core.training import launch
from core.training.dataset import Steps, pack_tensors
from core.training.inputs import InputError
from core.training.plan import rows_per_step, steps_of
from core.training.rank_link import RankError
from core.training.ranks import Ranks
from core.training.rows import Row, Rows
from tests.core.training.conftest import Ask, FolderRun

MakeRecipe = Callable[..., Recipe]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a process that forks ranks, since each would import for many seconds."""
    address = str(tmp_path_factory.mktemp("ranks") / "server")
    command = [sys.executable, "-P", "-m", "tests.core.training.rank_server", address]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield address
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def quick(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks come from the server."""
    client = str(ROOT / "tests" / "core" / "training" / "rank_client.py")
    monkeypatch.setattr(launch, "COMMAND", (sys.executable, "-S", client, server))


def two(folder: Path, resume_from: Path | None = None) -> FolderRun:
    run = FolderRun(folder, resume_from)
    run.devices = ("cpu", "cpu")
    return run


def train(recipe: Recipe, run: FolderRun) -> Any:
    return LocalBackend().train(recipe, run)


def weights(folder: Path) -> Any:
    name = "adapter_model.safetensors"
    return load_file(folder / (name if (folder / name).exists() else "model.safetensors"))


def losses(*runs: FolderRun) -> list[float]:
    return [step.loss for run in runs for step in run.of("step")]


# Sharing


def rows_of(*lengths: int) -> list[Any]:
    return [Row(np.arange(length, dtype=np.int32), np.arange(length) > 1) for length in lengths]


def test_rows_are_shared_by_tokens_and_none_is_lost() -> None:
    rows = rows_of(90, 10, 20, 30, 31, 40)
    shares = [Ranks(rank, 2).share(rows) for rank in range(2)]
    assert sorted(row.tokens for share in shares for row in share) == [10, 20, 30, 31, 40, 90]
    assert [sum(row.tokens for row in share) for share in shares] == [110, 111]
    assert shares[0] == [rows[0], rows[2]]
    assert Ranks().share(rows) == rows


def test_a_step_s_weight_is_known_without_the_other_ranks(make_recipe: MakeRecipe) -> None:
    rows = Rows(tuple(rows_of(9, 10, 20, 30, 8, 12)), 0, 0)
    recipe = make_recipe(batch_size=2, accumulation=1, devices=2, max_steps=None, epochs=1)
    plan = steps_of(recipe, rows.rows)
    assert (rows_per_step(recipe), [len(step) for step in plan.steps]) == (4, [4, 2])
    parts = [Steps(rows, plan, 64, pack_tensors, ranks=Ranks(rank, 2)) for rank in range(2)]  # type: ignore[arg-type]
    for step in range(2):
        packs = [pack for part in parts for pack in part[step]]
        assert parts[0].whole(step) == parts[1].whole(step)
        assert sum(pack["weight"] for pack in packs) == parts[0].whole(step).weight
        assert sum(pack["tokens"] for pack in packs) == parts[0].whole(step).tokens


# Equality


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("sharding", "changes"),
    [
        ("ddp", {}),
        ("fsdp", {"gradient_checkpointing": True, "token_budget": 64}),
        ("fsdp", {"method": "full", "learning_rate": 1e-3}),
        pytest.param(
            "ddp", {"method": "full", "learning_rate": 1e-3, "token_budget": 64}, marks=pytest.mark.slow
        ),
        pytest.param("ddp", {"task": "classification"}, marks=pytest.mark.slow),
        pytest.param("ddp", {"init": "pissa"}, marks=pytest.mark.slow),
        pytest.param("ddp", {"init": "loftq", "quantization": "nf4"}, marks=pytest.mark.slow),
        pytest.param("ddp", {"quantization": "nf4"}, marks=pytest.mark.slow),
        pytest.param("ddp", {"task": "dpo"}, marks=pytest.mark.slow),
        pytest.param("fsdp", {"task": "classification"}, marks=pytest.mark.slow),
        pytest.param("fsdp", {"precision": "bf16", "max_grad_norm": 0.1}, marks=pytest.mark.slow),
        pytest.param("fsdp", {"dora": True, "lora_plus_ratio": 4.0}, marks=pytest.mark.slow),
        pytest.param("fsdp", {"optimizer": "sgd", "learning_rate": 0.5}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_two_processes_equal_one(
    sharding: str, changes: dict[str, Any], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    task = changes.get("task", "chat")
    files = {} if task == "chat" else rows_of_task(task, tmp_path)
    common = {"accumulation": 1, "max_steps": None, "epochs": 0.85, "evaluate_every": 2, **files, **changes}
    if task == "classification":
        common["sample_max_tokens"] = 4
    one, both = FolderRun(tmp_path / "one"), two(tmp_path / "two")
    assert train(make_recipe(batch_size=8, **common), one).kind == "finished"
    assert train(make_recipe(batch_size=4, devices=2, sharding=sharding, **common), both).kind == "finished"
    assert len(one.of("step")) == 3, "8, 8 and 1 of 20 rows: in the last step one process has nothing to do"
    close = 2e-2 if changes.get("precision") == "bf16" else 1e-5
    assert losses(both) == pytest.approx(losses(one), abs=close)
    norms = [[step.grad_norm for step in run.of("step")] for run in (both, one)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-1 if close > 1e-3 else 1e-4)
    for kind in ("evaluated", "checkpointed", "planned"):
        assert len(both.of(kind)) == len(one.of(kind))
    for left, right in zip(both.of("evaluated"), one.of("evaluated"), strict=True):
        assert left.loss == pytest.approx(right.loss, abs=close)
    for left, right in zip(both.of("step"), one.of("step"), strict=True):
        assert (left.tokens, left.trained_tokens) == (right.tokens, right.trained_tokens)
    for part in ("model", "checkpoints/step-3"):
        left, right = weights(tmp_path / "two" / part), weights(tmp_path / "one" / part)
        assert left.keys() == right.keys()
        assert all(torch.allclose(left[name], right[name], atol=2 * close) for name in left)
        assert all(left[name].dtype == right[name].dtype for name in left)
    names = [sorted(item.name for item in (tmp_path / run / "model").iterdir()) for run in ("one", "two")]
    assert names[0] == names[1]
    if changes.get("method") == "full":
        configs = [(tmp_path / run / "model" / "config.json").read_text() for run in ("one", "two")]
        assert configs[0] == configs[1]


def rows_of_task(task: str, folder: Path) -> dict[str, str]:
    """20 rows to train on and 5 to measure with."""
    words = ["salt", "water", "lamp", "fill", "glows", "hours"]

    def row(number: int) -> dict[str, Any]:
        text = " ".join(words[(number * 5 + place) % 6] for place in range(3 + number % 4))
        if task == "classification":
            return {"text": text, "label": "even" if number % 2 == 0 else "odd"}
        return {"prompt": text, "chosen": words[number % 6], "rejected": f"{words[number % 5]} please"}

    found = {}
    for key, numbers in (("data", range(20)), ("validation", range(20, 25))):
        path = folder / f"{task}-{key}.jsonl"
        path.write_text("".join(json.dumps(row(number)) + "\n" for number in numbers))
        found[key] = str(path)
    return found


# Pause, resume, requests


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_paused_and_resumed_equals_uninterrupted(
    sharding: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(
        dropout=0.1, accumulation=1, devices=2, sharding=sharding, max_steps=6, keep_best=True
    )
    whole, first = two(tmp_path / "whole"), two(tmp_path / "parts")
    train(recipe, whole)
    first.asked = {1: Ask("checkpoint"), 3: Ask("pause")}
    outcome = train(recipe, first)
    assert (outcome.kind, outcome.step, outcome.checkpoint) == ("paused", 3, "checkpoints/step-3")
    assert (tmp_path / "parts" / "checkpoints" / "step-1").is_dir()
    second = two(tmp_path / "parts", tmp_path / "parts" / "checkpoints" / "step-3")
    assert train(recipe, second).kind == "finished"
    assert losses(first, second) == losses(whole)
    left, right = weights(tmp_path / "parts" / "model"), weights(tmp_path / "whole" / "model")
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert not list((tmp_path / "parts").rglob("rng_state*"))


@pytest.mark.usefixtures("quick")
def test_requests_reach_all_processes_at_one_step(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = two(tmp_path / "run")
    run.asked = {
        1: Ask("change", {"name": "learning_rate", "value": 1e-3}),
        2: Ask("sample", {"prompt": "how long"}),
        4: Ask("stop"),
    }
    outcome = train(make_recipe(accumulation=1, devices=2, sample_prompts=[]), run)
    assert (outcome.kind, outcome.step, outcome.model) == ("stopped", 4, "model")
    assert [event.prompt for event in run.of("sampled")] == ["how long"]
    assert [(event.name, event.new) for event in run.of("changed")] == [("learning_rate", "0.001")]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_only_rank_0_writes(
    sharding: str, make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(accumulation=1, devices=2, sharding=sharding, max_steps=2, checkpoint_every=1)
    monkeypatch.setenv("RANK_TROUBLE", f"writes:1:{tmp_path}")
    assert train(recipe, two(tmp_path / "run")).kind == "finished"
    assert (tmp_path / "run/model/adapter_model.safetensors").exists()
    monkeypatch.setenv("RANK_TROUBLE", f"writes:0:{tmp_path}")
    with pytest.raises(RankError, match="this rank writes"):  # the watch itself works
        train(recipe, two(tmp_path / "other"))


# Trouble


@pytest.mark.usefixtures("quick")
def test_a_process_that_dies_ends_the_others_and_is_named(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK_TROUBLE", "kill:1:3")
    run = two(tmp_path / "run")
    with pytest.raises(RankError, match="Process 2 of 2 ended without a word, with status -9") as caught:
        train(make_recipe(accumulation=1, devices=2, checkpoint_every=1), run)
    assert "resume" in caught.value.next_step
    assert [event.step for event in run.of("checkpointed")] == [1, 2]


@pytest.mark.usefixtures("quick")
def test_an_error_of_a_process_is_the_run_s(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    rows = tmp_path / "mine.jsonl"
    good = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
    rows.write_text(f"{good}\n{good[:-5]}\n{good}\n")
    with pytest.raises(RankError, match="mine.jsonl:2:") as caught:
        train(make_recipe(data=str(rows), devices=2), two(tmp_path / "run"))
    assert caught.value.exit_code == 2


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_one_process_that_runs_out_of_memory_begins_its_share_anew(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = {"accumulation": 1, "max_steps": 3, "sample_prompts": []}
    one, both = FolderRun(tmp_path / "one"), two(tmp_path / "two")
    train(make_recipe(batch_size=8, **common), one)
    monkeypatch.setenv("RANK_TROUBLE", "memory:1:2")
    train(make_recipe(devices=2, **common), both)
    (told, *_) = both.of("warned")
    assert "Memory ran out at step 2" in told.text
    assert losses(both) == pytest.approx(losses(one), abs=1e-5)
    with pytest.raises(RankError, match="Memory ran out at step 2") as caught:
        train(make_recipe(devices=2, sharding="fsdp", **common), two(tmp_path / "sharded"))
    assert "token_budget: 512" in caught.value.next_step


@pytest.mark.usefixtures("quick")
def test_what_goes_wrong_in_the_worker_reaches_rank_0(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = two(tmp_path / "run")
    publish, tries = run.publish_checkpoint, []

    def full_then_refused(partial: Path, step: int) -> Path:
        tries.append(step)
        if step == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        if step == 3:
            raise InputError("The folder is gone.", "Somebody took it.", "Put it back.")
        return publish(partial, step)

    run.publish_checkpoint = full_then_refused  # type: ignore[method-assign]
    with pytest.raises(RankError, match="The folder is gone") as caught:
        train(make_recipe(accumulation=1, devices=2, checkpoint_every=1, sample_prompts=[]), run)
    assert (caught.value.cause, caught.value.next_step) == ("Somebody took it.", "Put it back.")
    assert tries == [1, 2, 3]
    assert "disk is full: checkpoint 1" in run.of("warned")[0].text
    assert [event.step for event in run.of("checkpointed")] == [2]


class EndedAfter(FolderRun):
    """SIGTERM comes within the third step and leaves no time for it."""

    def emit(self, event: Event) -> None:
        super().emit(event)
        if len(self.of("step")) == 2:
            threading.Timer(0.5, self.end).start()

    def end(self) -> None:
        self.asked = {number: Ask("stop") for number in range(10)}
        self.ending_since = time.monotonic() - 1000


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_a_step_there_is_no_time_for_is_dropped_by_all(
    sharding: str, make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK_TROUBLE", "slow:0:3")
    common = {"accumulation": 1, "max_steps": 4, "sample_prompts": [], "validation": None, "token_budget": 64}
    recipe = make_recipe(devices=2, sharding=sharding, dropout=0.1, **common)
    run = EndedAfter(tmp_path / "run")
    run.devices = ("cpu", "cpu")
    outcome = train(recipe, run)
    assert (outcome.kind, outcome.step, outcome.checkpoint) == ("stopped", 2, "checkpoints/step-2")
    assert "Step 3 was dropped" in run.of("warned")[-1].text
    left, right = weights(tmp_path / "run" / "model"), weights(tmp_path / "run" / "checkpoints" / "step-2")
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.slow
def test_a_run_on_two_devices_is_stopped_by_sigterm(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = RunDirectory.create(make_recipe(device="cpu", devices=2, max_steps=100_000, checkpoint_every=1_000))
    command = (sys.executable, "-P", "-m", "core.runs.worker", str(run.path))
    with (
        run.log_path.open("ab") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as worker,
    ):
        seen = set()
        reader = JournalReader(run.journal_path)
        while "step" not in seen:
            assert worker.poll() is None, run.log_tail(30)
            seen |= {event.kind for event in reader.read()}
            time.sleep(0.1)
        ranks = [
            child.pid
            for child in psutil.Process(worker.pid).children()
            if "core.training.rank" in child.cmdline()
        ]
        assert len(ranks) == 2
        for pid in (*ranks, worker.pid):  # a job scheduler tells all of them
            os.kill(pid, signal.SIGTERM)
        assert worker.wait(60) == 0, run.log_tail(30)
    *_, stopped = events = reader.read()
    assert stopped.kind == "stopped"
    assert {"requested", "checkpointed"} <= {event.kind for event in events}
    assert weights(run.model_dir)
    assert not any(psutil.pid_exists(pid) for pid in ranks)


@pytest.mark.slow
def test_ranks_end_with_their_worker(make_recipe: MakeRecipe) -> None:
    run = RunDirectory.create(make_recipe(device="cpu", devices=2, max_steps=100_000))
    command = (sys.executable, "-P", "-m", "core.runs.worker", str(run.path))
    with (
        run.log_path.open("ab") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as worker,
    ):
        reader = JournalReader(run.journal_path)
        while "step" not in {event.kind for event in reader.read()}:
            assert worker.poll() is None, run.log_tail(30)
            time.sleep(0.1)
        ranks = psutil.Process(worker.pid).children()
        worker.kill()
    gone, alive = psutil.wait_procs(ranks, timeout=10)
    assert (len(gone), alive) == (2, [])
