"""A CONNECT proxy: names under `.localhost` lead to 127.0.0.1, everything else is refused with 403.

`*.localhost` does not resolve on every machine, and nothing that the SDKs do may leave this one.
"""

from __future__ import annotations

import asyncio
import contextlib

from tests.azure_emulator.faults import Faults


class Proxy:
    """Listens on a free port of the loop that starts it."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._server: asyncio.Server | None = None
        self._tunnels: set[asyncio.Task[None]] = set()
        self.port = 0
        self.refused: list[str] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for tunnel in list(self._tunnels):
            tunnel.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tunnels.add(task)
        try:
            await self._tunnel(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            self._tunnels.discard(task)
            writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target = (head.split(" ", 2) + [""])[:2]
        host, _, port = target.rpartition(":")
        fault = self._faults.take("CONNECT", target)
        if self._faults.network_is_gone or (fault and fault.kind in ("reset", "lost_answer")):
            writer.transport.abort()
            return
        if fault and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        local = host == "localhost" or host.endswith(".localhost")
        if method != "CONNECT" or not local or not port.isdigit():
            self.refused.append(target)
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        try:
            await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))
        finally:
            far_writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(1 << 16):
            if self._faults.network_is_gone:
                raise ConnectionResetError("the network is gone")
            writer.write(part)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof() if writer.can_write_eof() else writer.close()
