"""Where a run comes from and who uses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core import paths
from core.runs import lineage, supervisor
from core.runs.directory import RunDirectory, RunError
from core.runs.lineage import Base, DataFile, Deployment, Link
from tests.tui.made_runs import make_run, running, some_runs, story, write


def init_from(run: RunDirectory, value: str) -> None:
    with run.recipe_path.open("a") as file:
        file.write(f"init_from: {value}\n")


def checkpoint(run: RunDirectory, step: int, size: int = 1000) -> Path:
    partial = run.partial_checkpoint(step)
    (partial / "adapter_model.safetensors").write_bytes(b"x" * size)
    return run.publish_checkpoint(partial, step).path


def deploy(name: str, record: Any) -> Path:
    folder = paths.make_private(paths.data_dir() / "deployments" / name)
    paths.write_private(folder / "deployment.json", json.dumps(record).encode())
    return folder


def test_a_run_that_has_not_started_tells_what_its_recipe_names() -> None:
    run = make_run("fresh", model="phi-4-mini-instruct")
    found = lineage.of(run)
    assert found.data == (DataFile("training", "train.jsonl"),)
    assert found.base == Base("phi-4-mini-instruct")
    assert (found.parent, found.children, found.deployments) == (None, (), ())


def test_a_started_run_tells_what_it_froze_and_what_its_files_were_made_of(tmp_path: Path) -> None:
    run = make_run("started")
    place = tmp_path / "train.jsonl"
    run.recipe_path.write_text(f"model: m\ndata: {place}\nvalidation: /data/held.jsonl\n")
    frozen = {"title": "train.jsonl", "sha256": "a" * 64, "revision": "", "name": "train.jsonl"}
    held = {"title": "held.jsonl", "sha256": "b" * 64, "revision": "abc"}
    (run.data_dir / "sources.json").write_text(json.dumps({"training": [frozen], "validation": held}))
    base = {"name": "owner/m", "folder": "/models/m", "revision": "c0ffee", "source": "hub", "sha256": {}}
    (run.path / "model.json").write_text(json.dumps(base))

    def made(path: Path, source: Path, sha256: str, source_sha256: str) -> None:
        record = {"source": str(source), "source_sha256": source_sha256, "target_sha256": sha256}
        path.with_name(path.name + ".lineage.json").write_text(json.dumps(record))

    made(place, tmp_path / "fixed.jsonl", "a" * 64, "c" * 64)
    made(tmp_path / "fixed.jsonl", tmp_path / "raw.csv", "c" * 64, "d" * 64)
    found = lineage.of(run)
    assert found.data == (
        DataFile(
            "training",
            "train.jsonl",
            "a" * 64,
            "",
            (str(tmp_path / "fixed.jsonl"), str(tmp_path / "raw.csv")),
        ),
        DataFile("validation", "held.jsonl", "b" * 64, "abc"),
    )
    assert found.base == Base("owner/m", "c0ffee", "hub", "/models/m")
    # A file that is another by now was made of something else.
    made(place, tmp_path / "fixed.jsonl", "e" * 64, "c" * 64)
    assert lineage.of(run).data[0].made_from == ()


def test_runs_initialised_from_one_another_know_each_other() -> None:
    parent, child, later, other = (make_run(name) for name in ("parent", "child", "later", "parent-2"))
    init_from(child, "parent@20")
    init_from(later, str(parent.model_dir))
    init_from(other, "/elsewhere/parent")
    assert lineage.of(child).parent == Link("parent", "parent", 20)
    assert lineage.of(later).parent == Link("parent", "parent", 0)
    assert lineage.of(other).parent is None
    assert {link.id: link.step for link in lineage.children_of(parent)} == {"child": 20, "later": 0}
    write(later, story(4, 4))
    supervisor.stop("later")
    supervisor.delete("later")
    assert {link.id: link.trashed for link in lineage.children_of(parent)} == {"child": False, "later": True}
    init_from(parent, "gone-1234@7")
    assert lineage.of(parent).parent == Link("gone-1234", "gone-1234@7", 7, gone=True)


@pytest.mark.parametrize("name", ["run-1", "run"])
def test_a_text_means_a_run_or_a_part_of_it(name: str) -> None:
    run = make_run(name)
    folder = paths.runs_dir() / name
    assert lineage.part_named(name, run) == ""
    assert lineage.part_named(f"{name}@20", run) == "checkpoints/step-20"
    assert lineage.part_named(f"{folder}/checkpoints/step-20", run) == "checkpoints/step-20"
    assert lineage.part_named(str(paths.trash_dir() / name / "model"), run) == "model"
    for else_ in (f"{name}x", f"x{name}", f"{folder}-2/model", f"{folder}2", "", "/", name.upper()):
        assert lineage.part_named(else_, run) is None


def test_deployments_that_serve_a_run_are_found_whatever_their_record_is_like() -> None:
    run = make_run("served")
    checkpoint(run, 20)
    deploy("by-id", {"run": "served", "about": "not other-run"})
    deploy("by-step", {"models": [{"name": "x", "source": {"run": "served@20"}}]})
    deploy("by-both", {"models": [{"run": "served", "checkpoint": 20}, {"run": "x", "checkpoint": 1}]})
    deploy("by-model", {"models": [{"run": "served", "checkpoint": None, "folder": "/merged"}]})
    deploy("by-path", {"adapter": str(run.model_dir), "run": "served"})
    deploy("another", {"run": "served-2", "title": "like served"})
    assert lineage.deployments_of(run) == (
        Deployment("by-both", "checkpoints/step-20"),
        Deployment("by-id"),
        Deployment("by-model", "model"),
        Deployment("by-path", "model"),
        Deployment("by-step", "checkpoints/step-20"),
    )


def test_a_served_run_is_not_deleted_and_the_way_out_is_named() -> None:
    run = some_runs()["done-one"]
    folder = deploy("support", {"run": "done-one"})
    with pytest.raises(RunError, match="done-one is served") as refused:
        supervisor.delete("done-one")
    assert "support" in refused.value.cause
    assert refused.value.next_step == "`finetui undeploy support` first."
    assert run.path.is_dir()
    (folder / "deployment.json").write_text("{")
    with pytest.raises(RunError, match="deployment support can't be read"):
        supervisor.delete("done-one")
    assert "support can't be read" in lineage.of(run).notes[0]
    (folder / "deployment.json").unlink()
    assert supervisor.delete("done-one").trashed_at > 0


def test_a_run_that_waits_to_start_from_another_keeps_it() -> None:
    some_runs()
    child = make_run("child")
    init_from(child, "done-one")
    lock = running(child)
    try:
        with pytest.raises(RunError, match="child is to start from its weights"):
            supervisor.delete("done-one")
        (child.data_dir / "init").mkdir()  # it has its own copy now
        assert supervisor.delete("done-one").trashed_at > 0
    finally:
        lock.release()
    assert lineage.parent_of(child) == Link("done-one", "done-one", trashed=True)
