"""The models' processes: started when needed, started again when they end, ended when memory is short."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest

from core.serving import upstreams, vllm
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
    assert words[words.index("serve") + 1] == "/w/base"
    assert words[words.index("--uds") + 1] == "/s/m0"
    assert words[words.index("--served-model-name") + 1] == "base"
    assert words[words.index("--max-lora-rank") + 1] == "32"
    assert words[words.index("--override-generation-config") + 1] == '{"max_new_tokens": 4096}'
    assert words[words.index("--lora-modules") + 1 :] == (f"one={tmp_path}/one", f"two={tmp_path}/two")
    assert set(adapters.models) == {"one", "two", "base"}
    assert merged.models == {"merged": "merged"} and "--enable-lora" not in merged.command
    (tmp_path / "one" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "use_dora": true}')
    assert not vllm.takes_adapter(tmp_path / "one")


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
