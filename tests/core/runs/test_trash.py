"""What goes for good, what stays, and what a removal waits for."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core import paths
from core.runs import supervisor, trash
from core.runs.directory import RunDirectory, RunError
from core.runs.trash import KEPT_S
from tests.core.runs.test_lineage import checkpoint, deploy, init_from
from tests.tui.made_runs import make_run, running, some_runs, story, write


def deleted(run_id: str, days: float) -> RunDirectory:
    """A run that went to the trash so many days ago."""
    run = RunDirectory(supervisor.delete(run_id).directory)
    run.write_meta(replace(run.meta, trashed_at=time.time() - days * 86400))
    supervisor.rebuild()  # run.json was changed behind the store's back
    return run


def test_the_trash_is_emptied_after_thirty_days_and_not_before() -> None:
    some_runs()
    old, young = deleted("done-one", 30.001), deleted("stopped-one", 29.99)
    (old.path / "big").write_bytes(b"x" * 5000)
    size = trash.folder_bytes(old.path)
    assert trash.sweep() == {"done-one": size}
    assert size > 5000
    assert not old.path.exists() and young.path.is_dir()
    assert [row.id for row in supervisor.list_runs(trash=True)] == ["stopped-one"]
    assert trash.sweep() == {}


def test_a_run_in_the_trash_whose_time_nobody_knows_stays() -> None:
    """E.g. a folder that was moved there by hand; or a clock that was set back."""
    some_runs()
    unknown, ahead = deleted("done-one", 0), deleted("stopped-one", -5)
    unknown.write_meta(replace(unknown.meta, trashed_at=0.0))
    supervisor.rebuild()
    assert trash.sweep() == {}
    assert unknown.path.is_dir() and ahead.path.is_dir()


def test_an_interrupted_removal_is_finished_by_the_next_sweep() -> None:
    left = paths.make_private(paths.trash_dir() / ".gone-half-one" / "checkpoints")
    (left / "weights").write_bytes(b"x")
    assert trash.sweep() == {}
    assert list(paths.trash_dir().iterdir()) == []


def test_a_run_restored_meanwhile_is_left_alone() -> None:
    """The sweep has seen it in the trash; the restore holds its lock; then the sweep gets the lock."""
    some_runs()
    run = deleted("done-one", 40)
    removed: list[int] = []
    with supervisor.locked(run):
        thread = threading.Thread(target=lambda: removed.append(trash.remove("done-one", KEPT_S)))
        thread.start()
        target = paths.runs_dir() / "done-one"
        run.path.rename(target)
        back = RunDirectory(target)
        back.write_meta(replace(back.meta, trashed_at=0.0))
    thread.join()
    assert removed == [0]
    assert supervisor.get("done-one").state == "finished"
    assert trash.remove("done-one") == 0 and trash.remove("never-there") == 0


def test_a_restore_that_comes_too_late_says_so_and_makes_no_half_run() -> None:
    some_runs()
    run = deleted("done-one", 40)
    told: list[Exception] = []

    def restore() -> None:
        try:
            supervisor.restore("done-one")
        except RunError as error:
            told.append(error)

    with supervisor.locked(run):
        thread = threading.Thread(target=restore)
        thread.start()
        run.path.rename(run.path.with_name(".gone-done-one"))
    thread.join()
    assert len(told) == 1
    assert not (paths.runs_dir() / "done-one").exists()


def test_dependents_are_named_with_their_sizes() -> None:
    run = some_runs()["done-one"]
    checkpoint(run, 40, 3000)
    child = make_run("child")
    init_from(child, "done-one@40")
    deploy("support", {"run": "done-one"})
    found = trash.dependents(run)
    assert [link.id for link in found.children] == ["child"]
    assert [item.name for item in found.deployments] == ["support"]
    assert found.bytes == sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    assert found.bytes > 3000
    assert found.remote == ""
    (run.path / "azure.json").write_text('{"registered": "tuned:3"}')
    assert trash.dependents(run).remote == "tuned:3"


def test_folder_bytes_count_files_and_not_what_links_point_to(tmp_path: Path) -> None:
    big = tmp_path / "elsewhere"
    big.write_bytes(b"x" * 100_000)
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_bytes(b"x" * 700)
    (folder / "link").symlink_to(big)
    (folder / "loop").symlink_to(tmp_path)
    assert 700 <= trash.folder_bytes(folder) < 1500
    assert trash.folder_bytes(tmp_path / "none") == 0


# Checkpoints


@pytest.fixture
def stopped() -> RunDirectory:
    """A stopped run with checkpoints of steps 10 (its best validation loss is at 20), 20 and 30."""
    from core.events import Evaluated, Stopped

    run = make_run("stopped-one")
    write(run, story(40, 30))
    write(run, [Evaluated(step=20, loss=0.1, perplexity=1.1, rows=6, trained_tokens=9, duration_s=1.0)])
    write(run, [Stopped(step=30, model="model", checkpoint="checkpoints/step-30")])
    for step in (10, 20, 30):
        checkpoint(run, step)
    return run


def test_a_checkpoint_goes_and_its_bytes_are_told(stopped: RunDirectory) -> None:
    size = trash.folder_bytes(stopped.checkpoints_dir / "step-10")
    assert trash.delete_checkpoint("stopped-one", 10) == size > 1000
    assert [item.step for item in stopped.checkpoints()] == [20, 30]


@pytest.mark.parametrize(
    ("step", "words"),
    [(30, "It is the newest"), (20, "lowest validation loss"), (11, "Kept are: 10, 20, 30")],
)
def test_the_newest_and_the_best_stay(stopped: RunDirectory, step: int, words: str) -> None:
    with pytest.raises(RunError) as refused:
        trash.delete_checkpoint("stopped-one", step)
    assert words in refused.value.cause
    assert [item.step for item in stopped.checkpoints()] == [10, 20, 30]


def test_the_best_goes_when_that_is_meant_and_the_newest_never(stopped: RunDirectory) -> None:
    assert trash.delete_checkpoint("stopped-one", 20, even_best=True) > 0
    with pytest.raises(RunError):
        trash.delete_checkpoint("stopped-one", 30, even_best=True)


def test_a_finished_run_with_its_model_may_lose_its_newest_and_without_it_not() -> None:
    run = some_runs()["done-one"]
    checkpoint(run, 38)
    with pytest.raises(RunError, match="not deleted") as refused:
        trash.delete_checkpoint("done-one", 38)
    assert "all that the run has trained" in refused.value.cause
    partial = run.partial_model()
    (partial / "adapter_model.safetensors").write_bytes(b"x")
    run.publish_model(partial)
    assert trash.delete_checkpoint("done-one", 38) > 0


def test_a_served_checkpoint_and_one_of_a_working_run_stay(stopped: RunDirectory) -> None:
    deploy("support", {"run": "stopped-one@10"})
    with pytest.raises(RunError, match="step 10 of stopped-one is served"):
        trash.delete_checkpoint("stopped-one", 10)
    busy = make_run("busy")
    write(busy, story(40, 20))
    checkpoint(busy, 10)
    checkpoint(busy, 20)
    lock = running(busy)
    try:
        with pytest.raises(RunError, match="busy is running"):
            trash.delete_checkpoint("busy", 10)
    finally:
        lock.release()
