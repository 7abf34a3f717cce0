"""Requests reach a worker whole, in order and once."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from core.runs import control
from core.runs.control import Inbox, Request


def test_requests_are_taken_in_order_and_once(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "control")
    assert inbox.take() == []
    control.send(tmp_path / "control", "sample", prompt="Hello")
    control.send(tmp_path / "control", "change", name="learning_rate", value=1e-4)
    control.send(tmp_path / "control", "stop")
    assert control.pending(tmp_path / "control") == ["sample", "change", "stop"]
    assert inbox.take() == [
        Request("sample", {"prompt": "Hello"}),
        Request("change", {"name": "learning_rate", "value": 1e-4}),
        Request("stop", {}),
    ]
    assert inbox.take() == []
    assert control.pending(tmp_path / "control") == []


def test_no_request_goes_unseen_however_quickly_they_come(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    for _ in range(200):
        control.send(tmp_path, "checkpoint")
        assert [request.verb for request in inbox.take()] == ["checkpoint"]


def _send_many(folder: str) -> None:
    for _ in range(50):
        control.send(Path(folder), "checkpoint")


def test_several_senders_at_once(tmp_path: Path) -> None:
    senders = [multiprocessing.Process(target=_send_many, args=(str(tmp_path),)) for _ in range(4)]
    for sender in senders:
        sender.start()
    inbox, taken = Inbox(tmp_path), 0
    while any(sender.is_alive() for sender in senders):
        taken += len(inbox.take())
    for sender in senders:
        sender.join()
    assert taken + len(inbox.take()) == 200


def test_files_that_are_no_request_are_removed(tmp_path: Path) -> None:
    (tmp_path / "1-stop.json").write_bytes(b"{half")
    (tmp_path / "2-stop.json").write_bytes(b'{"verb": "explode", "arguments": {}}')
    (tmp_path / "notes.txt").write_bytes(b"kept")
    control.send(tmp_path, "pause")
    assert [request.verb for request in Inbox(tmp_path).take()] == ["pause"]
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_requests_are_private_and_can_be_dropped(tmp_path: Path) -> None:
    control.send(tmp_path / "control", "stop")
    (file,) = (tmp_path / "control").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    control.clear(tmp_path / "control")
    assert Inbox(tmp_path / "control").take() == []


def test_a_verb_that_no_worker_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such request"):
        control.send(tmp_path, "explode")
