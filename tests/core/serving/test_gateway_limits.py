"""What a gateway bears: floods, huge and slow requests, clients that leave."""

from __future__ import annotations

import asyncio
import json
import socket

import orjson
import pytest

from core.serving.limits import Rate
from core.serving.request_log import entries
from core.serving.watch import summary
from tests.core.serving.gateways import running, until, with_limits


async def test_a_flood_is_turned_away_with_the_time_to_wait() -> None:
    async with running(**with_limits(per_minute=6, burst=3)) as gateway:
        answers = [await gateway.http.get("/v1/models", headers=gateway.headers) for _ in range(8)]
        assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 5
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
        assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"
        wrong = await gateway.http.get("/v1/models", headers={"authorization": "Bearer x"})
        assert wrong.status_code == 429  # keys can't be tried faster either
        forged = {**gateway.headers, "x-forwarded-for": "10.1.2.3"}
        assert (await gateway.http.get("/v1/models", headers=forged)).status_code == 429
        assert (await gateway.local.get("/v1/models")).status_code == 200


def test_a_minute_s_requests_may_come_at_once_and_come_back_evenly() -> None:
    now = [0.0]
    rate = Rate(20, 20, lambda: now[0])
    assert [rate.take("one") for _ in range(21)] == [0] * 20 + [3]
    now[0] = 3.0
    assert (rate.take("one"), rate.take("one")) == (0, 3)
    now[0] = 1000.0
    assert [rate.take("one") for _ in range(21)] == [0] * 20 + [3]  # never more than that


async def test_a_flood_leaves_few_entries_in_the_log_and_all_of_it_in_the_sums() -> None:
    async with running(**with_limits(per_minute=1, burst=6)) as gateway:
        for _ in range(5):
            await gateway.http.get("/v1/models", headers={"authorization": "Bearer wrong"})
        for _ in range(50):
            await gateway.http.get("/v1/models", headers=gateway.headers)
    found = entries(gateway.directory)
    assert {entry.error for entry in found} == {"invalid_api_key", "rate_limit_exceeded"}
    assert len(found) < 20
    sums = summary(gateway.directory, gateway.settings)
    assert sums.turned_away == {"rate_limit_exceeded": 49, "invalid_api_key": 5}
    assert (sums.requests, sums.errors) == (54, 54)


async def test_more_connections_than_the_deployment_bears_are_answered_counted_and_closed() -> None:
    async with running(**with_limits(connections=3, header_s=30.0)) as gateway:
        await gateway.ask("say hi")
        held = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(3)]
        await until(lambda: gateway.serving.connections() == 3)
        answer = await gateway.http.get("/v1/models", headers=gateway.headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "too_many_connections")
        assert answer.headers["connection"] == "close" and answer.headers["retry-after"] == "1"
        assert (await gateway.local.get("/v1/models")).status_code == 200  # this user's own way in is another
        for _, writer in held:
            writer.close()
        await until(lambda: not gateway.serving.connections())
        assert (await gateway.http.get("/v1/models", headers=gateway.headers)).status_code == 200
    assert summary(gateway.directory, gateway.settings).turned_away == {"too_many_connections": 1}


async def test_too_many_waiting_requests_are_turned_away() -> None:
    async with running(**with_limits(queue=1)) as gateway:
        await gateway.ask("say hi")
        slow = [asyncio.ensure_future(gateway.ask("wait 1\nsay done")) for _ in range(2)]
        await until(lambda: gateway.serving.upstreams.all[0].active == 2)
        answer = await gateway.ask("say hi")
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
        assert int(answer.headers["retry-after"]) > 0
        assert (await gateway.ask("say hi", model="other")).status_code == 200  # another model is free
        assert [(await item).json()["choices"][0]["message"]["content"] for item in slow] == ["done "] * 2


