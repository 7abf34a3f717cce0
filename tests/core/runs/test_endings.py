"""Exceptions told to a user."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.runs import endings
from core.runs.directory import RunDirectory
from core.runs.endings import UNEXPECTED, explain


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_memory_is_named_with_its_remedy(tmp_path: Path, error: Exception) -> None:
    failed = explain(error, RunDirectory(tmp_path), 4)
    assert failed.what == "There was not enough memory for step 5."
    for word in ("token_budget", "gradient_checkpointing", "sequence_length"):
        assert word in failed.next_step


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "x"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "x"),
        RuntimeError('IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })'),
    ],
)
def test_a_full_disk_is_named_with_what_is_free(tmp_path: Path, error: Exception) -> None:
    run = RunDirectory(tmp_path)
    for raised in (error, _wrapped(error)):
        failed = explain(raised, run, 4)
        assert failed.what.startswith("The disk is full")
        assert "MB are free" in failed.cause
        assert f"finetui resume {run.id}" in failed.next_step


def test_torchs_way_of_saying_that_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")
    monkeypatch.setattr(endings.shutil, "disk_usage", lambda _: SimpleNamespace(free=100 << 30))
    assert explain(error, RunDirectory(tmp_path), 0).cause == UNEXPECTED
    monkeypatch.setattr(endings.shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    assert explain(error, RunDirectory(tmp_path), 0).what.startswith("The disk is full")


def test_anything_else_is_one_line_and_points_to_the_log(tmp_path: Path) -> None:
    failed = explain(ValueError("many\nlines\n" + "x" * 5000), RunDirectory(tmp_path), 0)
    assert failed.what.startswith("ValueError: many lines xxx")
    assert len(failed.what) < 400
    assert failed.cause == UNEXPECTED
    assert "worker.log" in failed.next_step


def _wrapped(error: Exception) -> Exception:
    try:
        raise ValueError("saving failed") from error
    except ValueError as outer:
        return outer
