"""Bounds on one connection of the HTTPS port, which uvicorn leaves open.

Owns how long a client may take to say what it wants, from the handshake or the last answer on, and how many
connections there may be. uvicorn's own keep-alive limit ends with the first byte of the next request, so a
client that sends a byte a minute would stay for ever.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import RequestResponseCycle

from broker.console.peer import PeerCertificateProtocol

MAX_CONNECTIONS = 512
# Without a certificate there is little to ask for: probes, mostly. Past this many the oldest makes room, so
# that strangers who hold connections open can keep neither partners nor the next probe out.
MAX_STRANGERS = 64
HEAD_SECONDS = 10.0


class BoundedProtocol(PeerCertificateProtocol):
    """Pass it as `uvicorn.Config(http=BoundedProtocol)`."""

    head_seconds = HEAD_SECONDS
    max_connections = MAX_CONNECTIONS
    max_strangers = MAX_STRANGERS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many."""
        super().connection_made(transport)
        tls = cast("ssl.SSLObject | None", transport.get_extra_info("ssl_object"))
        if tls is not None and tls.getpeercert(binary_form=True) is None:
            while len(self._strangers()) >= self.max_strangers:
                self._strangers().pop(0).transport.abort()
            self._strangers().append(self)
        if len(self.connections) > self.max_connections:
            transport.abort()
        else:
            self._await_head()

    def _strangers(self) -> list[BoundedProtocol]:
        """This server's connections without a certificate, oldest first."""
        if not hasattr(self.server_state, "strangers"):
            self.server_state.strangers = []  # type: ignore[attr-defined]
        found: list[BoundedProtocol] = self.server_state.strangers  # type: ignore[attr-defined]
        return found

    def data_received(self, data: bytes) -> None:
        """Take bytes; once they make a request, its answer has a limit of its own."""
        super().data_received(data)
        if self._answering():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it is there already."""
        self._await_head()
        super().on_response_complete()
        if self._answering():
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        if self in self._strangers():
            self._strangers().remove(self)
        super().connection_lost(exc)

    def _answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        self._stop_waiting()
        # abort, not close: closing TLS waits for the peer, which has shown that it does not answer.
        self._limit = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
