"""What finetui makes is the user's alone, and a folder that can't be written is told in three parts."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from core import paths
from core.paths import PathError, make_private, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_a_folder_and_the_parents_made_for_it_are_private(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    made = make_private(there / "a" / "b" / "c")
    assert [mode(made), mode(made.parent), mode(made.parent.parent)] == [0o700] * 3
    assert mode(there) == 0o755  # not finetui's: left as it is
    assert make_private(made) == made


@pytest.mark.usefixtures("open_umask")
def test_a_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    write_private(file, b"old, longer")
    write_private(file, b"new")
    assert file.read_bytes() == b"new"
    assert mode(file) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_failed_write_leaves_the_old_content_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.json"
    write_private(file, b"old")

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_private(file, b"new")
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_threads_that_write_the_same_file_leave_one_of_their_contents(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    contents = [bytes([65 + number]) * 5000 for number in range(8)]
    failed: list[OSError] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                write_private(file, content)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert file.read_bytes() in contents


def test_a_file_in_the_way_is_told_in_three_parts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for wanted in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        with pytest.raises(PathError) as refused:
            make_private(wanted)
        assert str(wanted) in refused.value.what
        assert "Not a directory" in refused.value.cause
        assert "FINETUI_HOME" in refused.value.next_step


def test_a_folder_without_leave_to_write_is_told_in_three_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(PathError) as refused:
        make_private(tmp_path)
    assert "not writable" in refused.value.what
    assert refused.value.cause
    assert "FINETUI_HOME" in refused.value.next_step


def test_everything_lies_under_finetui_home(home: Path) -> None:
    for folder in (
        paths.runs_dir(),
        paths.trash_dir(),
        paths.store_path(),
        paths.devices_dir(),
        paths.logs_dir(),
    ):
        assert folder.is_relative_to(home / "data")
    for folder in (paths.models_dir(), paths.rows_dir()):
        assert folder.is_relative_to(home / "cache")


def test_a_relative_home_stays_where_it_is_for_processes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUI_HOME", "here")
    before = paths.data_dir()
    paths.settle_home()
    monkeypatch.chdir("/")
    assert paths.data_dir() == before == tmp_path / "here" / "data"


def test_a_home_may_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FINETUI_HOME", "~/tui")
    assert paths.data_dir() == tmp_path / "tui" / "data"


def test_without_finetui_home_the_system_s_folders_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINETUI_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    monkeypatch.setenv("XDG_CACHE_HOME", "/srv/cache")
    paths.settle_home()
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert (paths.data_dir(), paths.cache_dir()) == (
            Path("/srv/data/finetui"),
            Path("/srv/cache/finetui"),
        )
