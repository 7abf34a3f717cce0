"""What a checkpoint survives: a full disk, foreign content, weights that diverge; and when a step is dropped for it."""

from __future__ import annotations

import os
import pickle
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.backends.local import LocalBackend
from core.events import Event
from core.recipe import Recipe
from core.runs import directory, manifest
from core.runs.directory import RunDirectory
from core.training.grace import Grace, StepDropped
from core.training.loss import PackLoss
from core.training.mishaps import TrainingError
from core.training.ranks import ALONE
from tests.core.training.conftest import Ask, FolderRun

MakeRecipe = Callable[..., Recipe]


def train(recipe: Recipe, run: FolderRun) -> Any:
    return LocalBackend().train(recipe, run)


# A disk that is really full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a disk can't be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


class Filling(FolderRun):
    """Fills its disk up to so many bytes after its first checkpoint, and clears it after the sixth step."""

    free = 0

    def emit(self, event: Event) -> None:
        super().emit(event)
        ballast = self.directory / "ballast"
        if event.kind == "checkpointed" and not ballast.exists() and not self.of("warned"):
            disk = os.statvfs(self.directory)
            ballast.write_bytes(bytes(disk.f_bavail * disk.f_frsize - self.free))
        if event.kind == "step" and event.step == 6:  # type: ignore[attr-defined]
            ballast.unlink()


