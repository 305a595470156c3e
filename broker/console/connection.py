"""Bounds on one connection of the HTTPS port, which uvicorn leaves open.

Owns how long a client may take to say what it wants, from the handshake or the last answer on, and how many
connections there may be: of one key, since whoever has a certificate can open them, and may be revoked; of all
keys; and without a certificate, which is room that is kept for probes. uvicorn counts all of them together, and
its keep-alive limit ends with the first byte of the next request, so a client that sends a byte a minute would
stay for ever.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from uvicorn.protocols.http.h11_impl import RequestResponseCycle

from broker.console.peer import PeerCertificateProtocol
from broker.pki.identity import key_digest

# With a certificate: of all, and of one key. Past the first whoever has most makes room with its oldest, so
# that none keeps another out.
MAX_CONNECTIONS, MAX_OF_ONE = 448, 64
# Without a certificate there is little to ask for: probes, mostly. Past this many the oldest makes room, so
# that strangers who hold connections open can keep neither partners nor the next probe out.
MAX_STRANGERS = 64
# Whoever is turned away is told so late, so that one who comes again at once does not keep us at handshakes; so
# many wait for that.
TURNED_SECONDS, MAX_TURNED = 5.0, 256
HEAD_SECONDS = 10.0
_STRANGER, _TURNED = "no certificate", "turned away"


class BoundedProtocol(PeerCertificateProtocol):
    """Pass it as `uvicorn.Config(http=BoundedProtocol)`."""

    head_seconds = HEAD_SECONDS
    max_connections = MAX_CONNECTIONS
    max_of_one = MAX_OF_ONE
    max_strangers = MAX_STRANGERS
    turned_seconds = TURNED_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limit: asyncio.TimerHandle | None = None
        self._key = _STRANGER

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many."""
        super().connection_made(transport)
        tls = cast("ssl.SSLObject | None", transport.get_extra_info("ssl_object"))
        self._key = _key_of(tls.getpeercert(binary_form=True) if tls is not None else None)
        own = self._enter()
        self._await_head()
        if self._key == _STRANGER:
            if len(own) > self.max_strangers:
                own[0].leave()
        elif len(own) > self.max_of_one:
            self._turn_away()
        else:
            self._make_room()

    def leave(self) -> None:
        """End at once, and count no more."""
        if self._count_no_more():
            self.transport.abort()

    def _turn_away(self) -> None:
        """End without reading anything: in a while, or at once where many wait for that."""
        self._count_no_more()
        self._key = _TURNED
        if len(self._enter()) > MAX_TURNED:
            self.leave()
        else:
            self.transport.pause_reading()
            self._await(self.turned_seconds)

    def _make_room(self) -> None:
        """Where too many have certificates, one ends: of the key that has most the oldest, or, where that is
        this one's, this one."""
        known = {key: held for key, held in self._open().items() if key not in (_STRANGER, _TURNED)}
        if sum(map(len, known.values())) > self.max_connections:
            most = max(map(len, known.values()))
            if len(known[self._key]) == most:
                self._turn_away()
            else:
                next(held for held in known.values() if len(held) == most)[0].leave()

    def _enter(self) -> list[BoundedProtocol]:
        """Count it among those of its key: these."""
        own = self._open().setdefault(self._key, [])
        own.append(self)
        return own

    def _count_no_more(self) -> bool:
        """Whether it was counted until now."""
        own = self._open().get(self._key, [])
        if self not in own:
            return False
        own.remove(self)
        if not own:
            del self._open()[self._key]
        return True

    def _open(self) -> dict[str, list[BoundedProtocol]]:
        """This server's connections by key, oldest first."""
        if not hasattr(self.server_state, "by_key"):
            self.server_state.by_key = {}  # type: ignore[attr-defined]
        found: dict[str, list[BoundedProtocol]] = self.server_state.by_key  # type: ignore[attr-defined]
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
        self.leave()
        super().connection_lost(exc)

    def _answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        self._await(self.head_seconds)

    def _await(self, seconds: float) -> None:
        self._stop_waiting()
        # abort, not close: closing TLS waits for the peer, which has shown that it does not answer.
        self._limit = self.loop.call_later(seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


def _key_of(certificate: bytes | None) -> str:
    """Whose connection this is: the digest of the key, since a name may be that of a key long revoked."""
    if certificate is None:
        return _STRANGER
    try:
        return key_digest(x509.load_der_x509_certificate(certificate))
    except (ValueError, UnsupportedAlgorithm):  # it may not read anything, and shares its room with no other
        return hashlib.sha256(certificate).hexdigest()
