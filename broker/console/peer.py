"""Who is at the other end of an HTTPS connection: uvicorn knows the client's certificate and hides it.

Owns carrying it into `scope["state"]`, for every request of the connection. Refuses to say who that is: the
directory does, by key digest.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

PEER_CERTIFICATE = "peer_certificate"


class PeerCertificateProtocol(H11Protocol):
    """HTTP/1.1 that puts the client's certificate (DER, or None) into the state of each request.

    Pass it as `uvicorn.Config(http=PeerCertificateProtocol)`, with the context of `broker.pki.tls`.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the certificate before the first request is read."""
        connection = cast("ssl.SSLObject | None", transport.get_extra_info("ssl_object"))
        certificate = None if connection is None else connection.getpeercert(binary_form=True)
        # uvicorn copies this for each request; a copy of our own keeps it from other connections.
        self.app_state = {**self.app_state, PEER_CERTIFICATE: certificate}
        super().connection_made(transport)


def peer_certificate(scope: Mapping[str, Any]) -> bytes | None:
    """The DER certificate that the client of this ASGI request showed and the handshake verified, or None."""
    return cast("bytes | None", scope["state"][PEER_CERTIFICATE])
