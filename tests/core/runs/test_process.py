"""Who a worker is, whether it lives, and that it outlives whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.runs import locks, process
from core.runs.directory import RunDirectory, RunError
from core.runs.process import Heartbeat, Identity
from tests.core.runs.support import end_process, make_recipe, until


def test_this_process_is_alive_and_its_lookalikes_are_not() -> None:
    me = Identity.current()
    assert me.alive() is True
    assert replace(me, start=me.start + 1000).alive() is False  # the pid was used again
    assert replace(me, boot="another boot").alive() is False
    assert replace(me, host="elsewhere").alive() is None


def test_a_dead_process_and_a_zombie_are_dead() -> None:
    child = subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE)
    identity = Identity.of(child.pid)
    assert identity.alive() is True
    child.send_signal(signal.SIGKILL)
    until(lambda: identity.alive() is False)  # nobody has reaped it yet: a zombie
    assert Path(f"/proc/{child.pid}").exists()
    child.wait()
    assert identity.alive() is False


def test_a_process_with_a_strange_name_is_read_rightly(tmp_path: Path) -> None:
    odd = tmp_path / "a) Z 1 (b"
    odd.symlink_to("/bin/sleep")
    child = subprocess.Popen((str(odd), "60"))
    assert Identity.of(child.pid).alive() is True
    child.kill()
    child.wait()


def test_a_held_lock_means_alive_whatever_the_pid_says(tmp_path: Path) -> None:
    run = RunDirectory.create(make_recipe(tmp_path))
    gone = process.Worker(replace(Identity.current(), start=1.0), 0, 0.0)
    assert process.worker_alive(run, gone) is False
    assert process.worker_alive(run, None) is False
    with locks.take(run.lock_path):  # type: ignore[union-attr]
        assert process.worker_alive(run, gone) is True
    far = replace(gone, identity=replace(gone.identity, host="elsewhere"))
    assert process.worker_alive(run, far) is None


def test_the_heartbeat_beats_until_it_is_over(tmp_path: Path) -> None:
    beat = tmp_path / "heartbeat"
    with Heartbeat(beat, every_s=0.01):
        until(beat.exists)
        os.utime(beat, (1.0, 1.0))
        until(lambda: beat.stat().st_mtime > 2.0)
    os.utime(beat, (1.0, 1.0))
    assert beat.stat().st_mtime == 1.0


PARENT = """
import sys, time
from pathlib import Path
from core.runs import process
from core.runs.directory import RunDirectory
process.spawn(RunDirectory(Path(sys.argv[1])), (sys.executable, "-P", "-u", "-c", sys.argv[2]))
print("spawned", flush=True)
time.sleep(600)
"""

CHILD = "import os, time; print('out'); print(os.getsid(0), os.getppid(), os.getcwd()); time.sleep(600)"


def test_a_worker_outlives_a_killed_parent_and_is_nobodys_child(tmp_path: Path) -> None:
    run = RunDirectory.create(make_recipe(tmp_path))
    parent = subprocess.Popen(
        (sys.executable, "-P", "-c", PARENT, str(run.path), CHILD),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"spawned\n"
    worker = process.read_worker(run)
    assert worker is not None
    try:
        log = until(lambda: len(run.log_tail(9)) == 2 and run.log_tail(9))
        session, above, folder = log[1].split(" ", 2)
        assert log[0] == "out"
        assert int(session) not in (os.getsid(0), parent.pid)
        assert int(above) != parent.pid
        assert folder == str(run.path)
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        assert worker.identity.alive() is True
        assert Path(f"/proc/{worker.identity.pid}/fd/0").readlink() == Path("/dev/null")
        assert Path(f"/proc/{worker.identity.pid}/fd/1").readlink() == run.log_path
    finally:
        end_process(worker.identity.pid)
        parent.stdout.close()
    assert worker.identity.alive() is False


def test_a_worker_that_ends_leaves_no_zombie(tmp_path: Path) -> None:
    run = RunDirectory.create(make_recipe(tmp_path))
    worker = process.spawn(run, (sys.executable, "-c", "pass"))
    until(lambda: worker.identity.alive() is False)
    with pytest.raises(ChildProcessError):
        os.waitpid(worker.identity.pid, os.WNOHANG)


def test_a_worker_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "gone")
    with pytest.raises(RunError, match="can't be started"):
        process.spawn(run, (sys.executable, "-c", "pass"))


def test_worker_json_comes_back_and_a_broken_one_is_none(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert process.read_worker(run) is None
    worker = process.Worker(Identity.current(), 17, 3.0)
    process.write_worker(run, worker)
    assert process.read_worker(run) == worker
    run.worker_path.write_bytes(b"{")
    assert process.read_worker(run) is None
