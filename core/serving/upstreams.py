"""The processes behind a gateway: one for each set of weights, started when it is needed and memory allows.

A process that ends by itself is started again, later each time. One that has nothing to do makes room for another
when memory is short, the one used longest ago first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx

from core import devices
from core.serving import vllm
from core.serving.placing import VALUE_BYTES, expected_precision
from core.serving.settings import Limits, ServedModel, Settings
from core.serving.upstream import MODEL
from core.serving.wire import Refused

BESIDE_WEIGHTS_BYTES = 700 << 20
"""Python, torch and a conversation's keys and values: SmolLM2's process holds 480 MB beside its weights."""
WEIGHTS_FACTOR = 1.1
BACK_OFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
STEADY_S = 120.0
"""A process that lived so long had no reason to fail."""
PROBE_S = 0.05
END_S = 5.0
RETRY_S = 5
TRANSFORMERS_SLOTS = 1
"""It computes one reply at a time; waiting here keeps the order and lets a client that leaves be forgotten."""
VLLM_SLOTS = 64


@dataclass(frozen=True)
class Spec:
    """What to start.

    Args:
        name: of the log file and in messages.
        command: its words.
        socket: where it is going to listen.
        needed_bytes: of memory; 0 for an engine that sees to its memory itself.
        slots: requests at the same time.
        models: what its models are called here, and there.
    """

    name: str
    command: tuple[str, ...]
    socket: Path
    needed_bytes: int
    slots: int
    models: dict[str, str]


def specs(settings: Settings, sockets: Path) -> list[Spec]:
    """The processes of a deployment."""
    if settings.engine == "vllm":
        return _vllm_specs(settings.models, settings.limits.max_tokens, sockets)
    return [
        Spec(
            name=model.name,
            command=(sys.executable, "-P", "-u", "-m", "core.serving.upstream", model.folder, str(socket)),
            socket=socket,
            needed_bytes=int(_weights_bytes(model) * WEIGHTS_FACTOR) + BESIDE_WEIGHTS_BYTES,
            slots=TRANSFORMERS_SLOTS,
            models={model.name: MODEL},
        )
        for number, model in enumerate(settings.models)
        if (socket := sockets / f"m{number}")
    ]


def _weights_bytes(model: ServedModel) -> int:
    """Of a model's weights in memory, in the format that it computes in there."""
    return model.parameters * VALUE_BYTES[expected_precision()] if model.parameters else model.bytes


def _vllm_specs(models: Sequence[ServedModel], max_tokens: int, sockets: Path) -> list[Spec]:
    found = []
    folders = dict.fromkeys(model.adapter_on or model.folder for model in models)
    for number, folder in enumerate(folders):
        whole = next((model.name for model in models if model.folder == folder), f"weights-{number}")
        adapters = [(model.name, model.folder) for model in models if model.adapter_on == folder]
        names = [name for name, _ in adapters] + [model.name for model in models if model.folder == folder]
        socket = sockets / f"m{number}"
        words = vllm.command(whole, folder, adapters, socket, max_tokens)
        found.append(Spec(whole, words, socket, 0, VLLM_SLOTS, {name: name for name in names}))
    return found


@dataclass
class Upstream:
    """One process, or the place for one.

    Attributes:
        state: `cold` (not started), `starting`, `ready`, or `waiting` (it failed and is started again later).
        active: requests that have it or wait for it.
        reason: why it failed last.
    """

    spec: Spec
    state: str = "cold"
    active: int = 0
    used: float = 0.0
    failures: int = 0
    restarts: int = 0
    reason: str = ""
    retry_at: float = 0.0
    started: float = 0.0
    process: asyncio.subprocess.Process | None = None
    client: httpx.AsyncClient | None = None
    loading: asyncio.Task[None] | None = None
    again: asyncio.Task[None] | None = None
    slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.spec.slots)

    def as_status(self) -> dict[str, Any]:
        """For status.json."""
        pid = self.process.pid if self.process is not None else 0
        return {"state": self.state, "pid": pid, "restarts": self.restarts, "reason": self.reason}


