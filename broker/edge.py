"""Everything of one process that is open to the outside, and how it closes in good order.

Owns the ports: one pair that is this worker's alone, and, where several share a machine, the pair that they
share. Refuses to drop work: when it closes, new work is led to other workers and what is in flight is answered,
within a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import grpc
from starlette.types import ASGIApp

from broker.config import CONNECTION_SECONDS
from broker.console.server import HttpsServer
from broker.links import Links
from broker.pki.tls import TlsFiles
from broker.rpc.draining import finish, until
from broker.rpc.exchange import ExchangeServicer
from broker.rpc.server import GrpcServer
from broker.workers import Workers


class Edge:
    """Opens ports, says whether they are healthy, and closes them. `add` registers servicers on a server."""

    def __init__(
        self,
        files: TlsFiles,
        host: str,
        add: Callable[[grpc.aio.Server], None],
        app: ASGIApp,
        workers: Workers,
        links: Links,
        exchange: ExchangeServicer,
        age: float = CONNECTION_SECONDS,
    ) -> None:
        self._age = age
        self._files = files
        self._host = host
        self._add = add
        self._app = app
        self._workers = workers
        self._links = links
        self._exchange = exchange
        self._grpc: list[GrpcServer] = []
        self._https: list[HttpsServer] = []

    async def listen(self, grpc_port: int, http_port: int, *, shared: bool) -> tuple[int, int]:
        """Open a pair of ports, not healthy yet; the real ones (0 takes a free one). Raises SetupError."""
        server = GrpcServer(self._files, self._host, grpc_port, self._add, shared=shared, age=self._age)
        self._grpc.append(server)
        await server.start()
        https = await HttpsServer.start(self._app, self._files, self._host, http_port, reuse_port=shared)
        self._https.append(https)
        return server.port, https.port

    def reachable_at(self, host: str, port: int) -> None:
        """From now on this worker alone can be dialled there; nowhere, where `host` is empty."""
        if host:
            self._workers.own = replace(self._workers.own, address=f"{host}:{port}")

    async def say(self, ready: bool) -> None:
        """Set the health of every port."""
        for server in self._grpc:
            await server.say(ready=ready)

    async def drain(self, within: float) -> None:
        """Lead new work to other workers, then finish what is in flight within so many seconds, and close."""
        await self._workers.drain()
        await self._lead_away()
        deadline = asyncio.get_running_loop().time() + within
        self._links.drain()
        for server in self._grpc:
            await server.close(within)
        pages = asyncio.gather(*(server.stop() for server in self._https))
        await finish(lambda: self._exchange.sessions, deadline)
        await until(lambda: not self._exchange.calls and self._links.idle, deadline)
        await pages
        await self.stop()

    async def _lead_away(self) -> None:
        """Serve on without taking connections until no client calls here any more; not where all are going."""
        loop = asyncio.get_running_loop()
        if self._workers.live:
            led = loop.time() + max([await server.lead_away() for server in self._grpc], default=0.0)
            await until(lambda: not self._workers.live, led)

    async def stop(self) -> None:
        """Close what is still open, at once. Idempotent."""
        self._links.end()
        pages = asyncio.gather(*(server.stop() for server in self._https))
        await asyncio.gather(*(server.stop() for server in self._grpc))
        await pages
        await self._workers.leave()
