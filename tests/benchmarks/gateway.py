"""What the gateway adds to the time to a reply's first token, and how it bears a load.

    python -m tests.benchmarks gateway

The last lines are those of the README. On a machine with other work run it with priority (`nice -n -10`, as root): what
is measured is less than the time for which a busy machine keeps a process waiting.

Paired: each request goes straight to a small upstream over its Unix socket, then through the gateway over TCP with its
key. Upstream and gateway are processes of their own; the upstream answers at once, so that what is measured is the way
there and back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil

from core.serving import profile, request_log
from core.serving.safety import BLOCK_LIST
from core.serving.settings import directory_of
from tests.core.serving.gateways import QUICK, make_settings, running

PAIRS = 400
WARM_UP = 20
CLIENTS = (1, 8, 32)
LOAD_REQUESTS = 600
PATTERNS = 200
WORDS = "say " + "the lamp glows when you add salt water " * 4
TOKENS = len(WORDS.split(" ")) - 2
PROMPT = "x" * 2000 + "\n" + WORDS


@dataclass(frozen=True)
class Started:
    """A gateway in another process."""

    port: int
    key: str
    upstream: str
    pid: int
    directory: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


def main() -> None:
    """Print what it adds, with safety off and with a block list, then the load, then README's table."""
    table = []
    for patterns in (0, PATTERNS):
        with _gateway(patterns) as gateway:
            table.append(asyncio.run(_paired(gateway, patterns)))
    for clients in CLIENTS:
        with _gateway(0) as gateway:
            table.append(asyncio.run(_load(gateway, clients)))
    print("\n".join(("| measured | p50 | p95 | |", "|---|---|---|---|", *table)))  # noqa: T201


@contextlib.contextmanager
def _gateway(patterns: int) -> Iterator[Started]:
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.gateway", str(patterns)],
            env={**os.environ, "FINETUI_HOME": home},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Started(told["port"], told["key"], told["upstream"], process.pid, Path(told["directory"]))
        process.stdin.close()
        assert process.wait() == 0


async def _serve(patterns: int) -> None:
    """The other process: a gateway until standard input closes; its prompts are held against a profile, as usual."""
    make_settings()
    profile.write({"lamp": profile.make(f"{WORDS} {number}" for number in range(200))}, directory_of("lamp"))
    if patterns:
        lines = [rf"\bword{number}[a-z]{{0,9}}\b" for number in range(patterns)]
        (directory_of("lamp") / BLOCK_LIST).write_text("\n".join(lines))
    limits = replace(QUICK, per_minute=10**7, burst=10**6, queue=64, idle_s=30.0)
    async with running(limits=limits, safety={"kind": "patterns" if patterns else "off"}) as gateway:
        await gateway.ask("say hi")
        upstream = str(gateway.serving.upstreams.all[0].spec.socket)
        told = {
            "port": gateway.port,
            "key": gateway.key,
            "upstream": upstream,
            "directory": str(gateway.directory),
        }
        print(json.dumps(told), flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)


@contextlib.asynccontextmanager
async def _client(gateway: Started) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{gateway.port}", headers=gateway.headers, timeout=60, trust_env=False
    ) as client:
        yield client


async def _paired(gateway: Started, patterns: int) -> str:
    transport = httpx.AsyncHTTPTransport(uds=gateway.upstream)
    pairs = []
    async with (
        httpx.AsyncClient(base_url="http://upstream", transport=transport, timeout=30) as direct,
        _client(gateway) as through,
    ):
        for _ in range(WARM_UP + PAIRS):
            straight = await _first_token_ms(direct, ".")
            pairs.append((straight, await _first_token_ms(through, "lamp")))
    pairs = pairs[WARM_UP:]
    added = [through_ms - straight_ms for straight_ms, through_ms in pairs]
    straight, through_it = zip(*pairs, strict=True)
    name = f"block list of {patterns} patterns" if patterns else "safety off"
    print(  # noqa: T201
        f"first token, {name}: straight p50 {_at(straight, 50):.2f} p95 {_at(straight, 95):.2f} ms, "
        f"through p50 {_at(through_it, 50):.2f} p95 {_at(through_it, 95):.2f} ms; "
        f"added p50 {_at(added, 50):.2f} p95 {_at(added, 95):.2f} ms, {len(added)} pairs"
    )
    kind = f"a block list of {patterns} patterns" if patterns else "safety off"
    figures = f"{_at(added, 50):.1f} ms | {_at(added, 95):.1f} ms | {len(added)} pairs"
    return f"| added to the first token, {kind} | {figures} |"


async def _first_token_ms(client: httpx.AsyncClient, model: str) -> float:
    messages = [{"role": "user", "content": PROMPT}]
    body = {"model": model, "messages": messages, "stream": True, "max_tokens": 100}
    began = time.perf_counter()
    found = 0.0
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        async for data in answer.aiter_bytes():
            if not found and b"the" in data:
                found = (time.perf_counter() - began) * 1000
    assert found
    return found


async def _load(gateway: Started, clients: int) -> str:
    """So many clients at once, each with the next request when its last is answered."""
    process = psutil.Process(gateway.pid)
    cpu_s, began = sum(process.cpu_times()[:2]), time.perf_counter()
    took: list[float] = []
    left = iter(range(LOAD_REQUESTS))

    async def ask() -> None:
        async with _client(gateway) as client:
            for _ in left:
                started = time.perf_counter()
                messages = [{"role": "user", "content": WORDS}]
                body = {"model": "lamp", "messages": messages, "max_tokens": 100}
                answer = await client.post("/v1/chat/completions", json=body)
                assert answer.status_code == 200, answer.text
                took.append((time.perf_counter() - started) * 1000)

    await asyncio.gather(*(ask() for _ in range(clients)))
    seconds = time.perf_counter() - began
    cpu_s = sum(process.cpu_times()[:2]) - cpu_s
    while len(found := request_log.entries(gateway.directory)) < LOAD_REQUESTS + 1:
        await asyncio.sleep(0.05)
    assert {entry.status for entry in found} == {200}
    print(  # noqa: T201
        f"load, {clients} clients, {LOAD_REQUESTS} requests of {TOKENS} tokens: {LOAD_REQUESTS / seconds:.0f} "
        f"requests/s, p50 {_at(took, 50):.1f} p95 {_at(took, 95):.1f} ms, none failed; the gateway "
        f"{cpu_s * 1000 / LOAD_REQUESTS:.1f} ms of a core a request, {process.memory_info().rss / 1e6:.0f} MB"
    )
    many = f"{clients} client{'' if clients == 1 else 's'}"
    return (
        f"| a request of {TOKENS} tokens, {many} | {_at(took, 50):.0f} ms | {_at(took, 95):.0f} ms | "
        f"{LOAD_REQUESTS / seconds:.0f} requests/s, none failed, {process.memory_info().rss / 1e6:.0f} MB |"
    )


def _at(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
