"""Which runs can be talked to, and what is said of those that can't."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core.events import Failed, Finished, Starting, Stopped
from core.recipe import build
from core.runs import supervisor
from core.runs.directory import RunDirectory, RunError
from core.runs.journal import Journal
from core.serving.endpoint import Endpoint
from core.serving.targets import TargetError, choices, side, target, targets


@pytest.fixture
def base(tmp_path: Path, tiny_model: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "base")


def make_run(base: Path, *, ended: bool = True, record: bool = True) -> RunDirectory:
    run = RunDirectory.create(build({"model": str(base), "data": str(base / "rows.jsonl"), "name": "lamp"}))
    with Journal(run.journal_path) as journal:
        journal.append(Starting(phase="x", device="cpu"))
        journal.append(Stopped(step=0) if ended else Failed(what="It broke."))
    if record:
        content = {
            "name": "tiny",
            "folder": str(base),
            "revision": "",
            "source": "folder",
            "sha256": {},
            "note": "n",
        }
        (run.path / "model.json").write_text(json.dumps(content))
    return run


def add_checkpoint(run: RunDirectory, adapter: Path, step: int) -> None:
    partial = run.partial_checkpoint(step)
    shutil.copytree(adapter, partial, dirs_exist_ok=True)
    run.publish_checkpoint(partial, step)


def add_model(run: RunDirectory, adapter: Path) -> None:
    partial = run.partial_model()
    shutil.copytree(adapter, partial, dirs_exist_ok=True)
    run.publish_model(partial)
    with Journal(run.journal_path) as journal:
        journal.append(Finished(step=9, model="model"))


def test_a_finished_run_s_model_is_what_is_talked_to(base: Path, adapter: Path) -> None:
    run = make_run(base)
    add_checkpoint(run, adapter, 5)
    add_model(run, adapter)
    found = target("lamp")
    assert (found.run_id, found.title, found.model_folder) == (run.id, "lamp", base)
    assert (found.adapter, found.system, found.note) == (run.model_dir, "the lamp", "n")
    assert targets() == [found]


def test_before_its_end_the_newest_checkpoint_is(base: Path, adapter: Path) -> None:
    run = make_run(base)
    for step in (5, 10, 9):
        add_checkpoint(run, adapter, step)
    found = target(run.id)
    assert (found.title, found.adapter.name) == ("lamp @10", "step-10")


@pytest.mark.parametrize("record", [True, False])
def test_a_run_without_a_checkpoint_has_nothing_to_talk_to(base: Path, record: bool) -> None:
    run = make_run(base, record=record)
    with pytest.raises(TargetError) as refused:
        target(run.id)
    assert "no model yet" in refused.value.what
    assert "stopped" in refused.value.cause
    assert f"finetui resume {run.id}" in refused.value.next_step  # nobody works on it: waiting would not help
    assert targets() == []


def test_a_base_model_that_is_gone_is_told_with_its_folder(base: Path, adapter: Path) -> None:
    run = make_run(base)
    add_model(run, adapter)
    shutil.rmtree(base)
    with pytest.raises(TargetError) as refused:
        target(run.id)
    assert "base model" in refused.value.what
    assert str(base) in refused.value.cause
    assert refused.value.next_step
    assert targets() == []


@pytest.mark.parametrize("name", ["model.json", "model/finetui.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff", None])
def test_a_damaged_record_is_told_and_hides_no_other_run(
    base: Path, adapter: Path, name: str, content: bytes | None
) -> None:
    good, bad = make_run(base), make_run(base)
    for run in (good, bad):
        add_model(run, adapter)
    if content is None:
        (bad.path / name).unlink()
    else:
        (bad.path / name).write_bytes(content)
    with pytest.raises(TargetError):
        target(bad.id)
    assert [found.run_id for found in targets()] == [good.id]


def test_unknown_and_deleted_runs_are_runs_errors(base: Path, adapter: Path) -> None:
    run = make_run(base)
    add_model(run, adapter)
    with pytest.raises(RunError, match="no run"):
        target("nonesuch")
    supervisor.delete(run.id)
    assert targets() == []
    with pytest.raises(RunError) as refused:
        target(run.id)
    assert "restore" in refused.value.next_step


def test_a_classifier_and_a_model_without_a_template_give_no_replies(base: Path, adapter: Path) -> None:
    run = make_run(base)
    add_model(run, adapter)
    (run.model_dir / "chat_template.jinja").unlink()
    with pytest.raises(TargetError, match="has no chat template"):
        target("lamp")
    (run.model_dir / "finetui.json").write_text(json.dumps({"task": "classification", "system": ""}))
    with pytest.raises(TargetError, match="gives labels, no replies"):
        target("lamp")
    assert targets() == []


def test_whole_weights_are_a_model_too(base: Path, tiny_model: Path) -> None:
    run = make_run(base)
    add_model(run, tiny_model)
    (run.model_dir / "finetui.json").write_text(json.dumps({"task": "chat", "system": ""}))
    assert target("lamp").adapter == run.model_dir


def test_a_checkpoint_is_named_by_its_step(base: Path, adapter: Path) -> None:
    run = make_run(base)
    for step in (5, 10):
        add_checkpoint(run, adapter, step)
    add_model(run, adapter)
    found = target("lamp@5")
    assert (found.title, found.adapter, found.spec) == (
        "lamp @5",
        run.path / "checkpoints/step-5",
        f"{run.id}@5",
    )
    with pytest.raises(TargetError, match="no checkpoint of step 7") as refused:
        target("lamp@7")
    assert "5, 10" in refused.value.cause


def test_the_base_is_given_the_words_of_its_run_and_needs_none_of_it(base: Path, adapter: Path) -> None:
    run = make_run(base)
    before = target("lamp@base")
    assert (before.adapter, before.system, before.request()["renderer"]) == (None, "", str(base))
    add_model(run, adapter)
    found = target(f"{run.id}@base")
    assert (found.adapter, found.system, found.request()["renderer"]) == (
        None,
        "the lamp",
        str(run.model_dir),
    )
    assert found.title == f"{base} (untuned)"
    assert target("lamp").base_spec == found.spec
    assert target("lamp").request() == {**found.request(), "adapter": str(run.model_dir)}


def test_what_is_offered_can_be_written_and_is_found_again(base: Path, adapter: Path) -> None:
    run = make_run(base)
    add_checkpoint(run, adapter, 5)
    add_model(run, adapter)
    make_run(base, record=False)
    offered = choices()
    assert [item.spec for item in offered] == [run.id, f"{run.id}@5", f"{run.id}@base"]
    assert [side(item.spec) for item in offered] == offered


def test_an_endpoint_is_a_side_too() -> None:
    assert side("https://h/v1#m") == Endpoint("address", "https://h/v1", "m")
    with pytest.raises(RunError, match="no run"):
        side("nonesuch@base")
