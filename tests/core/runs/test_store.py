"""The store: a cache that follows the directories, survives damage, and knows its file system."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from core import paths
from core.events import Finished, Status, encode
from core.paths import PathError
from core.runs import store as store_module
from core.runs.directory import RunDirectory, RunError
from core.runs.store import MIGRATIONS, Store, file_system
from core.runs.summary import VERSION
from tests.core.runs.support import make_recipe


def create(folder: Path, name: str) -> RunDirectory:
    return RunDirectory.create(make_recipe(folder).absolute(folder), name)


def test_runs_appear_change_and_vanish_with_their_directories(tmp_path: Path) -> None:
    run = create(tmp_path, "one")
    with Store() as store:
        assert [item.meta.name for item in store.refresh()] == ["one"]
        run.journal_path.write_bytes(encode(Status(text="reading")))
        assert store.refresh()[0].summary.phase == "reading"
        paths.make_private(paths.trash_dir())
        run.path.rename(paths.trash_dir() / run.id)
        (moved,) = store.refresh()
        assert (moved.trashed, moved.path, moved.summary.phase) == (
            True,
            paths.trash_dir() / run.id,
            "reading",
        )
        for file in moved.path.rglob("*"):
            if file.is_file():
                file.unlink()
        moved.path.rename(tmp_path / "elsewhere")
        assert store.refresh() == []


def test_a_refresh_with_nothing_new_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(tmp_path, "one")
    run.journal_path.write_bytes(encode(Status(text="reading")))
    with Store() as store:
        store.refresh()
        saved: list[object] = []
        monkeypatch.setattr(store_module, "_transaction", saved.append)
        with run.journal_path.open("ab") as file:
            file.write(b'{"half a line')
        assert store.refresh()[0].summary.phase == "reading"
        assert saved == []


def test_a_journal_is_read_from_where_the_last_reader_stopped(tmp_path: Path) -> None:
    run = create(tmp_path, "one")
    first = encode(Status(text="first"))
    run.journal_path.write_bytes(first)
    with Store() as store:
        store.refresh()
    with run.journal_path.open("r+b") as file:  # what was read is not read again
        file.write(b"#" * (len(first) - 1))
        file.seek(0, 2)
        file.write(encode(Finished(step=3, model="model")))
    with Store() as store:
        (stored,) = store.refresh()
        assert (stored.summary.state, stored.summary.step) == ("finished", 3)
        (again,) = store.rebuild()
        assert again.summary.state == "finished"


def test_a_summary_of_another_version_is_made_anew(tmp_path: Path) -> None:
    run = create(tmp_path, "one")
    run.journal_path.write_bytes(encode(Status(text="reading")))
    with Store() as store:
        store.refresh()
        store._database.execute(
            f"UPDATE runs SET summary = replace(summary, '\"version\":{VERSION}', '\"version\":0')"
        )
        store._database.execute("UPDATE runs SET summary = replace(summary, 'reading', 'wrong')")
        assert store.refresh()[0].summary.phase == "reading"


def test_folders_that_are_no_runs_are_told_and_left_alone(tmp_path: Path) -> None:
    create(tmp_path, "one")
    (paths.runs_dir() / "stray").mkdir()
    (paths.runs_dir() / ".new-half-1234").mkdir()
    with Store() as store:
        assert len(store.refresh()) == 1
        (notice,) = store.notices
    assert "stray is not a run directory" in notice


def test_the_store_is_private_and_has_a_version(tmp_path: Path) -> None:
    create(tmp_path, "one")
    with Store() as store:
        store.refresh()
    assert stat.S_IMODE(paths.store_path().stat().st_mode) == 0o600
    database = sqlite3.connect(paths.store_path())
    assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    database.close()


def test_a_store_of_a_newer_finetui_is_left_alone() -> None:
    Store().close()
    database = sqlite3.connect(paths.store_path())
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(RunError, match="newer finetui"):
        Store()


@pytest.mark.parametrize(
    ("kind", "mode"), [("ext4", "wal"), ("nfs4", "delete"), ("lustre", "delete"), ("", "wal")]
)
def test_the_write_ahead_log_is_for_local_disks(
    monkeypatch: pytest.MonkeyPatch, kind: str, mode: str
) -> None:
    monkeypatch.setattr(store_module, "file_system", lambda _: kind)
    with Store() as store:
        assert store._database.execute("PRAGMA journal_mode").fetchone() == (mode,)


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n"
        "x /home/a\\040b fuse.sshfs rw 0 0\nautofs /net autofs rw 0 0\ny /net nfs rw 0 0\n"
    )
    assert file_system(Path("/home/me/data"), mounts) == "nfs4"
    assert file_system(Path("/homeless"), mounts) == "ext4"
    assert file_system(Path("/home/a b/c"), mounts) == "fuse.sshfs"
    assert file_system(Path("/net/x"), mounts) == "nfs"
    assert file_system(Path("/x"), tmp_path / "none") == ""


def test_an_unwritable_data_directory_is_named(home: Path) -> None:
    home.mkdir()
    (home / "data").write_text("a file in the way")
    with pytest.raises(PathError, match="can't be made"):
        Store()


def test_a_store_that_is_locked_or_full_still_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_MS", 1)
    create(tmp_path, "one")
    Store().close()
    blocker = sqlite3.connect(paths.store_path(), isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with Store() as store:
        assert [item.meta.name for item in store.refresh()] == ["one"]
        assert any("lists are read from the journals" in notice for notice in store.notices)
    blocker.execute("ROLLBACK")
    blocker.close()
    monkeypatch.setattr(
        Store, "_open", lambda _: (_ for _ in ()).throw(sqlite3.OperationalError("disk is full"))
    )
    with Store() as store:
        assert [item.meta.name for item in store.refresh()] == ["one"]
        assert any("disk is full" in notice for notice in store.notices)
