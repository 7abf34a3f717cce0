"""Making a cached model: one process at a time, all of it or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.catalog import store
from core.catalog.reference import MANIFEST, ModelError
from tests.core.catalog.hub_for_tests import Told


def finished(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_publishing_replaces_a_damaged_folder(tmp_path: Path, told: Told) -> None:
    target = tmp_path / "rev"
    target.mkdir()
    (target / "left").touch()
    store.publish(finished(tmp_path / "new"), target, {"source": "hub"}, told)
    assert {path.name for path in target.iterdir()} == {"config.json", "model.safetensors", MANIFEST}
    assert not (tmp_path / "new").exists()
    record = json.loads((target / MANIFEST).read_text())
    assert record["bytes"] == {"config.json": 2, "model.safetensors": 7}
    assert record["sha256"]["model.safetensors"] == store.sha256(target / "model.safetensors")
    assert told.calls[-1] == ("checking the files", 9, 9)


@pytest.mark.parametrize("name", [".wheel/", "sub/", "x.part/"])
def test_nothing_foreign_is_published(tmp_path: Path, told: Told, name: str) -> None:
    folder = finished(tmp_path / "new")
    (folder / name).mkdir()
    with pytest.raises(ModelError, match="does not belong"):
        store.publish(folder, tmp_path / "rev", {}, told)
    assert not (tmp_path / "rev").exists()


def test_the_lock_keeps_others_out_until_its_holder_dies(tmp_path: Path, told: Told) -> None:
    code = (
        "import sys; from pathlib import Path; from core.catalog import store\n"
        "with store.lock(Path(sys.argv[1]), print):\n    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-P", "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InterruptedError), store.lock(tmp_path, interrupt):
            pytest.fail("two holders")
        holder.kill()
    with store.lock(tmp_path, told):
        assert told.calls == []


def interrupt(text: str, done: int, total: int) -> None:
    assert "another process" in text
    raise InterruptedError


def test_sparse_progress_is_called_for_each_200th(told: Told) -> None:
    call = store.sparse(told)
    for done in range(100_001):
        call("downloading", done, 100_000)
    call("next", 0, 0)
    call("next", 0, 0)
    assert [done for _, done, _ in told.calls[:-1]] == list(range(0, 100_001, 500))
    assert told.calls[-1] == ("next", 0, 0)


def test_enough_disk_passes(tmp_path: Path) -> None:
    store.check_disk(tmp_path, 1)
    with pytest.raises(ModelError, match="Not enough disk space"):
        store.check_disk(tmp_path, 1 << 60)