@pytest.mark.parametrize("free", [0, 20 << 10, 60 << 10])
def test_a_full_disk_keeps_the_old_checkpoint_and_the_run_goes_on(
    free: int, small_disk: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(sample_prompts=[], checkpoint_every=2, max_steps=8)
    whole, run = FolderRun(tmp_path / "whole"), Filling(small_disk / "run")
    run.free = free
    assert train(recipe, whole).kind == train(recipe, run).kind == "finished"
    assert [event.step for event in run.of("checkpointed")] == [2, 6, 8]
    (told,) = run.of("warned")
    assert told.text.startswith("The disk is full: checkpoint 4")
    folders = [small_disk / "run" / "checkpoints", tmp_path / "whole" / "checkpoints"]
    assert sorted(item.name for item in folders[0].iterdir()) == ["step-2", "step-6", "step-8"]
    for name in ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt"):
        contents = [(folder / "step-2" / name).read_bytes() for folder in folders]
        assert contents[0] == contents[1]


# Content


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_code_in_a_checkpoint_is_not_run(name: str, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(sample_prompts=[], validation=None)
    first = FolderRun(tmp_path / "run")
    first.asked = {2: Ask("pause")}
    train(recipe, first)
    checkpoint = tmp_path / "run" / "checkpoints" / "step-2"
    torch.save(Trap(tmp_path / "sprung"), checkpoint / name)
    with pytest.raises(pickle.UnpicklingError, match="[Ww]eights"):
        train(recipe, FolderRun(tmp_path / "run", resume_from=checkpoint))
    assert not (tmp_path / "sprung").exists()
    torch.load(checkpoint / name, weights_only=False)  # the trap itself works
    assert (tmp_path / "sprung").exists()


def test_all_of_a_checkpoint_is_on_the_disk_before_it_gets_its_name(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, done = RunDirectory.create(make_recipe()), list[tuple[str, str]]()
    partial = run.partial_checkpoint(3)
    (partial / "deep").mkdir()
    (partial / "deep" / "optimizer.bin").write_text("x")
    (partial / "adapter.bin").write_text("y")
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        done.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def renamed(self: Path, target: Any) -> Path:
        done.append(("rename", str(target)))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    published = run.publish_checkpoint(partial, 3)
    named = done.index(("rename", str(published.path)))
    before = {path for verb, path in done[:named] if verb == "fsync"}
    for name in ("deep/optimizer.bin", "adapter.bin", "deep", ""):
        assert str(partial / name) in before
    assert any(manifest.NAME in path for path in before)
    assert ("fsync", str(run.checkpoints_dir)) in done[named:]
    assert directory.find(run.path.name) is not None


# What diverges


@pytest.mark.parametrize(
    ("what", "value"), [("loss", "inf"), ("loss", "nan"), ("gradient", "nan"), ("gradient", "inf")]
)
def test_what_diverges_is_an_error_and_what_was_good_is_kept(
    what: str, value: str, make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summed = PackLoss.summed

    def diverging(self: PackLoss, batch: Any) -> Any:
        loss = summed(self, batch)
        if len(run.of("checkpointed")) < 5 or not self._bare.training:
            return loss
        if what == "loss":
            return loss * float(value)
        loss.register_hook(lambda slope: slope * float(value))
        return loss

    monkeypatch.setattr(PackLoss, "summed", diverging)
    run = FolderRun(tmp_path / "run")
    with pytest.raises(TrainingError) as caught:
        train(make_recipe(checkpoint_every=1), run)
    assert caught.value.what.startswith(f"The {what} became")
    assert caught.value.what.endswith("at step 6.")
    assert "learning_rate" in caught.value.next_step
    kept = sorted(item.name for item in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [f"step-{step}" for step in range(1, 6)]
    assert (tmp_path / "run" / "checkpoints" / "step-5" / "optimizer.pt").exists()
    last = load_file(tmp_path / "run" / "checkpoints" / "step-5" / "adapter_model.safetensors")
    assert all(value.isfinite().all() for value in last.values())


# Grace


@pytest.mark.parametrize(
    ("into_step", "save_s", "grace_s", "dropped"),
    [
        (1.0, 2.0, 25.0, False),  # 9 s more of the step and 2 s for the checkpoint
        (1.0, 17.0, 25.0, True),
        (1.0, 2.0, 10.0, True),
        (1.0, 2.0, 11.5, False),
        (30.0, 2.0, 25.0, False),  # longer than ever: any moment now
        (30.0, 26.0, 25.0, True),
    ],
)
def test_a_step_is_dropped_when_it_and_a_checkpoint_would_end_too_late(
    into_step: float, save_s: float, grace_s: float, dropped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps take 10 s in the median; SIGTERM comes so long into one."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    run = SimpleNamespace(ending_since=None)
    grace = Grace(run, grace_s)  # type: ignore[arg-type]
    for duration in (8.0, 10.0, 60.0, 10.0, 9.0):
        grace.begin_step(ALONE)
        now[0] += duration
        grace.end_step()
    grace.save_s = save_s
    grace.begin_step(ALONE)
    now[0] += into_step
    grace.check()  # nobody has asked it to end
    run.ending_since = now[0]
    if dropped:
        with pytest.raises(StepDropped):
            grace.check()
    else:
        grace.check()


# Precision


@pytest.mark.parametrize("method", ["lora", "full"])
def test_products_are_made_in_the_recipe_s_precision_in_training_and_measuring(
    method: str, make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[bool, bool, torch.dtype]] = set()
    entering = PackLoss._entering

    def watched(self: PackLoss, batch: Any) -> Any:
        part = self._bare.model.layers[0].mlp.down_proj
        hooked = part.register_forward_hook(
            lambda layer, _, output: (
                (
                    seen.add((layer.training, torch.is_autocast_enabled("cpu"), output.dtype)),
                    hooked.remove(),
                )[2:]
                or None
            )
        )
        return entering(self, batch)

    monkeypatch.setattr(PackLoss, "_entering", watched)
    recipe = make_recipe(method=method, precision="bf16", max_steps=2, sample_prompts=[], learning_rate=1e-3)
    run = FolderRun(tmp_path / "run")
    train(recipe, run)
    measured = {found for found in seen if found[1]}
    assert measured == {(True, True, torch.bfloat16), (False, True, torch.bfloat16)}
    assert run.of("step")[-1].loss < run.of("step")[0].loss + 0.5
