"""The models' processes: started when needed, started again when they end, ended when memory is short."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest

from core.serving import upstreams, vllm, vllm_upstream
from core.serving.settings import ServedModel
from core.serving.upstreams import Spec, Upstreams, specs
from tests.core.serving.gateways import (
    QUICK,
    make_settings,
    model,
    reply_or_error,
    running,
    until,
)


async def test_a_model_is_started_by_its_first_request_and_health_says_so() -> None:
    async with running() as gateway:
        lamp, other = gateway.serving.upstreams.all
        assert (lamp.state, other.state) == ("cold", "cold")
        await until(lambda: gateway.status.state[0] == "healthy")
        await gateway.ask("say hi")
        assert (lamp.state, other.state) == ("ready", "cold")
        assert lamp.process is not None
        pid = lamp.process.pid
        await gateway.ask("say hi")
        assert lamp.process.pid == pid
        assert (await gateway.local.get("/health")).json() == {"status": "healthy", "reason": ""}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_warm_deployment_is_healthy_when_all_models_answer() -> None:
    async with running(warm=True) as gateway:
        states = []
        await until(lambda: states.append(gateway.status.state[0]) or states[-1] == "healthy")
        assert states[0] == "starting"
        assert [item.state for item in gateway.serving.upstreams.all] == ["ready", "ready"]


async def test_many_first_requests_start_one_process() -> None:
    async with running() as gateway:
        answers = await asyncio.gather(*(gateway.ask(f"say {number}") for number in range(8)))
        assert [answer.json()["choices"][0]["message"]["content"] for answer in answers] == [
            f"{number} " for number in range(8)
        ]
        assert gateway.serving.upstreams.all[0].restarts == 0
        assert len(gateway.seen()) == 8


async def test_a_killed_model_is_started_again_and_meanwhile_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstreams, "BACK_OFF_S", (0.5,))
    async with running() as gateway:
        await gateway.ask("say hi")
        lamp = gateway.serving.upstreams.all[0]
        assert lamp.process is not None
        first = lamp.process.pid
        asked = asyncio.ensure_future(gateway.ask("say one\nwait 20\nsay two", stream=True))
        await until(lambda: len(gateway.seen()) == 2)
        os.kill(first, signal.SIGKILL)
        broken = await asked
        assert '"code":"model_failed"' in broken.text
        assert not broken.text.endswith("[DONE]\n\n")

        await until(lambda: lamp.state == "waiting")
        answer = await gateway.ask("say hi")
        assert (answer.status_code, int(answer.headers["retry-after"])) == (503, 1)
        assert "signal 9" in answer.json()["error"]["message"]
        health = await gateway.local.get("/health")
        assert health.status_code == 503 and "lamp: it ended by signal 9" in health.json()["reason"]
        assert orjson.loads((gateway.directory / "status.json").read_bytes())["state"] == "unhealthy"
        assert (await gateway.ask("say hi", model="other")).status_code == 200  # the other one goes on

        await until(lambda: lamp.state == "ready")
        assert lamp.restarts == 1 and lamp.process.pid != first
        assert (await gateway.ask("say again")).status_code == 200
        assert gateway.status.state == ("healthy", "")


async def test_a_model_that_dies_by_itself_in_a_reply_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "BACK_OFF_S", (0.1,))
    async with running() as gateway:
        lamp = gateway.serving.upstreams.all[0]
        for times in (1, 2):
            answer = await gateway.ask("die")
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "model_failed")
            await until(lambda times=times: lamp.restarts == times and lamp.state == "ready")
        assert lamp.failures == 2


async def test_a_model_that_can_t_be_loaded_waits_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "BACK_OFF_S", (0.1, 0.2, 30.0))
    async with running() as gateway:
        (gateway.folder() / "fails").touch()
        answer = await gateway.ask("say hi")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_failed")
        assert "it can't be loaded" in answer.json()["error"]["message"]
        lamp = gateway.serving.upstreams.all[0]
        await until(lambda: lamp.failures == 3)
        assert lamp.restarts == 2
        assert int((await gateway.ask("say hi")).headers["retry-after"]) > 20


async def test_an_idle_model_makes_room_for_another() -> None:
    async with running(free_bytes=1500, models=(model("lamp"), model("other"))) as gateway:
        lamp, other = gateway.serving.upstreams.all
        assert (await gateway.ask("say hi")).status_code == 200
        assert (await gateway.ask("say hi", model="other")).status_code == 200
        assert (lamp.state, other.state) == ("cold", "ready")
        assert (await gateway.ask("say hi")).status_code == 200
        assert (lamp.state, other.state) == ("ready", "cold")
        assert (lamp.restarts, lamp.failures) == (0, 0)


async def test_the_model_used_longest_ago_goes_first() -> None:
    models = (model("lamp"), model("other"), model("third"))
    async with running(free_bytes=2500, models=models) as gateway:
        for name in ("lamp", "other", "lamp", "third"):
            await gateway.ask("say hi", model=name)
        assert [item.state for item in gateway.serving.upstreams.all] == ["ready", "cold", "ready"]


async def test_a_model_at_work_is_never_ended_for_another() -> None:
    async with running(free_bytes=1500) as gateway:
        await gateway.ask("say hi")
        slow = asyncio.ensure_future(gateway.ask("wait 1\nsay done"))
        await until(lambda: len(gateway.seen()) == 2)
        answer = await gateway.ask("say hi", model="other")
        assert answer.status_code == 503
        assert "memory" in answer.json()["error"]["message"]
        assert (await slow).json()["choices"][0]["message"]["content"] == "done "


async def test_a_model_larger_than_the_memory_is_refused_with_the_figures() -> None:
    async with running(free_bytes=900_000_000, models=(model("lamp", bytes=2_500_000_000),)) as gateway:
        answer = await gateway.ask("say hi")
        assert answer.status_code == 503
        assert "2.5 GB of memory are needed and 0.9 GB are free" in answer.json()["error"]["message"]


async def test_processes_end_with_their_gateway_however_it_ends(tmp_path: Path) -> None:
    """A gateway that is killed can't end its models; the closed pipe does."""
    settings, directory, _ = make_settings()
    support = Path(__file__).with_name("small_upstream.py")
    socket = Path(settings.sockets) / "m0"
    command = (sys.executable, "-P", str(support), str(tmp_path), str(socket))
    pools = Upstreams([Spec("lamp", command, socket, 0, 1, {"lamp": "."})], directory, QUICK, lambda: None)
    async with pools.turn("lamp"):
        process = pools.all[0].process
        assert process is not None and process.stdin is not None
        process.stdin.close()  # what the kernel does for a dead gateway
        assert await asyncio.wait_for(process.wait(), 10) == 0
    await pools.close()


