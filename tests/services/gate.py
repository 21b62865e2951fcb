"""A gate before a server that keeps all in memory: where the gate is shut the server is away, and forgets nothing.

``python gate.py LISTEN TARGET`` hands every connection to 127.0.0.1:LISTEN on to 127.0.0.1:TARGET.
"""

from __future__ import annotations

import asyncio
import sys

_CHUNK_BYTES = 65_536


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return  # one end is gone, and so is the other when this returns
    finally:
        writer.close()


async def _main(listen: int, target: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            further, back = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, back), _pump(further, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", listen)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
