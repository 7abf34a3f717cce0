"""The pipes between the app and its helper processes, with real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import pipes
from core.pipes import PipeClient, PipeError
from core.runs.process import Identity

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[PipeClient]:
    client = PipeClient("tests.core.pipe_worker", tmp_path / "worker.log")
    yield client
    await client.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def refused(client: PipeClient, op: str, **arguments: Any) -> PipeError:
    with pytest.raises(PipeError) as error:
        await client.call(op, **arguments)
    return error.value


async def test_chunks_come_in_order_and_then_the_result(client: PipeClient) -> None:
    frames = [frame async for frame in client.stream("count", to=500)]
    assert frames == [*(("chunk", number) for number in range(500)), ("result", "counted")]
    assert await client.call("count", to=3) == "counted"


@pytest.mark.parametrize("value", [None, 0, "", "a\nb\r\u2028\0", [1, {"é": [None]}], 1.5])
async def test_values_arrive_as_they_were_sent(client: PipeClient, value: Any) -> None:
    assert await client.call("echo", value=value) == value


async def test_lines_far_longer_than_a_pipe_s_buffer_arrive(client: PipeClient) -> None:
    text = "é\n" * (1 << 20)
    assert await client.call("echo", value=text) == text


async def test_leaving_the_loop_reaches_the_worker(client: PipeClient, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with contextlib.aclosing(client.stream("endless", trace=str(trace))) as frames:
        async for _, value in frames:
            if value == 3:
                break
    assert await client.call("echo", value=1) == 1  # it is free again
    assert trace.read_text() in ("cancelled", "closed")


async def test_a_handler_that_never_asks_is_closed_between_chunks(client: PipeClient, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with contextlib.aclosing(client.stream("careless", trace=str(trace))) as frames:
        async for _ in frames:
            break
    assert await client.call("echo", value=1) == 1
    assert trace.read_text() == "closed"


async def test_a_cancelled_task_cancels_its_request(client: PipeClient, tmp_path: Path) -> None:
    pid = await client.call("pid")
    task = asyncio.create_task(client.call("wait_for", file=str(tmp_path / "never")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await client.call("pid") == pid  # served: nobody waits for the file any more


async def test_a_request_given_up_before_its_turn_is_not_served(client: PipeClient, tmp_path: Path) -> None:
    pid = await client.call("pid")  # request 1
    first = asyncio.create_task(client.call("until_given_up", target=3))  # request 2 keeps 3 waiting
    second = asyncio.create_task(client.call("endless", trace=str(tmp_path / "trace")))
    await until(lambda: client._worker is not None and len(client._worker.waiting) == 2)
    second.cancel()
    assert await first == "given up"
    assert second.done()
    assert await client.call("pid") == pid
    assert not (tmp_path / "trace").exists()


async def test_requests_at_once_each_get_their_own_answers(client: PipeClient) -> None:
    answers = await asyncio.gather(*(client.call("echo", value=number) for number in range(200)))
    assert answers == list(range(200))
    streams = await asyncio.gather(*(_all(client, to) for to in (5, 50, 0)))
    assert streams == [list(range(5)), list(range(50)), []]


async def _all(client: PipeClient, to: int) -> list[int]:
    return [value async for kind, value in client.stream("count", to=to) if kind == "chunk"]


async def test_an_error_keeps_its_three_parts(client: PipeClient) -> None:
    error = await refused(client, "told")
    assert (error.what, error.next_step) == ("What went wrong.", "What to do.")
    assert error.cause == "Why ? it did."  # a file name that is no Unicode must not end the worker
    assert await client.call("echo", value=1) == 1


async def test_a_bug_is_told_as_one_and_the_log_has_its_trace(client: PipeClient) -> None:
    error = await refused(client, "bug")
    assert error.what == "ZeroDivisionError: oh"
    assert "unexpected" in error.cause
    assert "Traceback" in client.log.read_text()
    assert stat.S_IMODE(client.log.stat().st_mode) == 0o600
    assert await client.call("echo", value=1) == 1


@pytest.mark.parametrize("what", ["object", "surrogate", "huge"])
async def test_an_answer_that_can_t_be_sent_is_an_error_not_the_end(client: PipeClient, what: str) -> None:
    pid = await client.call("pid")
    assert "TypeError" in (await refused(client, "odd", what=what)).what
    assert await client.call("pid") == pid


async def test_not_a_number_arrives_as_none(client: PipeClient) -> None:
    assert await client.call("odd", what="nan") is None


async def test_wrong_requests_are_errors(client: PipeClient) -> None:
    assert "does not know" in (await refused(client, "nonesuch")).what
    assert "TypeError" in (await refused(client, "echo", wrong=1)).what
    assert "can't be sent" in (await refused(client, "echo", value="\udcff")).what
    assert await client.call("echo", value=1) == 1


async def test_stray_prints_go_to_the_log_and_not_between_the_frames(client: PipeClient) -> None:
    frames = [frame async for frame in client.stream("chatter")]
    assert frames == [("chunk", "a"), ("chunk", "b"), ("result", "done")]
    assert client.log.read_text().count("forged") == 3


async def test_a_worker_that_shouts_before_its_first_frame_is_ended_and_told_of(
    client: PipeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPE_WORKER_SHOUTS", "1")
    assert "ended" in (await refused(client, "echo")).what


async def test_a_worker_that_dies_in_its_answer_is_told_and_started_anew(client: PipeClient) -> None:
    first = await client.call("pid")
    seen = []
    with pytest.raises(PipeError) as error:
        async for kind, value in client.stream("die"):
            seen.append((kind, value))
    assert seen == [("chunk", "last words")]
    assert "ended" in error.value.what
    assert str(client.log) in error.value.cause
    assert error.value.next_step
    assert await client.call("pid") != first


async def test_all_that_wait_are_told_when_the_worker_is_killed(client: PipeClient, tmp_path: Path) -> None:
    pid = await client.call("pid")
    waiting = [asyncio.create_task(client.call("wait_for", file=str(tmp_path / "never"))) for _ in range(3)]
    await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    for answer in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(answer, PipeError)
    assert await client.call("echo", value="again") == "again"


async def test_a_module_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    client = PipeClient("tests.core.nonesuch", tmp_path / "worker.log")
    assert "ended" in (await refused(client, "echo")).what
    assert "nonesuch" in client.log.read_text()
    await client.close()


async def test_a_log_that_can_t_be_written_is_an_error(tmp_path: Path) -> None:
    client = PipeClient("tests.core.pipe_worker", tmp_path)
    error = await refused(client, "echo")
    assert "can't be started" in error.what
    assert error.next_step


@pytest.mark.parametrize("op", ["endless", "deaf"])
async def test_close_leaves_no_process_and_ends_what_waits_as_cancelled(
    client: PipeClient, tmp_path: Path, op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "CLOSE_S", 0.2 if op == "deaf" else PATIENCE_S)
    worker = Identity.of(await client.call("pid"))
    arguments = {"trace": str(tmp_path / "trace")} if op == "endless" else {}
    seen: list[Any] = []

    async def listen() -> None:
        async for _, value in client.stream(op, **arguments):
            seen.append(value)

    busy = [asyncio.create_task(listen()), asyncio.create_task(client.call("echo"))]
    await until(lambda: seen)
    await client.close()
    assert not worker.alive()
    await asyncio.gather(*busy, return_exceptions=True)
    assert all(task.cancelled() for task in busy)
    await client.close()  # again: nothing to do
    assert await client.call("echo", value=1) == 1


async def test_close_while_it_starts_leaves_no_process(client: PipeClient) -> None:
    task = asyncio.create_task(client.call("pid"))
    await asyncio.sleep(0)
    await client.close()
    (answer,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(answer, int):  # it was quick enough to answer before it went
        assert not Identity.of(answer).start
    else:
        assert isinstance(answer, asyncio.CancelledError | PipeError)
    assert client._worker is None


@pytest.mark.parametrize("op", ["endless", "deaf"])
def test_a_worker_ends_when_its_app_is_gone(tmp_path: Path, op: str) -> None:
    leave_s = 60.0 if op == "endless" else 0.2  # the first leaves long before that
    code = f"import tests.core.pipe_worker as w; w.pipes.LEAVE_S = {leave_s}; w.pipes.serve(w.HANDLERS)"
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None
    assert worker.stdout is not None
    arguments = b', "trace": "%b"' % str(tmp_path / "trace").encode() if op == "endless" else b""
    worker.stdin.write(b'{"id": 1, "op": "pid"}\n{"id": 2, "op": "%b"%b}\n' % (op.encode(), arguments))
    worker.stdin.flush()
    assert b"result" in worker.stdout.readline()
    assert b"chunk" in worker.stdout.readline()
    worker.stdin.close()
    worker.stdout.read()
    status = worker.wait(PATIENCE_S)
    # the deaf one leaves by itself when its input closed before it went deaf
    assert status in ((0,) if op == "endless" else (0, 1))
    worker.stdout.close()