class Upstreams:
    """All processes of one gateway.

    Args:
        found: what to start.
        logs: folder of their logs.
        limits: of the deployment.
        changed: called when a state has changed.
        free_bytes: memory that can be had now.
    """

    def __init__(
        self,
        found: Sequence[Spec],
        logs: Path,
        limits: Limits,
        changed: Callable[[], None],
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        self.all = [Upstream(spec) for spec in found]
        self._by_model = {name: item for item in self.all for name in item.spec.models}
        self._logs = logs
        self._limits = limits
        self._changed = changed
        self._free_bytes = free_bytes or free_memory
        self._starting = asyncio.Lock()
        self._waiting = 0
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    # For requests

    @contextlib.asynccontextmanager
    async def turn(self, model: str) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
        """A request's turn with a model: its process and what the model is called there.

        Raises:
            Refused: too many wait already, or the process can't be had.
        """
        upstream = self._by_model[model]
        if upstream.slots.locked() and self._waiting >= self._limits.queue:
            raise Refused(429, "queue_full", "Too many requests wait for a model.", retry_after=RETRY_S)
        upstream.active += 1
        try:
            self._waiting += 1
            try:
                await upstream.slots.acquire()
            finally:
                self._waiting -= 1
            try:
                client = await self.ready(upstream)
                yield client, upstream.spec.models[model]
            finally:
                upstream.slots.release()
        finally:
            upstream.active -= 1
            upstream.used = time.monotonic()

    async def ready(self, upstream: Upstream) -> httpx.AsyncClient:
        """Start a process if need be and wait until it answers.

        Raises:
            Refused: it failed just now, or there is too little memory.
        """
        if upstream.state == "ready" and upstream.client is not None:
            return upstream.client
        if upstream.state == "waiting":
            left = max(1, round(upstream.retry_at - time.monotonic()))
            raise Refused(
                503, "model_failed", f"The model's process ended: {upstream.reason}", retry_after=left
            )
        if upstream.loading is None or upstream.loading.done():
            upstream.loading = self._task(self._load(upstream))
        await asyncio.shield(upstream.loading)  # a client that leaves doesn't undo what others wait for
        if upstream.state != "ready" or upstream.client is None:
            raise Refused(
                503, "model_failed", f"The model can't be loaded: {upstream.reason}", retry_after=RETRY_S
            )
        return upstream.client

    async def warm(self) -> None:
        """Start all that fit into memory, one after the other."""
        for upstream in self.all:
            with contextlib.suppress(Refused):  # its reason is in the status
                await self.ready(upstream)

    # Starting and ending

    def _task(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _set(self, upstream: Upstream, state: str, reason: str = "") -> None:
        upstream.state, upstream.reason = state, reason
        self._changed()

    async def _load(self, upstream: Upstream) -> None:
        async with self._starting:  # two at once would count the same memory twice
            if self._closed:
                return
            if not await self._make_room(upstream):
                return
            self._set(upstream, "starting")
            upstream.spec.socket.unlink(missing_ok=True)
            try:
                with self._log(upstream.spec.name) as log:
                    upstream.process = await asyncio.create_subprocess_exec(
                        *upstream.spec.command,
                        stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
                    )  # fmt: skip
            except OSError as error:
                self._fail(upstream, str(error))
                return
            upstream.started = time.monotonic()
            await self._until_answers(upstream, upstream.process)

    def _log(self, name: str) -> IO[bytes]:
        path = self._logs / f"upstream-{name}.log"
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    async def _until_answers(self, upstream: Upstream, process: asyncio.subprocess.Process) -> None:
        transport = httpx.AsyncHTTPTransport(uds=str(upstream.spec.socket))
        timeout = httpx.Timeout(self._limits.silent_s, connect=5.0, pool=None)
        client = httpx.AsyncClient(
            transport=transport, base_url="http://upstream", timeout=timeout, trust_env=False
        )
        end = time.monotonic() + self._limits.start_s
        while process.returncode is None and time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):  # not there yet
                if (await client.get("/health")).status_code == 200:
                    upstream.client = client
                    self._set(upstream, "ready")
                    self._task(self._watch(upstream, process))
                    return
            await asyncio.sleep(PROBE_S)
        await client.aclose()
        if process.returncode is None:
            await _end(process)
            self._fail(upstream, f"it did not answer within {self._limits.start_s:g} s")
        else:
            self._fail(upstream, self._last_words(upstream, process.returncode))

    async def _watch(self, upstream: Upstream, process: asyncio.subprocess.Process) -> None:
        """Wait for a process that answered to end; when nobody ended it, see to the next."""
        code = await process.wait()
        if upstream.process is not process:
            return
        if time.monotonic() - upstream.started >= STEADY_S:
            upstream.failures = 0
        await self._drop_client(upstream)
        self._fail(upstream, self._last_words(upstream, code))

    def _fail(self, upstream: Upstream, reason: str) -> None:
        upstream.process = None
        upstream.failures += 1
        delay = BACK_OFF_S[min(upstream.failures, len(BACK_OFF_S)) - 1]
        upstream.retry_at = time.monotonic() + delay
        self._set(upstream, "waiting", reason)
        print(f"{upstream.spec.name}: {reason}; again in {delay:g} s", file=sys.stderr)  # noqa: T201
        if not self._closed:
            upstream.again = self._task(self._start_again(upstream, delay))

    async def _start_again(self, upstream: Upstream, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        upstream.restarts += 1
        upstream.loading = self._task(self._load(upstream))

    def _last_words(self, upstream: Upstream, code: int) -> str:
        from core.serving.deployments import log_tail

        tail = log_tail(self._logs / f"upstream-{upstream.spec.name}.log", 1)
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        return f"it ended {how}" + (f" ({tail[0][:200]})" if tail and code > 0 else "")

    async def _make_room(self, upstream: Upstream) -> bool:
        """See that the weights fit into memory, ending idle processes for it; False when they don't."""
        needed = upstream.spec.needed_bytes
        while needed and (free := await asyncio.to_thread(self._free_bytes)) < needed:
            idle = [item for item in self.all if item.state == "ready" and item.active == 0]
            if not idle:
                words = f"{needed / 1e9:.1f} GB of memory are needed and {free / 1e9:.1f} GB are free"
                self._set(upstream, "cold", words)
                return False
            await self._evict(min(idle, key=lambda item: item.used))
        return True

    async def _evict(self, upstream: Upstream) -> None:
        process, upstream.process = upstream.process, None
        self._set(upstream, "cold")
        await self._drop_client(upstream)
        if process is not None:
            await _end(process)

    async def _drop_client(self, upstream: Upstream) -> None:
        client, upstream.client = upstream.client, None
        if client is not None:
            await client.aclose()

    async def close(self) -> None:
        """End all processes."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._evict(upstream) for upstream in self.all))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close a process's input, which ends it, then insist."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), END_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):  # it has just gone
            process.kill()
        await process.wait()


def free_memory() -> int:
    """Bytes that a model's process could have now: of the GPU with most, else of the machine."""
    gpus = devices.gpus()
    return max(gpu.free_bytes for gpu in gpus) if gpus else devices.memory("cpu")[0]
