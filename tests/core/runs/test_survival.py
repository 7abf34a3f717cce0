"""What could end a worker, told from what the machine shows. systemd itself is not asked here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.runs import process, survival


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with systemd, this user logged in without lingering, no container."""
    monkeypatch.setattr(survival, "SYSTEMD", tmp_path)
    monkeypatch.setattr(survival, "LINGER", tmp_path / "linger")
    monkeypatch.setattr(survival, "CONTAINER_MARKS", (tmp_path / "dockerenv",))
    monkeypatch.setattr(survival, "PROC", tmp_path / "proc")
    monkeypatch.setattr(survival.getpass, "getuser", lambda: "me")
    monkeypatch.setattr(survival, "_kills_user_processes", lambda: True)
    for name in ("SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    for pid, above, name in ((os.getpid(), 1, "python"), (1, 0, "bash")):
        folder = tmp_path / "proc" / str(pid)
        folder.mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} ({name}) S {above} 0 0")
        (folder / "comm").write_text(name + "\n")
    (tmp_path / "proc" / "self").mkdir()
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/user.slice/user-1000.slice/session-3.scope\n")
    return tmp_path


def test_a_login_manager_that_ends_processes_is_named_with_its_remedy(machine: Path) -> None:
    (risk,) = survival.survival_risks()
    assert "KillUserProcesses" in risk
    assert "loginctl enable-linger" in risk
    (machine / "linger").mkdir()
    (machine / "linger" / "me").touch()
    assert survival.survival_risks() == []


def test_outside_of_a_login_session_the_login_manager_ends_nothing(machine: Path) -> None:
    (machine / "proc" / "self" / "cgroup").write_text("0::/system.slice/cron.service\n")
    assert survival.survival_risks() == []


@pytest.mark.parametrize(
    ("first", "risky"), [("bash", True), ("tini", True), ("systemd", False), ("sshd", False)]
)
def test_a_containers_first_process(
    machine: Path, monkeypatch: pytest.MonkeyPatch, first: str, risky: bool
) -> None:
    monkeypatch.setattr(survival, "_kills_user_processes", lambda: False)
    (machine / "proc" / "1" / "comm").write_text(first)
    assert survival.survival_risks() == []  # no container
    (machine / "dockerenv").touch()
    assert any(first in risk for risk in survival.survival_risks()) == risky
    (machine / "proc" / str(os.getpid()) / "stat").write_text(
        "7 (python) S 0 0 0"
    )  # came in with `docker exec`
    assert survival.survival_risks() == []


def test_a_slurm_job_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survival, "_kills_user_processes", lambda: False)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    (risk,) = survival.survival_risks()
    assert "4711" in risk


def test_a_scope_is_used_only_where_it_outlives_the_login(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_scope_works", lambda: True)
    assert process._scope() == ()
    (machine / "linger").mkdir()
    (machine / "linger" / "me").touch()
    assert process._scope()[:3] == ("systemd-run", "--user", "--scope")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert process._scope() == ()


def test_a_user_manager_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "systemd-run"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(process, "PROBE_TIMEOUT_S", 0.2)
    process._scope_works.cache_clear()
    assert process._scope_works() is False
    process._scope_works.cache_clear()
