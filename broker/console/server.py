"""The HTTPS server: uvicorn inside the broker's own event loop.

Owns binding the port, starting and stopping. Refuses to take signals (the process has one owner) and to
outlast its bound when it stops.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from broker.console.connection import BoundedProtocol
from broker.errors import SetupError
from broker.pki.tls import TlsFiles, https_context

START_SECONDS = 10.0
STOP_SECONDS = 5
MAX_HEAD_BYTES = 16 * 1024
KEEP_ALIVE_SECONDS = 5
_BACKLOG = 128


class HttpsServer:
    """A running server. `port` is the real one."""

    def __init__(self, server: _Server, port: int, task: asyncio.Task[None]) -> None:
        self.port = port
        self._server = server
        self._task = task

    @classmethod
    async def start(
        cls,
        app: ASGIApp,
        files: TlsFiles,
        host: str,
        port: int,
        *,
        reuse_port: bool = False,
        elsewhere: str = "--http-port or BROKER_HTTP_PORT",
    ) -> HttpsServer:
        """Serve `app` on `host` and `port` (0: a free one) until `stop`.

        `reuse_port` lets several workers of this machine share the port; `elsewhere` says how another is
        chosen.

        Raises:
            SetupError: the certificate files do not hold together, or the port cannot be had.
        """
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            ssl_context_factory=lambda _config, _default: https_context(files),
            log_config=None,
            log_level="error",  # what a stranger can cause is counted, not written down
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        config.load()
        listener = _bind(host, port, reuse_port, elsewhere)
        server = _Server(config)
        task = asyncio.get_running_loop().create_task(server.serve([listener]), name="https")
        up = asyncio.create_task(server.up.wait())
        await asyncio.wait({task, up}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if not server.up.is_set():
            task.cancel()
            listener.close()
            await asyncio.gather(task, return_exceptions=True)
            raise SetupError(f"the HTTPS server on {host} port {port} did not start")
        return cls(server, listener.getsockname()[1], task)

    async def ended(self) -> None:
        """Wait for the server's end; raises what it died of."""
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Take no more connections, let answers finish for at most five seconds, then end. Idempotent."""
        self._server.should_exit = True
        _, late = await asyncio.wait({self._task}, timeout=STOP_SECONDS + 2)
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        if late:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class _Server(uvicorn.Server):
    """Says when it has started, and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int, reuse_port: bool, elsewhere: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=reuse_port)
    except OSError as e:
        raise SetupError(
            f"cannot listen on {host} port {port}: {e.strerror}; choose another with {elsewhere}"
        ) from e
    except OverflowError as e:
        raise SetupError(f"{port} is not a port; choose one from 1 to 65535, or 0 for a free one") from e
    # asyncio turns Nagle's algorithm off only on sockets that say they are TCP, which this one does not. Left
    # on, an answer of a head and a body waits 40 ms for the client's delayed acknowledgement.
    return socket.socket(bound.family, bound.type, socket.IPPROTO_TCP, fileno=bound.detach())
