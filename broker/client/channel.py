"""Owns the gRPC channel: mutual TLS, new certificates as they are renewed, and a sentence where it fails.

gRPC reports every failed handshake as UNAVAILABLE. Until the broker has answered once, such a failure is looked
into and explained; afterwards it is taken for what it mostly is, a broker that is away for a moment.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from broker.client.asking import MAX_TIMEOUT
from broker.client.failures import Failure, printable, read_call
from broker.client.trail import Proof
from broker.core.rotation import Link
from broker.errors import CannotConnect
from broker.pki.explain import explain_tls
from broker.pki.tls import Reloader, TlsFiles, TlsMaterial
from broker.v1.audit_pb2 import ConsistencyRequest
from broker.v1.audit_pb2_grpc import AuditServiceStub
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub
from broker.v1.rotation_pb2 import FollowRequest, FollowResponse
from broker.v1.rotation_pb2_grpc import RotationServiceStub

if TYPE_CHECKING:
    from broker.v1.audit_pb2_grpc import AuditServiceAsyncStub
    from broker.v1.exchange_pb2_grpc import ExchangeServiceAsyncStub
    from broker.v1.rotation_pb2_grpc import RotationServiceAsyncStub

_CONSISTENCY_TIMEOUT = 3.0
_EXPLAIN_TIMEOUT = 2.0
_MAX_MESSAGE = 4 * 1024 * 1024
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),  # what is sent again is decided here, where the remaining time is known
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


class Channel:
    """A channel to one broker. Raises SetupError where our files do not hold together."""

    def __init__(self, target: str, files: TlsFiles) -> None:
        self.target = target
        self.heard = False
        self._files = files
        self._reloader = Reloader(files)
        self._closing: set[asyncio.Task[None]] = set()
        self._dial(self._reloader.material)

    @property
    def exchange(self) -> ExchangeServiceAsyncStub:
        """The exchange service over the channel as it is now."""
        return ExchangeServiceStub(self._channel)

    async def renew(self) -> None:
        """Dial anew if our certificate or the authority's has been replaced on disk."""
        material = await asyncio.to_thread(self._reloader.changed)
        if material is not None:
            old = self._channel
            self._dial(material)
            # Calls that are on their way over the old connection may end there.
            closing = asyncio.get_running_loop().create_task(old.close(MAX_TIMEOUT), name="client-old-channel")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def consistency(self, log: str, first: int, second: int) -> Proof:
        """Ask for the consistency proof between two sizes (RFC 6962 section 2.1.2). Raises BrokerError."""
        request = ConsistencyRequest(to=second, log=log)
        setattr(request, "from", first)  # a word that Python keeps for itself
        audit: AuditServiceAsyncStub = AuditServiceStub(self._channel)
        try:
            response = await audit.Consistency(request, timeout=_CONSISTENCY_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise read_call(error).error from error
        return Proof(tuple(response.proof), response.checkpoint)

    async def link(self, log: str, size: int) -> Link:
        """Ask how the log after this one is reached, from so many entries of it. Raises BrokerError."""
        service: RotationServiceAsyncStub = RotationServiceStub(self._channel)
        try:
            said = await service.Follow(FollowRequest(log=log, size=size), timeout=_CONSISTENCY_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise read_call(error).error from error
        return read_link(said)

    async def explain(self, failure: Failure) -> CannotConnect | None:
        """Why nothing gets through, if that is what this failure means: UNAVAILABLE, and not by the broker."""
        if self.heard or failure.from_broker or failure.code is not grpc.StatusCode.UNAVAILABLE:
            return None
        files = self._files
        sentence = await asyncio.to_thread(
            explain_tls, self.target, files.ca, files.cert, files.key, timeout=_EXPLAIN_TIMEOUT
        )
        return CannotConnect(printable(sentence))

    async def close(self) -> None:
        """End every call and the connection."""
        await self._channel.close()
        for closing in list(self._closing):
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _dial(self, material: TlsMaterial) -> None:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=material.ca, private_key=material.key, certificate_chain=material.cert
        )
        self._channel = grpc.aio.secure_channel(self.target, credentials, options=_OPTIONS)


def read_link(said: FollowResponse) -> Link:
    """How the log after one is reached, off the wire; nothing of it is verified."""
    return Link(
        said.last,
        tuple(said.last_proof),
        said.final,
        tuple(said.consistency),
        said.first,
        tuple(said.first_proof),
        said.head,
    )
