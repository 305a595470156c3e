"""A proxy before PostgreSQL that loses requests or replies, and then the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

_SYNC = b"S\0\0\0\4"
_LONG = 1500  # bytes: an append carries sealed views


@dataclass
class CuttingProxy:
    """Passes bytes both ways, but for what it is told to lose."""

    dsn: str
    lose_requests: bool = False
    lose_replies: bool = False
    # Keep back the Sync that ends a statement, as a worker does that is stopped between two writes.
    lose_ends: bool = False
    refuse: bool = False
    # Whether what was lost held more than a look-up does.
    lost_append: bool = False
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Break every connection, and lose nothing more."""
        self.lose_requests = self.lose_replies = self.lose_ends = False
        self.lost.clear()
        self.lost_append = False
        for writer in list(self._open):
            writer.transport.abort()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upwards: bool) -> None:
        """Carry bytes one way until either end is gone."""
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.lose_requests if upwards else self.lose_replies:
                    self.lost.set()
                    self.lost_append = self.lost_append or (upwards and len(data) > _LONG)
                    continue
                if upwards and self.lose_ends and data.endswith(_SYNC):
                    self.lost.set()
                    data = data.removesuffix(_SYNC)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def cutting_proxy(dsn: str, folder: Path) -> AsyncIterator[CuttingProxy]:
    """A proxy to the server of `dsn`, over the same kind of socket; its own DSN is `.dsn`."""
    url = urlsplit(dsn)
    socket = parse_qs(url.query).get("host", [""])[0]
    proxy = CuttingProxy("")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(down: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if proxy.refuse:
            client.transport.abort()
            return
        if socket:
            up, server = await asyncio.open_unix_connection(f"{socket}/.s.PGSQL.5432")
        else:
            up, server = await asyncio.open_connection(url.hostname, url.port)
        proxy._open |= {client, server}
        for pump in (proxy.pump(down, server, True), proxy.pump(up, client, False)):
            task = asyncio.get_running_loop().create_task(pump)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    if socket:
        listener = await asyncio.start_unix_server(serve, folder / ".s.PGSQL.5432")
        proxy.dsn = url._replace(query=f"host={quote(str(folder))}&port=5432").geturl()
    else:
        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        proxy.dsn = url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{port}").geturl()
    try:
        yield proxy
    finally:
        listener.close()
        proxy.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
