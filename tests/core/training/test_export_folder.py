"""The folder of an export: complete or not there at all, and never in place of anything."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from core.runs.directory import RunDirectory
from core.training import export_folder
from core.training.export import export
from core.training.export_source import ExportError
from tests.core.training import tiny
from tests.core.training.exported import export_now, make_run, save_adapter


@pytest.fixture(scope="session")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "model")


@pytest.fixture
def run(tiny_model: Path, adapter: Path) -> RunDirectory:
    return make_run(tiny_model, adapter)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_filled_folder_is_left_alone_and_an_empty_one_is_taken(run: RunDirectory, tmp_path: Path) -> None:
    filled = tmp_path / "filled"
    filled.mkdir()
    (filled / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out in (filled, tmp_path / "file", tmp_path / "link"):
        with pytest.raises(ExportError, match="exists already"):
            export_now(run, "adapter", out)
    assert files(filled) == {"mine"}
    (tmp_path / "empty").mkdir()
    export_now(run, "adapter", tmp_path / "empty")
    export_now(run, "adapter", tmp_path / "deep" / "er")
    assert "README.md" in files(tmp_path / "deep" / "er")


def test_files_have_the_permissions_of_the_umask(run: RunDirectory, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        export_now(run, "merged", tmp_path / "out")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o640}


def test_too_little_space_is_said_before_anything_is_written(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(export_folder.shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    for to in ("adapter", "merged"):
        with pytest.raises(ExportError, match="Not enough disk space"):
            export_now(run, to, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


def test_what_a_killed_export_left_is_taken_over_but_never_another_s(
    run: RunDirectory, tmp_path: Path
) -> None:
    left = tmp_path / ".out.partial"
    (left / "folder").mkdir(parents=True)
    (left / "half").write_text("x")
    descriptor = os.open(left, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(ExportError, match="Another export"):
        export_now(run, "adapter", tmp_path / "out")
    assert files(left) == {"folder", "half"}
    os.close(descriptor)
    export_now(run, "adapter", tmp_path / "out")
    assert not left.exists()
    assert not files(tmp_path / "out") & {"folder", "half"}


def test_an_export_given_up_leaves_nothing(run: RunDirectory, tmp_path: Path) -> None:
    work = export(run.path, run.model_dir, "merged", tmp_path / "out")
    while next(work) != "merging":
        pass
    work.close()
    assert list(tmp_path.glob("*out*")) == []


def test_a_base_that_changed_is_refused_for_merging_only(tmp_path: Path) -> None:
    base = tiny.make_model(tmp_path / "base")
    run = make_run(base, save_adapter(base, tmp_path / "adapter"))
    tiny.make_model(base, seed=8)
    with pytest.raises(ExportError, match="not what the run was trained on"):
        export_now(run, "merged", tmp_path / "out")
    shutil.rmtree(base)
    with pytest.raises(ExportError, match="not on this machine"):
        export_now(run, "merged", tmp_path / "out")
    export_now(run, "adapter", tmp_path / "out")


def test_a_folder_without_a_model_and_a_broken_record_are_named(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no model in"):
        export_now(run, "adapter", tmp_path / "out", run.checkpoints_dir / "step-7")
    (run.path / "model.json").write_text("{")
    with pytest.raises(ExportError, match="model.json"):
        export_now(run, "adapter", tmp_path / "out")
