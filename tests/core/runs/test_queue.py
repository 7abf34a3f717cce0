"""The device queue with real processes: in order, past the dead, free after a SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.runs import locks, queue
from tests.core.runs.support import until

DEVICE_USER = Path(__file__).with_name("device_user.py")


class Users:
    """Processes that want the device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, run_id: str, submitted_ns: int) -> None:
        self.processes[run_id] = subprocess.Popen(
            (
                sys.executable,
                "-P",
                str(DEVICE_USER),
                "cuda:GPU-1",
                run_id,
                str(submitted_ns),
                str(self.folder),
            )
        )

    def said(self, run_id: str) -> list[str]:
        file = self.folder / run_id
        return file.read_text().splitlines() if file.exists() else []

    def wait_for(self, run_id: str, text: str) -> None:
        until(lambda: text in self.said(run_id))

    def tell(self, run_id: str, word: str) -> None:
        (self.folder / f"{run_id}.{word}").touch()

    def kill(self, run_id: str) -> None:
        self.processes[run_id].kill()
        self.processes[run_id].wait()


@pytest.fixture
def users(tmp_path: Path) -> Iterator[Users]:
    users = Users(tmp_path)
    yield users
    for process in users.processes.values():
        process.kill()
        process.wait()


def test_the_device_goes_round_in_the_order_of_submission(users: Users) -> None:
    users.start("a", 10)
    users.wait_for("a", "has it")
    users.start("c", 30)
    users.wait_for("c", "1 a")
    users.start("b", 20)  # submitted earlier, came later
    users.wait_for("b", "1 a")
    users.wait_for("c", "2 b")
    assert queue.holder("cuda:GPU-1") == "a"
    assert queue.waiting("cuda:GPU-1") == ["b", "c"]
    users.tell("a", "go")
    users.wait_for("b", "has it")
    users.wait_for("c", "1 b")
    users.tell("b", "go")
    users.wait_for("c", "has it")
    users.tell("c", "go")
    assert [process.wait() for process in users.processes.values()] == [0, 0, 0]
    assert queue.holder("cuda:GPU-1") == ""
    assert queue.waiting("cuda:GPU-1") == []


def test_a_killed_holder_and_a_killed_waiter_block_nobody(users: Users) -> None:
    users.start("a", 10)
    users.wait_for("a", "has it")
    users.start("b", 20)
    users.wait_for("b", "1 a")
    users.start("c", 30)
    users.wait_for("c", "2 b")
    users.kill("b")
    users.wait_for("c", "1 a")
    users.kill("a")
    users.wait_for("c", "has it")
    tickets = [path.name for path in queue.device_dir("cuda:GPU-1").iterdir() if path.name[0].isdigit()]
    assert tickets == []


def test_a_waiting_run_can_give_up(users: Users) -> None:
    users.start("a", 10)
    users.wait_for("a", "has it")
    users.start("b", 20)
    users.wait_for("b", "1 a")
    users.tell("b", "stop")
    users.wait_for("b", "gave up")
    assert queue.waiting("cuda:GPU-1") == []
    assert queue.holder("cuda:GPU-1") == "a"


def test_a_stopped_process_keeps_its_place(users: Users) -> None:
    users.start("a", 10)
    users.wait_for("a", "has it")
    os.kill(users.processes["a"].pid, signal.SIGSTOP)
    assert queue.holder("cuda:GPU-1") == "a"


def test_two_devices_do_not_wait_for_each_other() -> None:
    never = [0]

    def waited(*_: object) -> None:
        never[0] += 1

    first = queue.acquire("cpu", "a", 1, waited, lambda: False)
    second = queue.acquire("cuda:GPU-1", "b", 2, waited, lambda: False)
    assert first is not None
    assert second is not None
    first.release()
    second.release()
    assert never == [0]


def test_a_forked_child_does_not_keep_its_parents_lock(tmp_path: Path) -> None:
    lock = locks.take(tmp_path / "lock")
    assert lock is not None
    ready, wait = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(ready[1], b"x")
        os.read(wait[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    assert locks.is_held(tmp_path / "lock")
    lock.release()
    assert not locks.is_held(tmp_path / "lock")
    os.write(wait[1], b"x")
    os.waitpid(pid, 0)


def test_a_lock_is_for_one(tmp_path: Path) -> None:
    assert not locks.is_held(tmp_path / "lock")
    with locks.take(tmp_path / "lock") as lock:  # type: ignore[union-attr]
        assert locks.take(tmp_path / "lock") is None
        lock.write(b"me")
        assert (tmp_path / "lock").read_bytes() == b"me"
    assert locks.take(tmp_path / "lock") is not None
