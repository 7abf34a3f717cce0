"""What could still end a detached worker: the login manager, a container's first process, a batch job.

Sources: logind.conf(5) `KillUserProcesses`; loginctl(1) `enable-linger`; user@.service(5): a user's manager, and
with it every scope in it, ends with the user's last session unless the user lingers.
"""

from __future__ import annotations

import functools
import getpass
import os
import subprocess
from pathlib import Path

SYSTEMD = Path("/run/systemd/system")
LINGER = Path("/var/lib/systemd/linger")
CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
PROC = Path("/proc")

LASTING_FIRST_PROCESSES = frozenset(
    {"systemd", "init", "sshd", "supervisord", "s6-svscan", "runsvdir", "runit", "jupyterhub-sin"}
)
"""Names of a container's first process that stay when a shell under them ends."""


def user_scope_outlives_login() -> bool:
    """Whether a scope of the user's own systemd is a safer place than this session.

    Only with lingering: without it the user's manager ends with the last login and takes its scopes along, while
    a process in a session of its own stays (unless KillUserProcesses is set). Inside a Slurm job a scope would leave
    the job's limits behind, so there it is not used.
    """
    return SYSTEMD.exists() and lingers() and "SLURM_JOB_ID" not in os.environ


def lingers() -> bool:
    """Whether this user's processes may stay without a login (`loginctl enable-linger`)."""
    return (LINGER / getpass.getuser()).exists()


def survival_risks() -> list[str]:
    """What could end a run that is started now, one sentence each with its remedy; empty when nothing is known."""
    risks = []
    if SYSTEMD.exists() and not lingers() and _login_session() and _kills_user_processes():
        risks.append(
            "This machine ends all your processes when you log out (KillUserProcesses=yes). "
            "Run `loginctl enable-linger` once to keep runs alive."
        )
    first = _first_process_above()
    if first and _in_container() and first not in LASTING_FIRST_PROCESSES:
        risks.append(
            f"This is a container whose first process is {first!r}: when it ends, every run ends. "
            "Keep it open, or start the container detached and come in with `docker exec`."
        )
    job = os.environ.get("SLURM_JOB_ID")
    if job:
        risks.append(
            f"Slurm job {job} ends every process it started when the job ends. A run gets SIGTERM then, writes a "
            "checkpoint if the time allows, and goes on with `finetui resume`."
        )
    return risks


def _login_session() -> bool:
    try:
        return "/session-" in (PROC / "self/cgroup").read_text()
    except OSError:
        return False


@functools.cache
def _kills_user_processes() -> bool:
    """What the login manager answers; no answer is taken as its usual `no`."""
    try:
        answer = subprocess.run(
            ("busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1",
             "org.freedesktop.login1.Manager", "KillUserProcesses"),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3.0, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.split() == ["b", "true"]


def _in_container() -> bool:
    return any(mark.exists() for mark in CONTAINER_MARKS) or "KUBERNETES_SERVICE_HOST" in os.environ


def _first_process_above() -> str:
    """Name of PID 1 when this process descends from it; empty otherwise (entered from outside, or no /proc)."""
    pid = os.getpid()
    try:
        while pid > 1:
            stat = (PROC / str(pid) / "stat").read_text(errors="replace")
            pid = int(stat[stat.rindex(")") + 2 :].split()[1])
        return (PROC / "1/comm").read_text().strip() if pid == 1 else ""
    except OSError:
        return ""
