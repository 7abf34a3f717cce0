"""`finetui export` and `finetui push` as a person types them: the worker is a real process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from core import paths
from core.runs.directory import RunDirectory
from tests.core.training.exported import make_run, save_adapter
from tests.core.training.hub_for_push import TOKEN, Handler, Hub
from tests.tui.verbs.conftest import Finetui


@pytest.fixture(scope="session")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "model")


@pytest.fixture
def run(tiny_model: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    other = save_adapter(tiny_model, tmp_path_factory.mktemp("earlier") / "model", seed=6)
    return make_run(tiny_model, adapter, checkpoint=other)


def test_a_model_is_exported_and_told(finetui: Finetui, run: RunDirectory, tmp_path: Path) -> None:
    done = finetui("export", "lamp", "--to", "merged", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out'}\n"
    for words in ("lamp", "merging ...", "both in float32", "100.0%"):
        assert words in done.stderr
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_json_has_path_size_and_difference(finetui: Finetui, run: RunDirectory, tmp_path: Path) -> None:
    done = finetui("export", run.id, "--to", "ollama", "--out", tmp_path / "out", "--json")
    told = json.loads(done.stdout)
    assert (told["path"], told["to"]) == (str(tmp_path / "out"), "ollama")
    assert told["fidelity"]["max_difference"] < 1e-4
    assert told["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())


def test_a_checkpoint_is_exported_instead(
    finetui: Finetui, run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = finetui("export", "lamp", "--to", "adapter", "--out", "here", "--checkpoint", 5)
    assert "lamp @5" in done.stderr
    written = (tmp_path / "here" / "adapter_model.safetensors").read_bytes()
    assert written == (run.checkpoints_dir / "step-5" / "adapter_model.safetensors").read_bytes()
    assert written != (run.model_dir / "adapter_model.safetensors").read_bytes()
    assert not (tmp_path / "here" / "optimizer.pt").exists()


def test_mistakes_name_the_next_step(
    finetui: Finetui, run: RunDirectory, tiny_model: Path, tmp_path: Path
) -> None:
    bare = make_run(tiny_model, None, name="bare")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for words, said in (
        (("lamp", "--to", "gguf", "--out", tmp_path / "o"), "adapter, merged, ollama"),
        (("lamp", "--to", "adapter", "--out", tmp_path / "full"), "Choose another name"),
        (("lamp", "--to", "adapter", "--out", tmp_path / "o", "--checkpoint", 7), "Kept are: 5."),
        (("nonesuch", "--to", "adapter", "--out", tmp_path / "o"), "no run"),
        ((bare.id, "--to", "adapter", "--out", tmp_path / "o"), "has no model yet"),
    ):
        done = finetui("export", *words)
        assert done.exit_code == 2, done.stderr
        assert said in done.stderr
        assert not (tmp_path / "o").exists()


def test_a_damaged_model_is_not_given_away(finetui: Finetui, run: RunDirectory, tmp_path: Path) -> None:
    path = run.model_dir / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    done = finetui("export", "lamp", "--to", "adapter", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "adapter_model.safetensors has other content" in done.stderr


def test_push_asks_the_hub_of_the_environment(
    finetui: Finetui, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in (
        ("HF_ENDPOINT", hub.endpoint),
        ("HF_TOKEN", TOKEN),
        ("HF_HUB_DISABLE_XET", "1"),
        ("HF_HUB_OFFLINE", "0"),
    ):
        monkeypatch.setenv(name, value)
    done = finetui("push", "lamp", "acme/lamp", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["url"], told["private"]) == (f"{hub.endpoint}/acme/lamp", True)
    assert (
        hub.files["adapter_model.safetensors"] == (run.model_dir / "adapter_model.safetensors").read_bytes()
    )
    assert TOKEN not in (paths.logs_dir() / "export-worker.log").read_text()
    refused = finetui("push", "lamp", "lamp")
    assert (refused.exit_code, "OWNER/NAME" in refused.stderr) == (2, True)
    server.shutdown()
    server.server_close()


def test_the_command_s_own_process_imports_nothing_heavy(run: RunDirectory, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom tui.cli import build\n"
        f"try: build()(['export', 'lamp', '--to', 'merged', '--out', {str(tmp_path / 'out')!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = ('torch', 'transformers', 'peft', 'huggingface_hub')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
