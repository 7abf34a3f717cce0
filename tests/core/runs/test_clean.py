"""What is proposed to go, and that nothing goes that something needs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import paths
from core.errors import FinetuiError
from core.runs import clean, clean_cache, locks, supervisor
from core.runs.clean import Item, propose, remove
from core.runs.directory import RunDirectory
from core.serving.chats import Chats
from tests.core.runs.test_lineage import checkpoint, deploy
from tests.core.runs.test_trash import deleted
from tests.tui.made_runs import make_run, running, some_runs, story, write

OLD = time.time() - 3 * 86400


def aged(path: Path) -> Path:
    os.utime(path, (OLD, OLD))
    return path


def rows_file(sha256: str, size: int = 100) -> Path:
    path = paths.make_private(paths.rows_dir()) / f"{sha256}.jsonl"
    path.write_bytes(b"x" * size)
    return aged(path)


def froze(run: RunDirectory, *sha256: str) -> None:
    training = [{"title": "t.jsonl", "sha256": digest} for digest in sha256]
    (run.data_dir / "sources.json").write_text(json.dumps({"training": training, "validation": None}))


def model(name: str, revision: str = "c0ffee", size: int = 900) -> Path:
    folder = paths.make_private(paths.models_dir() / name / revision)
    (folder / "model.safetensors").write_bytes(b"x" * size)
    record = {"model": name, "source": "hub", "revision": revision, "requested": None, "bytes": {}}
    (folder / "finetui.json").write_text(json.dumps(record))
    return folder


def based_on(run: RunDirectory, folder: Path) -> None:
    record = {"name": "owner/m", "folder": str(folder), "revision": "c0ffee", "source": "hub"}
    (run.path / "model.json").write_text(json.dumps(record))


def found(kind: str = "") -> dict[str, Item]:
    return {item.id: item for item in propose() if not kind or item.kind == kind}


def freed(*ids: str) -> list[int]:
    outcomes = remove(ids)
    assert [outcome.error for outcome in outcomes] == [None] * len(ids)
    return [outcome.freed_bytes for outcome in outcomes]


def why_not(item_id: str) -> str:
    (outcome,) = remove([item_id])
    assert outcome.error is not None and outcome.freed_bytes == 0
    return str(outcome.error)


@pytest.fixture
def busy() -> Iterator[RunDirectory]:
    """A run that works and has written down neither its files nor its model yet."""
    run = make_run("busy", model="qwen2.5-0.5b-instruct")
    lock = running(run)
    yield run
    lock.release()


def test_an_empty_home_has_nothing_to_go() -> None:
    assert propose() == []


def test_only_rows_that_no_run_names_go_and_the_trash_counts() -> None:
    runs = some_runs()
    froze(runs["done-one"], "a" * 64)
    froze(runs["stopped-one"], "b" * 64)
    supervisor.delete("stopped-one")
    kept = [rows_file(letter * 64) for letter in "ab"]
    gone = rows_file("c" * 64, 4321)
    new = rows_file("d" * 64)
    os.utime(new)
    assert list(found("rows")) == ["rows:" + "c" * 16]
    assert freed("rows:" + "c" * 16) == [4321]
    assert not gone.exists() and new.exists() and all(path.exists() for path in kept)


def test_no_rows_go_while_a_run_starts(busy: RunDirectory) -> None:
    path = rows_file("c" * 64)
    (item,) = found("rows").values()
    assert (item.proposed, item.held) == (False, "busy is starting and may use it")
    assert "busy is starting" in why_not(item.id)
    froze(busy, "e" * 64)
    assert found("rows")[item.id].proposed
    froze(busy, "c" * 64)
    assert found("rows") == {}
    assert "in use by now" in why_not(item.id)
    assert path.exists()


def test_rows_taken_up_between_the_list_and_the_removal_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    run = some_runs()["done-one"]
    path = rows_file("c" * 64)
    listed = propose()
    froze(run, "c" * 64)
    monkeypatch.setattr(clean, "propose", lambda: listed)
    assert "in use by now" in why_not("rows:" + "c" * 16)
    assert path.exists()


def test_models_are_listed_with_the_runs_that_need_them(busy: RunDirectory) -> None:
    runs = some_runs()
    needed, free, used = (
        model("smollm2-135m-instruct"),
        model("phi-4-mini-instruct", size=5000),
        model("qwen2.5-0.5b-instruct"),
    )
    for run in runs.values():
        based_on(run, needed)
    items = found("model")
    one = items["model:smollm2-135m-instruct@c0ffee"]
    assert sorted(one.needed_by) == sorted(runs) and not one.proposed and not one.held
    two = items["model:phi-4-mini-instruct@c0ffee"]
    assert (two.needed_by, two.proposed, two.held) == ((), True, "")
    assert two.back == "`finetui models fetch phi-4-mini-instruct` gets it again"
    three = items["model:qwen2.5-0.5b-instruct@c0ffee"]
    assert three.held == "busy works with it" and not three.proposed
    assert "busy works with it" in why_not(three.id)
    assert freed(two.id) == [two.bytes] and two.bytes > 5000
    assert freed(one.id) == [one.bytes]  # asked for by name
    assert used.exists() and not free.exists() and not needed.exists()


def test_a_model_that_is_served_or_being_fetched_stays() -> None:
    folder = model("phi-4-mini-instruct")
    lock = locks.take(folder.parent / ".lock")
    assert lock is not None
    with lock:
        assert "Another process is fetching it" in why_not("model:phi-4-mini-instruct@c0ffee")
    deploy("base", {"model": "phi-4-mini-instruct"})
    assert found("model")["model:phi-4-mini-instruct@c0ffee"].held == "the deployment base serves it"
    assert folder.exists()


def test_older_checkpoints_of_ended_runs_are_proposed_and_no_others() -> None:
    runs = some_runs()
    for name, steps in (("done-one", (10, 20, 40)), ("stopped-one", (5, 10, 20)), ("failed-phi", (30,))):
        for step in steps:
            checkpoint(runs[name], step)
    partial = runs["done-one"].partial_model()
    (partial / "weights").write_bytes(b"x")
    runs["done-one"].publish_model(partial)
    deploy("early", {"run": "stopped-one@5"})
    best = supervisor.get("done-one").summary.best_eval_step
    assert best == 30  # its checkpoint is not there any more
    assert {key: item.proposed for key, item in found("checkpoint").items()} == {
        "checkpoint:done-one@10": True,
        "checkpoint:done-one@20": True,
        "checkpoint:done-one@40": False,
        "checkpoint:stopped-one@10": True,
    }
    assert freed("checkpoint:done-one@10")[0] > 1000
    assert "can't go" in why_not("checkpoint:stopped-one@20")
    assert [item.step for item in runs["stopped-one"].checkpoints()] == [5, 10, 20]


def test_a_working_run_has_nothing_to_give() -> None:
    run = make_run("busy")
    write(run, story(40, 30))
    for step in (10, 20, 30):
        checkpoint(run, step)
    lock = running(run)
    try:
        assert propose() == []
        assert "checkpoint:busy@10 can't go" in why_not("checkpoint:busy@10")
    finally:
        lock.release()


def test_deleted_runs_are_listed_and_proposed_when_their_time_is_over() -> None:
    some_runs()
    deleted("done-one", 31)
    deleted("stopped-one", 3)
    items = found("trash")
    assert {key: item.proposed for key, item in items.items()} == {
        "trash:done-one": True,
        "trash:stopped-one": False,
    }
    assert items["trash:stopped-one"].why == "deleted 3 days ago; goes by itself in 27 days"
    assert freed("trash:stopped-one", "trash:done-one") == [
        items["trash:stopped-one"].bytes,
        items["trash:done-one"].bytes,
    ]
    supervisor.delete("paused-one")
    supervisor.restore("paused-one")
    assert "can't go" in why_not("trash:paused-one")


def test_copies_of_files_go_when_they_were_not_used_for_a_day() -> None:
    copy = paths.make_private(paths.cache_dir() / "unpacked" / "1234")
    (copy / "big.jsonl").write_bytes(b"x" * 500)
    hub = paths.make_private(paths.cache_dir() / "hub" / "datasets--owner--rows")
    assert found("unpacked") == {} == found("hub")
    aged(copy)
    aged(hub)
    assert [(item.title, item.bytes) for item in found("unpacked").values()] == [("big.jsonl", 500)]
    assert [item.title for item in found("hub").values()] == ["owner/rows"]
    assert freed("unpacked:1234", "hub:datasets--owner--rows") == [500, 0]


def test_what_was_left_half_done_goes_only_when_it_is_old_and_nobody_is_at_it() -> None:
    partial = paths.make_private(paths.models_dir() / "phi" / ".partial-c0ffee")
    other = paths.make_private(paths.models_dir() / "qwen" / ".partial-c0ffee")
    new_run = paths.make_private(paths.runs_dir() / ".new-half-1234")
    assert found("left") == {}
    for path in (partial, other, new_run):
        aged(path)
    lock = locks.take(paths.models_dir() / "qwen" / ".lock")
    assert lock is not None
    with lock:
        assert list(found("left")) == ["left:phi/.partial-c0ffee", "left:runs/.new-half-1234"]
    assert freed("left:phi/.partial-c0ffee") == [0]
    assert not partial.exists() and other.exists()


def test_the_file_of_chats_is_told_and_stays() -> None:
    folder = paths.make_private(paths.data_dir() / "chats")
    (folder / "chats.db").write_bytes(b"x" * 700)
    (folder / "chats.db-wal").write_bytes(b"x" * 300)
    (item,) = found("chat").values()
    assert (item.proposed, item.bytes) == (False, 1000)
    assert "deleted in Chat" in why_not(item.id)
    assert (folder / "chats.db").exists()


def test_a_file_without_a_chat_is_not_told() -> None:
    chats = Chats()
    assert chats.all() == [] and chats.path.exists()
    assert not found("chat")
    chats.begin("c", "one", "run", "", {})
    assert [item.held for item in found("chat").values() if "finetui chats delete" in item.held]


def test_nothing_is_proposed_while_a_deployment_can_t_be_read() -> None:
    folder = deploy("support", {"run": "x"})
    (folder / "deployment.json").write_text("{")
    with pytest.raises(FinetuiError, match="deployment support can't be read"):
        propose()


def test_items_are_plain_data(busy: RunDirectory) -> None:
    rows_file("c" * 64)
    model("phi-4-mini-instruct")
    records: list[dict[str, Any]] = [item.as_dict() for item in propose()]
    assert json.loads(json.dumps(records)) == [
        {**record, "needed_by": list(record["needed_by"])} for record in records
    ]
    assert [record["kind"] for record in records] == ["model", "rows"]
    assert set(clean_cache.KINDS) < set(clean.KINDS)
