"""Downloads from a loopback hub: what is taken, what is refused, what is resumed."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import pytest

from core.catalog import hub, store
from core.catalog.fetch import ModelError, cached, fetch, resolve
from core.catalog.reference import MANIFEST
from tests.core.catalog.hub_for_tests import COMMIT, FILES, REPO, WANTED, Hub, Told


def partial_folder() -> Path:
    return resolve(REPO).cache_folder / f".partial-{COMMIT}"


def test_a_model_comes_whole_and_frozen(hub_server: Hub, told: Told) -> None:
    fetched = fetch(resolve(REPO), told)
    assert (fetched.source, fetched.revision, fetched.note) == ("hub", COMMIT, "")
    assert fetched.folder == resolve(REPO).cache_folder / COMMIT
    assert {path.name for path in fetched.folder.iterdir()} == WANTED | {MANIFEST}
    assert all((fetched.folder / name).read_bytes() == FILES[name] for name in WANTED)
    assert fetched.sha256 == {name: hashlib.sha256(FILES[name]).hexdigest() for name in WANTED}
    record = json.loads((fetched.folder / MANIFEST).read_text())
    assert (record["source"], record["revision"], record["sha256"]) == ("hub", COMMIT, fetched.sha256)
    assert [path.name for path in resolve(REPO).cache_folder.glob(".*")] == [".lock"]


def test_neither_code_nor_pickles_are_asked_for(hub_server: Hub, told: Told) -> None:
    fetch(resolve(REPO), told)
    assert not any(path.endswith((".py", ".bin")) or "original" in path for _, path, _ in hub_server.requests)


def test_files_are_private(hub_server: Hub, told: Told) -> None:
    folder = fetch(resolve(REPO), told).folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_progress_counts_bytes_up_to_the_total(hub_server: Hub, told: Told) -> None:
    fetch(resolve(REPO), told)
    total = sum(len(FILES[name]) for name in WANTED)
    counts = [(done, whole) for text, done, whole in told.calls if text == f"downloading {REPO}"]
    assert counts == sorted(counts) and len(counts) > 3
    assert counts[-1] == (total, total)


def test_a_second_fetch_asks_nobody(hub_server: Hub, told: Told) -> None:
    first = fetch(resolve(REPO), told)
    asked = len(hub_server.requests)
    assert fetch(resolve(REPO), told) == first
    assert fetch(resolve(REPO, COMMIT), told, offline=True) == first
    assert len(hub_server.requests) == asked


def test_a_named_branch_is_remembered(hub_server: Hub, told: Told) -> None:
    folder = fetch(resolve(REPO, "main"), told).folder
    assert resolve(REPO, "main").folder == folder
    assert resolve(REPO, "other").folder is None


def test_a_broken_connection_is_taken_up_where_it_broke(hub_server: Hub, told: Told) -> None:
    hub_server.break_after = [600_000]
    fetched = fetch(resolve(REPO), told)
    assert (fetched.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    first, second = hub_server.asked("model.safetensors")
    assert first is None
    assert second is not None and 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 600_000


def test_a_broken_off_fetch_goes_on_in_the_next(hub_server: Hub, told: Told) -> None:
    hub_server.break_after = [600_000, 0, 0, 0]
    with pytest.raises(hub.HubUnavailable, match="not reachable"):
        fetch(resolve(REPO), told)
    kept = (partial_folder() / "model.safetensors.part").stat().st_size
    assert 0 < kept <= 600_000
    asked = len(hub_server.asked("config.json"))
    fetch(resolve(REPO), told)
    assert hub_server.asked("model.safetensors")[-1] == f"bytes={kept}-"
    assert len(hub_server.asked("config.json")) == asked, "what had come is not fetched again"
    assert not partial_folder().exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_damaged_bytes_are_refused_and_thrown_away(hub_server: Hub, told: Told, name: str) -> None:
    hub_server.corrupt = name
    with pytest.raises(ModelError, match=f"{name} of {REPO} came damaged"):
        fetch(resolve(REPO), told)
    assert not (partial_folder() / f"{name}.part").exists()
    assert cached(resolve(REPO)) is None
    hub_server.corrupt = ""
    assert fetch(resolve(REPO), told).revision == COMMIT


def test_a_gated_model_says_where_to_accept_its_licence(hub_server: Hub, told: Told) -> None:
    hub_server.refuse["/api/models/meta-llama"] = (401, "GatedRepo")
    with pytest.raises(ModelError, match="is gated") as caught:
        fetch(resolve("llama-3.2-1b-instruct"), told)
    assert "Llama 3.2 Community License" in caught.value.what
    assert "401" in caught.value.cause and "no token is set" in caught.value.cause
    assert "https://huggingface.co/meta-llama/Llama-3.2-1B-Instruct" in caught.value.next_step
    assert "HF_TOKEN" in caught.value.next_step


def test_gated_files_of_a_listed_model(hub_server: Hub, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub_server.refuse[f"/{REPO}/resolve"] = (403, "GatedRepo")
    with pytest.raises(ModelError, match="is gated") as caught:
        fetch(resolve(REPO), told)
    assert f"https://huggingface.co/{REPO}" in caught.value.next_step
    assert "has no access" in caught.value.cause
    assert "hf_secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "RepoNotFound", "has no model acme/tiny"),
        (401, "RepoNotFound", "has no model acme/tiny"),
        (401, "", "does not accept this machine's token|has no model"),
        (404, "RevisionNotFound", "has no revision v9"),
        (403, "", "is gated"),
        (503, "", "can't serve acme/tiny just now"),
        (418, "", "refused acme/tiny"),
    ],
)
def test_refusals(hub_server: Hub, told: Told, status: int, code: str, message: str) -> None:
    hub_server.refuse["/api/models"] = (status, code)
    with pytest.raises(ModelError, match=message) as caught:
        fetch(resolve(REPO, "v9"), told)
    assert caught.value.next_step


def test_a_repository_of_pickles_is_refused_before_anything_comes(hub_server: Hub, told: Told) -> None:
    del hub_server.files["model.safetensors"]
    with pytest.raises(ModelError, match=r"lacks model\.safetensors") as caught:
        fetch(resolve(REPO), told)
    assert "pickles" in caught.value.cause
    assert len(hub_server.requests) == 1


def test_too_little_disk_is_said_before_anything_comes(
    hub_server: Hub, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1_000_000
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free})())
    with pytest.raises(ModelError, match="Not enough disk space") as caught:
        fetch(resolve(REPO), told)
    assert "It takes 2 MB and 1 MB are free." in caught.value.cause
    assert len(hub_server.requests) == 1


def test_a_disk_that_fills_up_is_no_traceback(
    hub_server: Hub, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub, "_stream", full)
    with pytest.raises(ModelError, match="could not be written") as caught:
        fetch(resolve(REPO), told)
    assert "No space left on device" in caught.value.cause


def test_an_unreachable_hub(nowhere: None, told: Told) -> None:
    with pytest.raises(hub.HubUnavailable, match="not reachable") as caught:
        fetch(resolve(REPO), told)
    assert "ConnectError" in caught.value.cause


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", ""])
def test_offline_asks_nobody(hub_server: Hub, told: Told, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name:
        monkeypatch.setenv(name, "1")
    with pytest.raises(ModelError, match="finetui is offline") as caught:
        fetch(resolve(REPO), told, offline=not name)
    assert str(resolve(REPO).cache_folder) in caught.value.cause
    assert hub_server.requests == []
