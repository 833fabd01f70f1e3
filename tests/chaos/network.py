"""A network that can be cut: a TCP proxy between some workers and the server."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any

AT_ONCE = struct.pack("ii", 1, 0)
"""Close by a reset, whatever has not been sent."""


class Network:
    """Forwards connections on a port of its own, from a thread of its own, until it is cut.

    `hold()` is a cable pulled out: nothing arrives, nobody is told; what was sent is lost with its connection when the
    network is back. `refuse()` is a host that is gone: connections are reset, new ones refused.
    """

    def __init__(self, port: int) -> None:
        self._to_port = port
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._wait(self._listen())

    def hold(self) -> None:
        """Let nothing through, in silence."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def refuse(self) -> None:
        """Reset every connection and take no new one."""
        self._wait(self._refuse())

    def heal(self) -> None:
        """Let new connections through; those of before are broken."""
        self._wait(self._heal())

    def close(self) -> None:
        """End it."""
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _wait(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._reset()

    async def _end(self) -> None:
        await self._refuse()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _heal(self) -> None:
        self._reset()
        self._flows.set()
        if self._server is None:
            await self._listen()

    def _reset(self) -> None:
        for writer in self._open:
            with contextlib.suppress(OSError):  # one that has ended by itself
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            writer.transport.abort()
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._flows.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.transport.abort()
            return
        self._open.add(far_writer)
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._open -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()
