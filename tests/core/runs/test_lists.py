"""Lists of runs: the trash, names and ids, and the store they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import paths
from core.runs import supervisor, trash
from core.runs.directory import RunDirectory, RunError
from tests.core.runs.support import make_recipe, reach, submit

pytestmark = pytest.mark.usefixtures("workers")


def test_trash_and_back(tmp_path: Path) -> None:
    row = reach(submit(tmp_path, name="old", max_steps=1), "finished")
    trashed = supervisor.delete("old")
    assert trashed.trashed_at > 0
    assert trashed.directory == paths.trash_dir() / row.id
    assert supervisor.list_runs() == []
    assert [item.id for item in supervisor.list_runs(trash=True)] == [row.id]
    with pytest.raises(RunError, match="is in the trash"):
        supervisor.delete("old")
    restored = supervisor.restore("old")
    assert (restored.state, restored.trashed_at, restored.directory) == ("finished", 0.0, row.directory)
    assert (row.directory / "model" / "adapter.txt").exists()
    assert supervisor.list_runs(trash=True) == []


def test_a_sweep_takes_what_is_old_enough(tmp_path: Path) -> None:
    row = reach(submit(tmp_path, max_steps=1), "finished")
    supervisor.delete(row.id)
    assert trash.sweep() == {}
    assert list(trash.sweep(older_than_s=0.0)) == [row.id]
    assert supervisor.list_runs(trash=True) == []
    assert list(paths.trash_dir().iterdir()) == []


def test_runs_are_found_by_id_beginning_and_name(tmp_path: Path) -> None:
    ids = []
    for name in ("alpha one", "alpha two", "beta"):
        run = RunDirectory.create(make_recipe(tmp_path).absolute(tmp_path), name)
        ids.append(run.id)
    assert supervisor.get(ids[0]).id == ids[0]
    assert supervisor.get("alpha two").id == ids[1]
    assert supervisor.get("bet").id == ids[2]
    with pytest.raises(RunError, match="fits 2 runs") as several:
        supervisor.get("alpha")
    assert all(run_id in several.value.cause for run_id in ids[:2])
    with pytest.raises(RunError, match="no run 'alhpa one'") as unknown:
        supervisor.get("alhpa one")
    assert "alpha one" in unknown.value.cause
    for ref in ("", "..", "../etc", "%"):
        with pytest.raises(RunError):
            supervisor.get(ref)


def test_a_new_name_keeps_the_id(tmp_path: Path) -> None:
    run = RunDirectory.create(make_recipe(tmp_path).absolute(tmp_path), "before")
    assert supervisor.rename("before", " after ").name == "after"
    assert supervisor.get("after").id == run.id
    with pytest.raises(RunError, match="can't be a run's name"):
        supervisor.rename("after", "../../x")
    run = RunDirectory.create(make_recipe(tmp_path).absolute(tmp_path), "after")
    with pytest.raises(RunError, match="fits 2 runs"):
        supervisor.get("after")


def test_the_store_can_be_lost_and_comes_back_equal(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        reach(submit(tmp_path, name=name, max_steps=2), "finished")
    supervisor.delete("two")
    before = (supervisor.list_runs(), supervisor.list_runs(trash=True))
    assert supervisor.rebuild() == before[0]
    for file in paths.data_dir().glob("store.db*"):
        file.unlink()
    assert (supervisor.list_runs(), supervisor.list_runs(trash=True)) == before
    paths.store_path().write_bytes(b"This is no database, but it is long enough to be taken for one." * 100)
    for file in paths.data_dir().glob("store.db-*"):
        file.unlink()
    assert (supervisor.list_runs(), supervisor.list_runs(trash=True)) == before
    (notice,) = supervisor.notices()
    assert "damaged" in notice
    assert supervisor.notices() == []
    assert len(list(paths.data_dir().glob("store.db.damaged-*"))) == 1
