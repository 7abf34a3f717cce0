"""Run directories: whole or not there, checkpoints that prove themselves, names that can't leave their folder."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from core import paths
from core import recipe as recipes
from core.runs import directory, manifest
from core.runs.directory import RunDirectory, RunError
from tests.core.runs.support import make_recipe


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(make_recipe(tmp_path, name="First try").absolute(tmp_path))


def checkpoint(run: RunDirectory, step: int, content: str = "weights") -> directory.Checkpoint:
    partial = run.partial_checkpoint(step)
    (partial / "deep").mkdir()
    (partial / "adapter.bin").write_text(content)
    (partial / "deep" / "optimizer.bin").write_text(f"{content} {step}")
    return run.publish_checkpoint(partial, step)


def test_a_new_run_holds_its_recipe_and_its_facts(run: RunDirectory, tmp_path: Path) -> None:
    meta = run.meta
    assert meta.id == run.path.name
    assert directory.RUN_ID.fullmatch(meta.id)
    assert meta.id.startswith("first-try-")
    assert (meta.name, meta.backend, meta.model) == ("First try", "local", "smollm2-135m-instruct")
    frozen = recipes.load(run.recipe_path)
    assert frozen.data[0].path == str(tmp_path / "train.jsonl")
    assert [path.name for path in paths.runs_dir().iterdir()] == [meta.id]
    for path in [run.path, *run.path.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_ids_are_unique_and_made_of_plain_letters(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path).absolute(tmp_path)
    ids = [RunDirectory.create(recipe, "Été 2025: x"[:8]).id for _ in range(20)]
    assert len(set(ids)) == 20
    assert all(run_id.startswith("ete-2025-") for run_id in ids)
    assert RunDirectory.create(recipe, "名前").id.startswith("run-")


@pytest.mark.parametrize(
    "name", ["", "  ", "../x", "a/b", "a\\b", ".", "..", ".hidden", "-x", "a\nb", "a\0b", "x" * 81, "~"]
)
def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="can't be a run's name"):
        RunDirectory.create(make_recipe(tmp_path), name)
    assert not list(paths.runs_dir().iterdir()) if paths.runs_dir().exists() else True


@pytest.mark.parametrize("run_id", ["..", ".", "", "/etc", "a/../b", "A", "a\n"])
def test_ids_that_are_none_find_nothing(run_id: str) -> None:
    assert directory.find(run_id) is None


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        _ = RunDirectory(tmp_path).meta


def test_facts_of_a_newer_version_are_passed_over(run: RunDirectory) -> None:
    text = run.meta_path.read_text().replace("{", '{"colour": "red",', 1)
    run.meta_path.write_text(text)
    assert run.meta.name == "First try"
    run.write_meta(replace(run.meta, name="Other"))
    assert run.meta.name == "Other"


def test_a_checkpoint_is_there_when_it_is_published(run: RunDirectory) -> None:
    partial = run.partial_checkpoint(4)
    (partial / "adapter.bin").write_text("x")
    assert run.checkpoints() == []
    published = run.publish_checkpoint(partial, 4)
    assert run.checkpoints() == [published]
    assert published.path == run.checkpoints_dir / "step-4"
    assert published.verify()
    assert published.bytes == sum(path.stat().st_size for path in published.path.rglob("*") if path.is_file())
    assert not partial.exists()


def test_checkpoints_are_in_the_order_of_their_steps(run: RunDirectory) -> None:
    for step in (9, 100, 20):
        checkpoint(run, step)
    assert [item.step for item in run.checkpoints()] == [9, 20, 100]
    latest = run.latest_checkpoint()
    assert latest is not None
    assert latest.step == 100


@pytest.mark.parametrize("harm", ["changed", "longer", "missing", "no manifest", "link", "outside"])
def test_a_damaged_checkpoint_is_passed_over(run: RunDirectory, harm: str) -> None:
    checkpoint(run, 1)
    damaged = checkpoint(run, 2)
    file = damaged.path / "deep" / "optimizer.bin"
    match harm:
        case "changed":
            file.write_text("w" + file.read_text()[1:][::-1])
        case "longer":
            file.write_text(file.read_text() + "x")
        case "missing":
            file.unlink()
        case "no manifest":
            (damaged.path / manifest.NAME).unlink()
        case "link":
            file.unlink()
            file.symlink_to(run.recipe_path)
        case "outside":
            text = (damaged.path / manifest.NAME).read_text()
            (damaged.path / manifest.NAME).write_text(
                text.replace("deep/optimizer.bin", "../step-1/adapter.bin")
            )
    assert damaged.damage()
    latest = run.latest_checkpoint()
    assert latest is not None
    assert latest.step == 1


def test_the_same_step_again_takes_the_place_of_the_first(run: RunDirectory) -> None:
    checkpoint(run, 3, "old")
    checkpoint(run, 3, "new")
    assert (run.checkpoints_dir / "step-3" / "adapter.bin").read_text() == "new"
    assert [path.name for path in run.checkpoints_dir.iterdir()] == ["step-3"]


def test_pruning_keeps_the_newest_and_always_one(run: RunDirectory) -> None:
    for step in range(1, 6):
        checkpoint(run, step)
    assert run.prune_checkpoints(2) == [1, 2, 3]
    assert run.prune_checkpoints(2) == []
    assert run.prune_checkpoints(0) == [4]
    assert [path.name for path in run.checkpoints_dir.iterdir()] == ["step-5"]


def test_what_an_interrupted_writing_left_is_no_checkpoint_and_can_go(run: RunDirectory) -> None:
    (run.partial_checkpoint(7) / "half.bin").write_text("x")
    (run.partial_model() / "half.bin").write_text("x")
    again = run.partial_checkpoint(7)
    assert list(again.iterdir()) == []
    run.remove_partials()
    assert list(run.checkpoints_dir.iterdir()) == []
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]


def test_a_link_in_a_checkpoint_is_refused(run: RunDirectory) -> None:
    partial = run.partial_checkpoint(1)
    (partial / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        run.publish_checkpoint(partial, 1)
    assert run.checkpoints() == []


def test_a_model_takes_the_place_of_an_earlier_one(run: RunDirectory) -> None:
    for content in ("one", "two"):
        partial = run.partial_model()
        (partial / "adapter.bin").write_text(content)
        assert run.publish_model(partial) == run.model_dir
    assert (run.model_dir / "adapter.bin").read_text() == "two"
    assert manifest.damage(run.model_dir) == ""


def test_the_log_tail_is_the_end_of_the_log(run: RunDirectory) -> None:
    assert run.log_tail(3) == []
    run.log_path.write_bytes(b"\xff" * 100_000 + b"\none\ntwo\nthree\n")
    assert run.log_tail(2) == ["two", "three"]
    assert run.log_tail(0) == []
