"""Pushing to a loopback hub by the real client: what arrives, who sees it, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM

from core import paths
from core.runs.directory import RunDirectory
from core.training.export_push import Pushed, push
from core.training.export_source import ExportError
from tests.core.training.exported import make_run, save_adapter
from tests.core.training.hub_for_push import COMMIT, TOKEN, Handler, Hub

REPO = "acme/lamp"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    held = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Handler,), {"hub": held}))
    held.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", held.endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # large files by git-lfs
    yield held
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "model")


@pytest.fixture
def run(tiny_model: Path, adapter: Path) -> RunDirectory:
    return make_run(tiny_model, adapter)


def push_now(run: RunDirectory, to: Any = "adapter", repo: str = REPO, public: bool = False) -> Pushed:
    work = push(run.path, run.model_dir, to, repo, public)
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Pushed = end.value
            return result


def head(card: bytes) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(card.decode().split("---\n")[1])
    return content


def test_an_adapter_arrives_whole_and_private(
    hub: Hub, run: RunDirectory, tiny_model: Path, tmp_path: Path
) -> None:
    told = push_now(run)
    assert (told.url, told.commit, told.private) == (f"{hub.endpoint}/{REPO}", COMMIT, True)
    assert hub.repos == {REPO: True}
    assert set(hub.files) == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    for name, content in hub.files.items():
        if name not in ("README.md", "adapter_config.json"):
            assert content == (run.model_dir / name).read_bytes()
        (tmp_path / name).write_bytes(content)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert PeftModel.from_pretrained(base, tmp_path).peft_config["default"].r == 4
    assert head(hub.files["README.md"])["library_name"] == "peft"


def test_nothing_names_a_folder_of_this_machine(hub: Hub, run: RunDirectory, tiny_model: Path) -> None:
    push_now(run)
    assert json.loads(hub.files["adapter_config.json"])["base_model_name_or_path"] is None
    assert "base_model" not in head(hub.files["README.md"])
    for content in hub.files.values():
        assert str(tiny_model.parent).encode() not in content
        assert str(paths.data_dir()).encode() not in content


def test_base_and_licence_are_named_where_the_catalogue_knows_them(hub: Hub, run: RunDirectory) -> None:
    for hub_id, licence in (
        ("microsoft/Phi-4-mini-instruct", {"license": "mit"}),
        (
            "meta-llama/Llama-3.2-1B-Instruct",
            {"license": "llama3.2"},
        ),
        ("somebody/else", {}),
    ):
        path = run.path / "model.json"
        record = {**json.loads(path.read_text()), "name": hub_id, "source": "hub", "revision": "0123abc"}
        path.write_text(json.dumps(record))
        push_now(run)
        card = hub.files["README.md"]
        assert head(card)["base_model"] == hub_id
        assert {key: value for key, value in head(card).items() if key.startswith("license")} == licence
        assert b"`0123abc`" in card


def test_merged_weights_arrive_and_load(hub: Hub, run: RunDirectory, tmp_path: Path) -> None:
    told = push_now(run, "merged", public=True)
    assert hub.repos == {REPO: False}
    assert not told.private
    assert told.fidelity is not None and told.fidelity["max_difference"] < 1e-4
    for name, content in hub.files.items():
        (tmp_path / name).write_bytes(content)
    AutoModelForCausalLM.from_pretrained(tmp_path)
    assert head(hub.files["README.md"])["library_name"] == "transformers"


def test_the_token_is_written_nowhere_and_no_copy_is_left(hub: Hub, run: RunDirectory, home: Path) -> None:
    push_now(run)
    assert list(paths.cache_dir().glob("push-*")) == []
    for path in home.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()
    assert all(TOKEN.encode() not in content for content in hub.files.values())


def test_a_repository_that_is_there_gets_another_commit_but_only_as_private_as_asked(
    hub: Hub, run: RunDirectory
) -> None:
    hub.repos[REPO] = True
    assert push_now(run).url == f"{hub.endpoint}/{REPO}"
    hub.repos[REPO] = False
    hub.files.clear()
    with pytest.raises(ExportError, match="exists and is public"):
        push_now(run)
    assert hub.files == {}
    push_now(run, public=True)
    assert hub.files


def test_without_a_token_or_with_a_wrong_one_nothing_is_exported(
    hub: Hub, run: RunDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ExportError, match="does not let this token"):
        push_now(run)
    assert hub.requests == ["GET /api/whoami-v2"]
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ExportError, match="needs a token"):
        push_now(run)
    assert len(hub.requests) == 1


@pytest.mark.parametrize("repo", ["lamp", "a/b/c", "../x", "a/", "/b", "a b/c"])
def test_a_name_that_is_none_is_refused_unasked(hub: Hub, run: RunDirectory, repo: str) -> None:
    with pytest.raises(ExportError, match="no repository"):
        push_now(run, repo=repo)
    assert hub.requests == []


def test_an_upload_that_breaks_off_is_told(hub: Hub, run: RunDirectory) -> None:
    hub.refuse[f"/{REPO}.git/info/lfs/objects/batch"] = (400, "no room")
    with pytest.raises(ExportError) as refused:
        push_now(run)
    assert "400" in refused.value.cause
    hub.refuse.clear()
    hub.refuse["/objects"] = (400, "no room")
    with pytest.raises(ExportError, match="broke off"):
        push_now(run)
    assert list(paths.cache_dir().glob("push-*")) == []


@pytest.mark.parametrize(("status", "said"), [(403, "does not let this token"), (422, "refused")])
def test_what_the_hub_refuses_is_told_with_its_reason(
    hub: Hub, run: RunDirectory, status: int, said: str
) -> None:
    hub.refuse["/api/repos/create"] = (status, "Repository name is reserved")
    with pytest.raises(ExportError, match=said) as refused:
        push_now(run)
    assert str(status) in refused.value.cause
    assert refused.value.next_step
    assert list(paths.cache_dir().glob("push-*")) == []


def test_a_hub_that_is_not_there_or_forbidden(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ExportError, match="not reachable"):
        push_now(run)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ExportError, match="may not be asked"):
        push_now(run)
