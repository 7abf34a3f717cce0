"""What `finetui doctor` says of GPUs and torch. The GPU is made up."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from core import devices
from core.devices import Gpu, GpuProcess
from tui.verbs import doctor


def test_a_gpu_is_named_with_its_processes_and_a_torch_that_cannot_use_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = Gpu(0, "GPU-aa11", "A100", 80_000_000_000, 10_000_000_000)
    monkeypatch.setattr(devices, "gpus", lambda: [gpu])
    monkeypatch.setattr(devices, "processes", lambda device: [GpuProcess(77, "vllm", 70_000_000_000)])
    monkeypatch.setattr(doctor, "torch_cuda", lambda: "")
    doctor.doctor()
    said = capsys.readouterr().out
    assert "cuda:0 A100, 10.0 of 80.0 GB free, GPU-aa11" in said
    assert "pid 77 vllm, 70.0 GB" in said
    assert "BUILT WITHOUT CUDA" in said
    doctor.doctor(json=True)
    (found,) = json.loads(capsys.readouterr().out)["gpus"]
    assert (found["uuid"], found["processes"][0]["pid"]) == ("GPU-aa11", 77)


@pytest.mark.parametrize(
    ("line", "version"), [("cuda: Optional[str] = '12.8'", "12.8"), ("cuda: Optional[str] = None", "")]
)
def test_the_cuda_build_is_read_from_torch_s_files(
    line: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version.py").write_text(f"__version__ = '2.13.0'\n{line}\nhip: Optional[str] = '9.9'\n")
    spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(doctor, "find_spec", lambda name: spec)
    assert doctor.torch_cuda() == version


def test_torch_is_not_imported_for_it() -> None:
    code = "import sys; from tui.verbs.doctor import examine; examine(); assert 'torch' not in sys.modules"
    subprocess.run((sys.executable, "-c", code), check=True)