@pytest.mark.parametrize("declared", [True, False])
async def test_a_huge_body_is_refused_before_it_is_read(declared: bool) -> None:
    async with running(**with_limits(body_bytes=10_000)) as gateway:
        content = orjson.dumps({"model": "lamp", "messages": [{"role": "user", "content": "x" * 50_000}]})

        async def pieces() -> object:
            for start in range(0, len(content), 1000):
                yield content[start : start + 1000]

        answer = await gateway.local.post("/v1/chat/completions", content=content if declared else pieces())
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        assert gateway.seen() == []
        entry = (await gateway.logged(1))[0]
        assert (entry.status, entry.error) == (413, "too_large")


async def test_a_client_that_leaves_ends_the_work_on_its_reply() -> None:
    async with running() as gateway:
        for streamed in (True, False):
            (gateway.folder() / "cancelled").unlink(missing_ok=True)
            body = {
                "model": "lamp",
                "stream": streamed,
                "messages": [{"role": "user", "content": "say one\nwait 20\nsay two"}],
            }
            if streamed:
                async with gateway.local.stream("POST", "/v1/chat/completions", json=body) as answer:
                    async for line in answer.aiter_lines():
                        assert "two" not in line
                        if "one" in line:
                            break
            else:
                asked = asyncio.ensure_future(gateway.local.post("/v1/chat/completions", json=body))
                await until(lambda: len(gateway.seen()) == 2)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            await until((gateway.folder() / "cancelled").exists)
        found = await gateway.logged(2)
        assert [(entry.status, entry.error) for entry in found] == [(499, "client_left")] * 2
        assert [entry.completion_tokens for entry in found] == [1, 1]
        assert (await gateway.ask("say hi")).status_code == 200  # its turn was given back


async def test_a_client_that_waits_in_the_queue_and_leaves_is_forgotten() -> None:
    async with running() as gateway:
        first = asyncio.ensure_future(gateway.ask("wait 1\nsay done"))
        await until(lambda: len(gateway.seen()) == 1)
        second = asyncio.ensure_future(gateway.ask("say never"))
        await until(lambda: gateway.serving.upstreams.all[0].active == 2)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await until(lambda: gateway.serving.upstreams.all[0].active == 1)
        assert (await first).status_code == 200
        assert len(gateway.seen()) == 1


async def raw(gateway: object, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """What comes back for bytes sent over the Unix socket, until the gateway closes."""
    reader, writer = await asyncio.open_unix_connection(str(gateway.settings.socket))  # type: ignore[attr-defined]
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        return await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_head_that_comes_too_slowly_is_not_waited_for() -> None:
    async with running() as gateway:
        assert await raw(gateway) == b""  # a connection without a byte
        assert await raw(gateway, *[b"x"] * 20, pause_s=0.1) == b""
        head = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
        answer = await raw(gateway, head, b"GET /v1/mod", pause_s=0.1)  # a second one on the same connection
        assert answer.count(b"HTTP/1.1 200") == 1


async def test_a_body_that_stops_coming_is_answered_and_left() -> None:
    async with running() as gateway:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
        reader, writer = await asyncio.open_unix_connection(str(gateway.settings.socket))
        writer.write(head)
        answer = await asyncio.wait_for(reader.readuntil(b"}}"), 30)
        assert answer.startswith(b"HTTP/1.1 408")
        writer.close()
        assert (await gateway.logged(1))[0].error == "timeout"


async def test_a_head_that_is_too_long_is_refused() -> None:
    async with running() as gateway:
        answer = await raw(gateway, b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 100_000)
        assert answer[:12] in (b"HTTP/1.1 400", b"")


async def test_a_client_that_takes_nothing_is_left_and_its_model_is_free_again() -> None:
    async with running() as gateway:
        reader, writer = await asyncio.open_unix_connection(str(gateway.settings.socket))
        transport = writer.get_extra_info("socket")
        transport.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        words = "say " + " ".join(["glows" * 100] * 1500)
        body = json.dumps({"model": "lamp", "stream": True, "messages": [{"role": "user", "content": words}]})
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body.encode())
        entry = (await gateway.logged(1))[0]
        assert (entry.status, entry.error) == (499, "client_left")
        await until((gateway.folder() / "cancelled").exists)
        writer.close()