async def test_no_process_listens_on_tcp() -> None:
    async with running() as gateway:
        await gateway.ask("say hi")
        lamp = gateway.serving.upstreams.all[0]
        assert lamp.process is not None
        open_files = Path(f"/proc/{lamp.process.pid}/fd").iterdir()
        inodes = {str(entry.readlink()) for entry in open_files if entry.is_symlink()}
        tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
        rows = [line.split() for table in tables for line in table]
        assert not [row for row in rows if f"socket:[{row[9]}]" in inodes]


def test_transformers_gets_a_process_for_each_model() -> None:
    settings, _, _ = make_settings(
        models=(model("lamp", folder="/w/a", bytes=10**9), model("base", folder="/w/b"))
    )
    found = specs(settings, Path("/s"))
    assert [item.command[-3:] for item in found] == [
        ("core.serving.upstream", "/w/a", "/s/m0"),
        ("core.serving.upstream", "/w/b", "/s/m1"),
    ]
    assert [item.slots for item in found] == [1, 1]
    assert found[0].needed_bytes > 10**9 > found[1].needed_bytes


def test_vllm_gets_one_process_for_a_base_and_its_adapters(tmp_path: Path) -> None:
    served: list[ServedModel] = []
    for name, rank in (("one", 4), ("two", 20)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(f'{{"peft_type": "LORA", "r": {rank}}}')
        assert vllm.takes_adapter(tmp_path / name)
        served.append(model(name, folder=str(tmp_path / name), adapter_on="/w/base"))
    served += [model("base", kind="base", folder="/w/base"), model("merged", folder="/w/merged")]
    settings, _, _ = make_settings(models=tuple(served), engine="vllm")
    adapters, merged = specs(settings, Path("/s"))
    words = adapters.command
    assert words[words.index("core.serving.vllm_upstream") + 1] == "/w/base"
    assert words[words.index("--uds") + 1] == "/s/m0"
    assert words[words.index("--served-model-name") + 1] == "base"
    assert words[words.index("--max-lora-rank") + 1] == "32"
    assert words[words.index("--override-generation-config") + 1] == '{"max_new_tokens": 4096}'
    modules = [orjson.loads(word) for word in words[words.index("--lora-modules") + 1 :]]
    assert modules == [{"name": name, "path": str(tmp_path / name)} for name in ("one", "two")]
    assert (words[words.index("--max-loras") + 1], words[words.index("--max-cpu-loras") + 1]) == ("2", "2")
    assert set(adapters.models) == {"one", "two", "base"}
    assert merged.models == {"merged": "merged"} and "--enable-lora" not in merged.command
    for more in ('"use_dora": true', '"bias": "all"', '"target_modules": ["q_proj", "lm_head"]', '"r": 513'):
        (tmp_path / "one" / "adapter_config.json").write_text(f'{{"peft_type": "LORA", "r": 4, {more}}}')
        assert not vllm.takes_adapter(tmp_path / "one"), more


STANDS_IN = """
import json, os, signal, subprocess, sys, time
if sys.argv[1] == "serve":
    child = subprocess.Popen([sys.executable, __file__, "engine"])
    seen = {name: value for name, value in os.environ.items() if name.startswith(("VLLM_", "HF_HUB"))}
    print(json.dumps({"pids": [os.getpid(), child.pid], "words": sys.argv[2:], "seen": seen}), flush=True)
    if "crash" in sys.argv:
        sys.exit(3)
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of vLLM's, with an engine of its own that doesn't end when it is asked to."""
    folder = tmp_path / "vllm" / "entrypoints" / "cli"
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(STANDS_IN)
    for part in (folder, *list(folder.parents)[:2]):
        (part / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def leashed(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-u", "-m", "core.serving.vllm_upstream", *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_vllm_ends_with_its_gateway_and_so_does_its_engine(
    stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
    monkeypatch.setenv("VLLM_API_KEY", "another")
    monkeypatch.setenv("VLLM_USE_V1", "1")
    with leashed("/w/base", "--uds", "/s/m0") as process:
        assert process.stdin is not None and process.stdout is not None
        said = orjson.loads(process.stdout.readline())
        assert said["words"] == ["/w/base", "--uds", "/s/m0"]
        assert said["seen"] == {**vllm_upstream.ADDED, "VLLM_USE_V1": "1"}
        assert not any(gone(pid) for pid in said["pids"])
        process.stdin.close()  # what the kernel does for a dead gateway
        await until(lambda: all(gone(pid) for pid in said["pids"]))
        assert process.wait() == 128 + signal.SIGTERM


async def test_an_engine_doesn_t_outlive_a_vllm_that_crashes(stand_in: None) -> None:
    with leashed("crash") as process:
        assert process.stdout is not None
        said = orjson.loads(process.stdout.readline())
        await until(lambda: all(gone(pid) for pid in said["pids"]))
        assert process.wait() == 3


async def test_stopping_ends_a_model_that_is_still_loading() -> None:
    settings, directory, _ = make_settings()
    command = (sys.executable, "-c", "import sys; sys.stdin.read()")
    spec = Spec("lamp", command, Path(settings.sockets) / "m0", 0, 1, {"lamp": "."})
    pool = Upstreams([spec], directory, replace(QUICK, start_s=60.0), lambda: None)
    asked = asyncio.ensure_future(reply_or_error(_turn(pool)))
    await until(lambda: pool.all[0].process is not None)
    process = pool.all[0].process
    await pool.close()
    assert process is not None and process.returncode is not None
    await asyncio.gather(asked, return_exceptions=True)


async def _turn(pool: Upstreams) -> httpx.Response:
    async with pool.turn("lamp"):
        raise AssertionError("it never answers")
