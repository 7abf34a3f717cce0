"""Deployments as processes: started, found, stopped and removed; with the real gateway and no model loaded."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from core import paths
from core.serving import deployments, sockets
from core.serving.deployments import Deployment, DeploymentError
from core.serving.safety import BLOCK_LIST
from core.serving.settings import directory_of, read_settings, write_settings
from tests.core.serving.gateways import make_settings


def until(holds: Callable[[], Any]) -> None:
    for _ in range(400):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come true")


@pytest.fixture
def key() -> Iterator[str]:
    """The key of a deployment `lamp` that is not started; whatever runs of it ends with the test."""
    with sockets.bind_tcp("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    _, _, key = make_settings(port=port, warm=False)
    yield key
    if directory_of("lamp").exists():
        deployments.remove("lamp")


def get(here: Deployment, path: str, key: str) -> int:
    return httpx.get(
        f"{here.url.removesuffix('/v1')}{path}", headers={"authorization": f"Bearer {key}"}, trust_env=False
    ).status_code


def test_a_deployment_is_started_found_stopped_and_started_again(key: str) -> None:
    assert deployments.find("lamp").state == "stopped"
    here = deployments.start("lamp")
    here = deployments.wait("lamp", 20)
    assert (here.state, here.reason, here.running) == ("healthy", "", True)
    assert here.pid > 0 and here.started > 0 and here.socket.exists()
    assert {item["state"] for item in here.upstreams.values()} == {"cold"}
    assert [item.name for item in deployments.all_deployments()] == ["lamp"]
    assert get(here, "/v1/models", key) == 200
    with pytest.raises(DeploymentError, match="healthy already"):
        deployments.start("lamp")

    stopped = deployments.stop("lamp")
    assert (stopped.state, stopped.pid, stopped.upstreams) == ("stopped", 0, {})
    with pytest.raises(httpx.ConnectError):
        get(here, "/v1/models", key)
    assert deployments.stop("lamp").state == "stopped"

    again = deployments.restart("lamp")
    assert again.port == here.port and again.pid != here.pid
    assert get(again, "/v1/models", key) == 200


def test_a_gateway_is_nobody_s_child_and_has_a_session_of_its_own(key: str) -> None:
    here = deployments.start("lamp")
    stat_line = Path(f"/proc/{here.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(stat_line[1]) != os.getpid()
    assert int(stat_line[3]) != os.getsid(0)
    assert key not in Path(f"/proc/{here.pid}/cmdline").read_text()


def test_a_port_that_is_taken_is_told_and_nothing_is_started(key: str) -> None:
    port = read_settings(directory_of("lamp")).port
    with sockets.bind_tcp("127.0.0.1", port):
        with pytest.raises(DeploymentError) as refused:
            deployments.start("lamp")
        assert f"port {port}" in refused.value.what and "--port" in refused.value.next_step
    assert deployments.find("lamp").state == "stopped"


def test_a_gateway_that_finds_its_port_taken_has_failed_with_the_reason(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = read_settings(directory_of("lamp"))
        write_settings(directory_of("lamp"), replace(settings, port=other.getsockname()[1]))
        monkeypatch.setattr(
            sockets, "bind_tcp", lambda *_: socket.socket()
        )  # it was free when it was looked at
        here = deployments.start("lamp")
        assert here.state == "failed"
        assert "can't listen" in here.reason and "--port" in here.next_step


def test_a_gateway_without_its_safety_does_not_serve(key: str) -> None:
    directory = directory_of("lamp")
    write_settings(directory, replace(read_settings(directory), safety={"kind": "patterns"}))
    here = deployments.start("lamp")
    assert here.state == "failed" and BLOCK_LIST in here.reason
    (directory / BLOCK_LIST).write_text("secret\n")
    assert deployments.start("lamp").running


def test_a_server_that_is_killed_is_started_again_by_its_keeper(key: str) -> None:
    here = deployments.start("lamp")
    deployments.wait("lamp", 20)
    children = Path(f"/proc/{here.pid}/task/{here.pid}/children")
    server = int(children.read_text().split()[0])
    os.kill(server, signal.SIGKILL)
    until(lambda: children.read_text().split() not in ([], [str(server)]))
    until(lambda: deployments.find("lamp").state == "healthy")
    assert deployments.find("lamp").pid == here.pid
    assert get(here, "/v1/models", key) == 200


def test_a_gateway_that_is_killed_takes_its_server_with_it_and_is_said_to_have_failed(key: str) -> None:
    here = deployments.start("lamp")
    server = int(Path(f"/proc/{here.pid}/task/{here.pid}/children").read_text().split()[0])
    os.kill(here.pid, signal.SIGKILL)
    until(lambda: deployments.find("lamp").state == "failed")
    found = deployments.find("lamp")
    assert "without a word" in found.reason
    assert "finetui deployments start lamp" in found.next_step
    until(lambda: not Path(f"/proc/{server}").exists())
    deployments.start("lamp")
    until(lambda: deployments.find("lamp").state == "healthy")


def test_a_restart_of_the_machine_is_told(key: str) -> None:
    deployments.start("lamp")
    os.kill(deployments.find("lamp").pid, signal.SIGKILL)
    path = directory_of("lamp") / "gateway.json"
    record = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps({**record, "boot": "another"}))
    until(lambda: deployments.find("lamp").state == "failed")
    assert "restarted" in deployments.find("lamp").reason


def test_a_removed_deployment_leaves_nothing(key: str) -> None:
    here = deployments.start("lamp")
    folder = Path(here.settings.sockets)
    assert deployments.remove("lamp") > 0
    assert not here.directory.exists() and not folder.exists()
    assert list(here.directory.parent.iterdir()) == []
    until(lambda: not Path(f"/proc/{here.pid}").exists())
    assert deployments.all_deployments() == []
    with pytest.raises(DeploymentError, match="no deployment 'lamp'"):
        deployments.find("lamp")


def test_a_damaged_deployment_is_listed_and_can_be_removed() -> None:
    directory = paths.make_private(directory_of("lamp"))
    (directory / "deployment.json").write_text("{")
    found = deployments.find("lamp")
    assert found.state == "failed" and "deployment.json" in found.reason
    deployments.remove("lamp")
    assert not directory.exists()


def test_what_a_newer_finetui_wrote_is_read() -> None:
    settings, directory, _ = make_settings()
    path = directory / "deployment.json"
    content = orjson.loads(path.read_bytes())
    content["newer"] = content["limits"]["newer"] = content["models"][0]["newer"] = 1
    path.write_bytes(orjson.dumps(content))
    assert read_settings(directory) == settings
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_list_of_deployments_needs_nothing_heavy() -> None:
    code = (
        "import sys; from core.serving import deployments, watch, request_log; deployments.all_deployments(); "
        "heavy = {'pydantic', 'starlette', 'uvicorn', 'httpx', 'torch', 'transformers', 'psutil', 'numpy', 'yaml'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


# Sockets


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short: a test's own may be too long for a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_sockets_lie_in_a_short_private_folder_however_long_the_home_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path / ("long" * 50)))
    settings, _, _ = make_settings()
    folder = Path(settings.sockets)
    try:
        assert len(os.fsencode(folder / ("m" * sockets.LONGEST_NAME))) <= sockets.LONGEST_PATH
        with sockets.bind_unix(folder / "gateway"):
            assert stat.S_IMODE((folder / "gateway").stat().st_mode) == 0o600
        with sockets.bind_unix(folder / "gateway"):  # one that is left over is no hindrance
            pass
    finally:
        sockets.remove_folder(folder)
    assert not folder.exists()


def test_a_temporary_folder_with_a_long_path_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("t" * 90)
    long.mkdir()
    monkeypatch.setattr(sockets.tempfile, "tempdir", str(long))
    folder = sockets.make_folder(tmp_path)
    assert folder.parent.parent == Path("/tmp")
    sockets.remove_folder(folder)


def test_a_folder_that_is_not_this_user_s_is_not_used(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets.tempfile, "tempdir", str(short))
    trap = short / f"finetui-{os.getuid()}"
    trap.symlink_to(short)
    with pytest.raises(DeploymentError, match="somebody else"):
        sockets.make_folder(short)
    trap.unlink()
    trap.mkdir(mode=0o777)
    sockets.make_folder(short)
    assert stat.S_IMODE(trap.stat().st_mode) == 0o700


def test_a_runtime_folder_is_used_where_it_stays_after_the_logout(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets.tempfile, "tempdir", str(short / "tmp"))
    (short / "tmp").mkdir()
    (short / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short / "run"))
    for lingers in (True, False):
        monkeypatch.setattr(sockets, "lingers", lambda lingers=lingers: lingers)
        assert sockets.make_folder(short).is_relative_to(short / "run") is lingers


def test_a_free_port_is_the_first_that_nobody_has() -> None:
    with sockets.bind_tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert sockets.free_port("127.0.0.1", range(port, port + 20)) > port
        with pytest.raises(DeploymentError):
            sockets.free_port("127.0.0.1", range(port, port + 1))
    with pytest.raises(DeploymentError):
        sockets.bind_tcp("203.0.113.7", 0)
