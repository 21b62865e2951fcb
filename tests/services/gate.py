"""A gate before a server that keeps all in memory: where the gate is shut the server is away, and forgets nothing.

``python gate.py LISTEN TARGET`` hands every connection to 127.0.0.1:LISTEN on to 127.0.0.1:TARGET. SIGUSR1 shuts it:
nobody can connect, and connections are cut; answers that are on their way are lost. SIGUSR2 opens it again, once the
server has answered what it was asked before: a request whose asker is gone must not take what is sent later.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress

_CHUNK_BYTES = 65_536
#: What waits longer for an answer was asked by tests before, of queues that nobody uses any more.
_LONGEST_SECONDS = 11.0


class Connection:
    """One connection, and the server's end of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        #: Set while the server owes no answer.
        self.answered = asyncio.Event()
        self.answered.set()

    async def serve(self, target: int) -> None:
        """Hand bytes on in both directions until both ends are gone."""
        try:
            back_reader, back = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            self._writer.close()
            return
        asking = asyncio.create_task(self._ask(back))
        with suppress(ConnectionError):
            while data := await back_reader.read(_CHUNK_BYTES):
                self.answered.set()
                if self._writer.is_closing():
                    break
                self._writer.write(data)
                await self._writer.drain()
        self.answered.set()
        asking.cancel()
        self._writer.close()
        back.close()

    def cut(self) -> None:
        """Let go of the client; the server may still answer."""
        self._writer.transport.abort()

    async def _ask(self, back: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await self._reader.read(_CHUNK_BYTES):
                self.answered.clear()
                back.write(data)
                await back.drain()
        if self.answered.is_set():
            back.close()


class Gate:
    """Open at first."""

    def __init__(self, listen: int, target: int) -> None:
        self._listen = listen
        self._target = target
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Let clients in."""
        if self._connections:
            await asyncio.wait(
                [asyncio.create_task(each.answered.wait()) for each in self._connections], timeout=_LONGEST_SECONDS
            )
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._listen)

    def shut(self) -> None:
        """Let nobody in, and everybody out."""
        if self._server is not None:
            self._server.close()
        for each in self._connections:
            each.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self._connections.add(connection)
        try:
            await connection.serve(self._target)
        finally:
            self._connections.discard(connection)


async def _main(listen: int, target: int) -> None:
    gate, loop, opening = Gate(listen, target), asyncio.get_running_loop(), set[asyncio.Task[None]]()
    loop.add_signal_handler(signal.SIGUSR1, gate.shut)
    loop.add_signal_handler(signal.SIGUSR2, lambda: opening.add(loop.create_task(gate.open())))
    await gate.open()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
