"""The life of runs with real, detached workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core import paths
from core.events import Paused, Queued, Resumed, Step, Stopped
from core.runs import control, process, supervisor
from core.runs.directory import RunDirectory, RunError
from core.runs.journal import Journal
from tests.core.runs.support import (
    ENDLESS,
    FAKE_WORKER,
    events,
    kill,
    make_recipe,
    pid_of,
    reach,
    submit,
    until,
    working,
)

pytestmark = pytest.mark.usefixtures("workers")


def test_a_run_from_submit_to_finish(tmp_path: Path) -> None:
    row = submit(tmp_path, name="Whole life", max_steps=5)
    assert row.state in ("queued", "starting", "running")
    assert row.silent_s >= 0.0
    done = reach(row, "finished")
    assert (done.step, done.total_steps, done.device, done.backend) == (5, 5, "cpu", "local")
    assert (done.base_eval_loss, done.loss) == (3.0, 3.0 / 5)
    assert done.summary.model == "model"
    assert (done.directory / "model" / "adapter.txt").read_text() == "5"
    assert done.directory == paths.runs_dir() / done.id
    # The device's number is hidden from CUDA, and nothing heavy was imported by the worker itself.
    assert (done.directory / "seen.txt").read_text() == " False"


def test_two_runs_on_a_device_go_one_after_the_other(tmp_path: Path) -> None:
    first = working(submit(tmp_path, name="first", max_steps=ENDLESS))
    second = submit(tmp_path, name="second", max_steps=3)
    until(lambda: supervisor.get("second").summary.position == 1)
    waiting = supervisor.get("second")
    assert (waiting.state, waiting.summary.behind, waiting.silent_s) == ("queued", first.id, 0.0)
    assert not (second.directory / "seen.txt").exists()
    supervisor.stop("first")
    reach(first, "stopped")
    reach(second, "finished")
    assert isinstance(events(second)[0], Queued)


@pytest.mark.parametrize(("verb", "state"), [(supervisor.stop, "stopped"), (supervisor.pause, "paused")])
def test_a_queued_run_ends_without_starting(tmp_path: Path, verb: Any, state: str) -> None:
    first = working(submit(tmp_path, name="first", max_steps=ENDLESS))
    second = submit(tmp_path, name="second")
    until(lambda: supervisor.get(second.id).summary.position == 1)
    verb(second.id)
    ended = reach(second, state)
    assert ended.step == 0
    assert not (second.directory / "seen.txt").exists()
    kill(first)


def test_a_pause_frees_the_device_and_resume_goes_on_at_the_next_step(tmp_path: Path) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))
    assert supervisor.pause(row.id).state in ("pausing", "paused")
    paused = reach(row, "paused")
    worker = pid_of(row)
    until(lambda: not Path(f"/proc/{worker}").exists())
    other = submit(tmp_path, name="other", max_steps=2)
    reach(other, "finished")
    assert supervisor.resume(row.id).active
    working(row, paused.step + 3)
    supervisor.stop(row.id)
    reach(row, "stopped")
    told = events(row)
    (resumed,) = [event for event in told if isinstance(event, Resumed)]
    assert (resumed.step, resumed.checkpoint) == (paused.step, f"checkpoints/step-{paused.step}")
    steps = [event.step for event in told if isinstance(event, Step)]
    assert steps == list(range(1, len(steps) + 1))


def test_a_stop_keeps_checkpoint_and_model_and_can_be_resumed(tmp_path: Path) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))
    supervisor.stop(row.id)
    stopped = reach(row, "stopped")
    assert (stopped.directory / "model" / "adapter.txt").read_text() == str(stopped.step)
    assert stopped.summary.last_checkpoint == f"checkpoints/step-{stopped.step}"
    supervisor.resume(row.id)
    working(row, stopped.step + 1)


def test_sigterm_is_a_stop_and_a_second_one_changes_nothing(tmp_path: Path) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))
    pid = pid_of(row)
    for _ in range(5):
        os.kill(pid, signal.SIGTERM)
    stopped = reach(row, "stopped")
    checkpoint = RunDirectory(stopped.directory).latest_checkpoint()
    assert checkpoint is not None
    assert checkpoint.step == stopped.step
    assert sum(event.kind == "requested" for event in events(row)) == 1


def test_sigterm_of_a_queued_run_is_a_stop_too(tmp_path: Path) -> None:
    first = working(submit(tmp_path, name="first", max_steps=ENDLESS))
    second = submit(tmp_path, name="second")
    until(lambda: supervisor.get(second.id).summary.position == 1)
    os.kill(pid_of(second), signal.SIGTERM)
    assert reach(second, "stopped").step == 0
    assert supervisor.get(first.id).active


def test_a_killed_worker_is_lost_with_its_last_words_and_goes_on(tmp_path: Path) -> None:
    row = submit(tmp_path, name="doomed", max_steps=ENDLESS, checkpoint_every=2, sample_prompts=["die"])
    lost = reach(row, "lost")
    assert "the last thing it said" in lost.message
    assert "without a word" in lost.message
    assert lost.next_step == f"`finetui resume {row.id}` (continues from step 2)."
    assert lost.ended == lost.updated > 0
    assert supervisor.log_tail(row.id, 1) == ["the last thing it said"]
    with pytest.raises(RunError, match="no worker to pause"):
        supervisor.pause(row.id)
    supervisor.resume(row.id)
    again = reach(row, "lost")
    assert [event.step for event in events(row) if isinstance(event, Resumed)] == [2]
    assert supervisor.stop(again.id).state == "stopped"
    last = events(row)[-1]
    assert isinstance(last, Stopped)
    assert (last.step, last.checkpoint) == (2, "checkpoints/step-2")


def test_a_worker_that_dies_while_resuming_is_lost_not_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))
    supervisor.pause(row.id)
    reach(row, "paused")
    monkeypatch.setattr(
        process, "WORKER_COMMAND", (sys.executable, "-c", "raise SystemExit('no module torch')")
    )
    supervisor.resume(row.id)
    lost = reach(row, "lost")
    assert "no module torch" in lost.message


def test_a_run_whose_worker_was_never_started_is_lost(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path).absolute(tmp_path)
    run, lock = RunDirectory.create_locked(recipe)
    assert supervisor.get(run.id).state == "queued"  # somebody is just about to start it
    lock.release()
    lost = supervisor.get(run.id)
    assert (lost.state, "never started" in lost.message) == ("lost", True)
    supervisor.resume(run.id)
    reach(lost, "finished")


def test_a_machine_restart_is_told(tmp_path: Path) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))
    kill(row)
    run = RunDirectory(row.directory)
    text = run.worker_path.read_text()
    run.worker_path.write_text(text.replace(process.Identity.current().boot, "an earlier boot"))
    assert "restarted" in supervisor.get(row.id).message


def test_a_run_of_another_host_is_not_called_lost(tmp_path: Path) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))
    kill(row)
    run = RunDirectory(row.directory)
    worker = process.read_worker(run)
    assert worker is not None
    run.worker_path.write_text(run.worker_path.read_text().replace(worker.identity.host, "node-17"))
    far = supervisor.get(row.id)
    assert far.state == "running"
    assert "node-17" in far.message
    assert "heartbeat was" in far.message


SUBMITTER = """
import sys, time
from pathlib import Path
from core import recipe
from core.runs import process, supervisor
process.WORKER_COMMAND = (sys.executable, "-P", "-u", sys.argv[1])
folder = Path(sys.argv[2])
print(supervisor.submit(recipe.load(folder / "r.yaml"), folder).id, flush=True)
time.sleep(600)
"""


def test_a_run_outlives_the_sigkill_of_the_app(tmp_path: Path) -> None:
    make_recipe(tmp_path)
    (tmp_path / "r.yaml").write_text(
        "model: smollm2-135m-instruct\ndata: train.jsonl\ndevice: cpu\nmax_steps: 1000000\n"
    )
    app = subprocess.Popen(
        (sys.executable, "-P", "-c", SUBMITTER, str(FAKE_WORKER), str(tmp_path)),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert app.stdout is not None
    run_id = app.stdout.readline().decode().strip()
    os.killpg(app.pid, signal.SIGKILL)
    app.wait()
    app.stdout.close()
    row = working(supervisor.get(run_id))
    working(row, row.step + 3)


def test_what_cannot_be_done_says_why_and_what_to_do(tmp_path: Path) -> None:
    row = working(submit(tmp_path, name="busy", max_steps=ENDLESS))
    with pytest.raises(RunError, match="nothing to resume"):
        supervisor.resume("busy")
    with pytest.raises(RunError, match="can't be deleted") as refused:
        supervisor.delete("busy")
    assert "finetui stop" in refused.value.next_step
    os.kill(pid_of(row), signal.SIGSTOP)  # so that what is asked stays asked
    assert supervisor.pause("busy").state == "pausing"
    with pytest.raises(RunError, match="pausing already"):
        supervisor.pause("busy")
    assert supervisor.stop("busy").state == "stopping"
    with pytest.raises(RunError, match="stopping already"):
        supervisor.stop("busy")
    with pytest.raises(RunError, match="can't be paused any more"):
        supervisor.pause("busy")
    os.kill(pid_of(row), signal.SIGCONT)
    reach(row, "stopped")
    with pytest.raises(RunError, match="is over: it is stopped"):
        supervisor.stop("busy")
    with pytest.raises(RunError, match="is over: it is stopped"):
        supervisor.pause("busy")
    with pytest.raises(RunError, match="no worker would hear it"):
        supervisor.ask("busy", "checkpoint")
    done = reach(submit(tmp_path, name="done", max_steps=1), "finished")
    with pytest.raises(RunError, match="is finished: there is nothing to resume"):
        supervisor.resume(done.id)
    with pytest.raises(RunError, match="is over: it is finished"):
        supervisor.pause(done.id)
    with pytest.raises(RunError, match="not in the trash"):
        supervisor.restore(done.id)


def test_a_paused_run_can_be_stopped_and_not_paused_again(tmp_path: Path) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))
    supervisor.pause(row.id)
    reach(row, "paused")
    with pytest.raises(RunError, match="paused already"):
        supervisor.pause(row.id)
    assert supervisor.stop(row.id).state == "stopped"
    assert [type(event) for event in events(row)[-2:]] == [Paused, Stopped]


def test_a_request_reaches_the_worker_and_a_long_silence_is_counted(tmp_path: Path) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))
    os.kill(pid_of(row), signal.SIGSTOP)
    supervisor.ask(row.id, "sample", prompt="Hello")
    assert control.pending(row.directory / "control") == ["sample"]
    until(lambda: supervisor.get(row.id).silent_s > 0.2)
    assert supervisor.get(row.id).state == "running"
    os.kill(pid_of(row), signal.SIGCONT)
    until(lambda: not control.pending(row.directory / "control"))


def test_two_resumes_at_once_start_one_worker(tmp_path: Path) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))
    supervisor.pause(row.id)
    reach(row, "paused")
    code = (
        "import sys\nfrom core.runs import process, supervisor\n"
        "process.WORKER_COMMAND = (sys.executable, '-P', '-u', sys.argv[1])\n"
        "try:\n    supervisor.resume(sys.argv[2]); print('resumed')\n"
        "except supervisor.RunError as error:\n    print(error.what)\n"
    )
    rivals = [
        subprocess.Popen((sys.executable, "-P", "-c", code, str(FAKE_WORKER), row.id), stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    said = sorted(rival.communicate()[0].decode().strip() for rival in rivals)
    assert said.count("resumed") == 1
    assert sum("nothing to resume" in text for text in said) == 2
    working(row, supervisor.get(row.id).step + 1)
    assert sum(isinstance(event, Resumed) for event in events(row)) == 1


def test_waiting_for_what_does_not_come_ends(tmp_path: Path) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))
    with pytest.raises(RunError, match="still running"):
        supervisor.wait(row.id, {"finished"}, timeout_s=0.0)


def test_a_stop_on_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = working(submit(tmp_path, max_steps=ENDLESS))
    kill(row)
    monkeypatch.setattr(Journal, "append", lambda *_: False)
    with pytest.raises(RunError, match="can't be written"):
        supervisor.stop(row.id)
