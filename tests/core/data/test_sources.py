"""Frozen copies, hub files over a loopback hub, caps and weights."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data import sources
from core.data.problems import DataError
from core.data.sources import fetch_hub_file, freeze, select
from core.paths import rows_dir

CONTENT = b'{"prompt": "a", "completion": "b"}\n\n{"prompt": "c", "completion": "d"}'


def test_a_frozen_copy_survives_edits_and_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(CONTENT)
    frozen = freeze(path)
    assert frozen.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert frozen.rows == 2
    assert frozen.copy == rows_dir() / f"{frozen.sha256}.jsonl"
    assert frozen.copy.stat().st_mode & 0o777 == 0o400
    assert frozen.copy.stat().st_nlink == 1
    before = frozen.copy.stat()
    assert freeze(path) == frozen
    assert frozen.copy.stat().st_mtime_ns == before.st_mtime_ns
    path.write_bytes(b"{}\n")
    assert frozen.copy.read_bytes() == CONTENT
    assert freeze(path).rows == 1
    assert len(list(rows_dir().iterdir())) == 2


def test_a_broken_copy_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(CONTENT)
    copy = freeze(path).copy
    copy.chmod(0o600)
    copy.write_bytes(b"half")
    assert freeze(path).copy.read_bytes() == CONTENT


def test_rows_are_counted_over_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_CHUNK_BYTES", 3)
    path = tmp_path / "a"
    path.write_bytes(b"      x\n      \n\n  longer than a piece\r\n    \r\nend")
    assert freeze(path).rows == 3


def test_full_disk_and_missing_file_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="does not exist"):
        freeze(tmp_path / "none.jsonl")
    path = tmp_path / "train.jsonl"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(DataError, match=r"no room for a copy .* has 1.0 MB left") as caught:
        freeze(path)
    assert caught.value.problem.code == "disk-full"
    assert list(rows_dir().iterdir()) == []


def test_a_disk_that_fills_meanwhile_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(CONTENT)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="no room"):
        freeze(path)
    assert list(rows_dir().iterdir()) == []


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download needs."""

    files = {"/datasets/owner/name/resolve/main/train.jsonl": CONTENT}
    refusals = {
        "/datasets/owner/gated/": (403, "GatedRepo"),
        "/datasets/owner/none/": (404, "RepoNotFound"),
        "/datasets/owner/name/resolve/v9/": (404, "RevisionNotFound"),
        "/datasets/owner/name/": (404, "EntryNotFound"),
    }

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        content = self.files.get(self.path)
        if content is None:
            status, code = next(
                value for start, value in self.refusals.items() if self.path.startswith(start)
            )
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A hub on the loopback that huggingface_hub takes for the real one."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


def test_a_hub_file_is_fetched_once_and_then_there_without_the_hub(hub: ThreadingHTTPServer) -> None:
    path = fetch_hub_file("owner/name", "train.jsonl")
    assert path.read_bytes() == CONTENT
    assert freeze(path).rows == 2
    hub.shutdown()
    hub.server_close()
    assert fetch_hub_file("owner/name", "train.jsonl") == path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("owner/gated", "train.jsonl"), "gated"),
        (("owner/none", "train.jsonl"), "unknown-data-set"),
        (("owner/name", "train.jsonl", "v9"), "unknown-revision"),
        (("owner/name", "other.jsonl"), "unknown-file"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_refusals_of_the_hub_are_explained(arguments: tuple[str, ...], code: str) -> None:
    with pytest.raises(DataError) as caught:
        fetch_hub_file(*arguments)
    assert caught.value.problem.code == code
    assert "huggingface.co/datasets/owner" in caught.value.next_step


def test_no_hub_at_all_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="can't be reached") as caught:
        fetch_hub_file("owner/name", "train.jsonl")
    assert caught.value.problem.code == "unreachable"


@given(
    rows=st.integers(0, 200),
    weight=st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.25]),
    cap=st.none() | st.integers(1, 250),
    seed=st.integers(0, 99),
)
def test_caps_and_weights(rows: int, weight: float, cap: int | None, seed: int) -> None:
    chosen = select(rows, weight, cap, seed)
    capped = rows if cap is None else min(rows, cap)
    counts = Counter(chosen)
    assert len(chosen) == int(weight) * capped + round((weight % 1) * capped)
    assert set(chosen) <= set(range(rows))
    assert len(counts) <= capped
    assert set(counts.values()) <= {int(weight), int(weight) + 1}
    assert chosen == select(rows, weight, cap, seed)


def test_weight_1_is_every_row_in_order() -> None:
    assert select(5) == [0, 1, 2, 3, 4]
    assert select(4, 2.0) == [0, 1, 2, 3] * 2
