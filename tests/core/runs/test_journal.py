"""The journal: whole lines or none, whatever the disk does; readers take what is whole."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from core.events import Evaluated, Failed, Status, Step, Warned, encode
from core.runs import journal as journal_module
from core.runs.journal import Journal, JournalReader


def step(number: int) -> Step:
    return Step(
        step=number, epoch=0.1, loss=1.5, learning_rate=1e-4, grad_norm=0.5, tokens=100, trained_tokens=50,
        tokens_per_s=1000.0, memory_bytes=1 << 30, duration_s=0.25, time=1000.0 + number,
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


class Disk:
    """Stands in for os.write: takes `room` bytes, then is full."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def __call__(self, descriptor: int, content: Any) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._write(descriptor, content[: self.room])
        self.room -= taken
        return taken


def test_events_come_back_in_order_and_the_file_is_private(path: Path) -> None:
    with Journal(path) as journal:
        for number in range(5):
            assert journal.append(step(number))
    assert JournalReader(path).read() == [step(number) for number in range(5)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_reader_gets_only_what_is_new_and_no_half_lines(path: Path) -> None:
    reader = JournalReader(path)
    assert reader.read() == []
    line = encode(step(2))
    path.write_bytes(encode(step(1)) + line[:20])
    assert reader.read() == [step(1)]
    assert reader.read() == []
    with path.open("ab") as file:
        file.write(line[20:])
    assert reader.read() == [step(2)]
    assert reader.offset == path.stat().st_size
    assert reader.skipped == 0


def test_a_torn_line_is_closed_by_the_next_writer(path: Path) -> None:
    path.write_bytes(encode(step(1)) + encode(step(2))[:30])
    with Journal(path) as journal:
        journal.append(step(3))
    reader = JournalReader(path)
    assert reader.read() == [step(1), step(3)]
    assert reader.skipped == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":',
        b"[1,2]",
        b'"text"',
        b'{"kind":["step"]}',
        b'{"kind":"step","step":1}',
        b"\xff\xfe\x00",
        b"1",
    ],
)
def test_corrupt_lines_are_counted_and_passed_over(path: Path, line: bytes) -> None:
    path.write_bytes(encode(step(1)) + line + b"\n" + encode(step(2)))
    reader = JournalReader(path)
    assert reader.read() == [step(1), step(2)]
    assert reader.skipped == 1


def test_unknown_kinds_and_fields_are_passed_over(path: Path) -> None:
    known = encode(step(1)).replace(b'"v":1', b'"v":9,"colour":"red"')
    path.write_bytes(b'{"v":9,"kind":"teleported","where":"x"}\n' + known)
    reader = JournalReader(path)
    assert reader.read() == [step(1)]
    assert reader.skipped == 0


@pytest.mark.parametrize("new", ["shorter", "replaced"])
def test_another_file_is_read_from_its_beginning(path: Path, new: str) -> None:
    path.write_bytes(encode(step(1)) + encode(step(2)))
    reader = JournalReader(path)
    reader.read()
    if new == "shorter":
        path.write_bytes(encode(step(7)))
    else:
        other = path.with_name("other")
        other.write_bytes(encode(step(7)) * 3)
        other.replace(path)
    events = reader.read()
    assert events[0] == step(7)
    assert reader.restarted
    assert reader.read() == []
    assert not reader.restarted


def test_a_limit_gives_pieces_that_add_up(path: Path) -> None:
    events = [step(number) for number in range(2000)]
    path.write_bytes(b"".join(map(encode, events)))
    reader = JournalReader(path)
    pieces = []
    while piece := reader.read(limit_bytes=1):
        pieces.append(piece)
    assert [event for piece in pieces for event in piece] == events


def test_a_line_longer_than_the_limit_is_read_whole(path: Path) -> None:
    events = [Warned(text="x" * (3 << 20), time=1.0), step(1)]
    path.write_bytes(b"".join(map(encode, events)))
    reader = JournalReader(path)
    assert [*reader.read(1 << 20), *reader.read(1 << 20)] == events


@pytest.mark.parametrize("room", [0, 1, 50, 400, 5000])
def test_a_full_disk_delays_events_and_loses_none(
    path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    disk = Disk(room)
    monkeypatch.setattr(journal_module.os, "write", disk)
    journal = Journal(path)
    written = [journal.append(step(number)) for number in range(30)]
    assert written == sorted(written, reverse=True)
    assert journal.waiting == written.count(False)
    content = path.read_bytes()
    assert content == b"".join(encode(step(number)) for number in range(written.count(True)))
    disk.room = 1 << 30
    assert journal.append(step(30))
    journal.close()
    assert JournalReader(path).read() == [step(number) for number in range(31)]


def test_a_part_that_cannot_be_taken_back_stays_a_torn_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    disk = Disk(len(encode(step(0))) + 10)
    monkeypatch.setattr(journal_module.os, "write", disk)
    monkeypatch.setattr(journal_module.os, "ftruncate", refuse)
    journal = Journal(path)
    journal.append(step(0))
    assert not journal.append(step(1))
    disk.room = 1 << 30
    assert journal.flush()
    journal.close()
    reader = JournalReader(path)
    assert reader.read() == [step(0), step(1)]
    assert reader.skipped == 1


def test_an_error_that_is_no_full_disk_is_raised(path: Path) -> None:
    journal = Journal(path)
    journal.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        journal.append(step(1))


def test_the_backlog_is_bounded_and_thins_steps_last(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "BACKLOG_EVENTS", 100)
    disk = Disk(0)
    monkeypatch.setattr(journal_module.os, "write", disk)
    journal = Journal(path)
    evaluated = Evaluated(step=1, loss=1.0, perplexity=2.7, rows=1, trained_tokens=1, duration_s=1.0)
    journal.append(evaluated)
    for number in range(60):
        journal.append(step(number))
        journal.append(Status(text="x"))
    assert journal.waiting <= 101
    for number in range(60, 1000):
        journal.append(step(number))
    journal.append(Failed(what="x"))
    assert journal.waiting <= 101
    disk.room = 1 << 30
    journal.close()
    events = JournalReader(path).read()
    assert events[0] == evaluated
    assert isinstance(events[-1], Failed)
    steps = [event.step for event in events if isinstance(event, Step)]
    assert steps == sorted(steps)
    assert steps[-1] == 999


def test_terminal_events_reach_the_disk_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(journal_module.os, "fsync", synced.append)
    with Journal(path) as journal:
        journal.append(step(1))
        assert not synced
        journal.append(Failed(what="x"))
        assert len(synced) == 1


def test_reading_a_hundred_thousand_events(path: Path, record_property: Any) -> None:
    line = encode(step(0))
    path.write_bytes(b"".join(line.replace(b'"step":0', b'"step":%d' % number) for number in range(100_000)))
    began = time.perf_counter()
    events = JournalReader(path).read()
    record_property("seconds", time.perf_counter() - began)
    assert [event.step for event in events if isinstance(event, Step)] == list(range(100_000))
