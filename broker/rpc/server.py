"""The gRPC server: one port, mutual TLS 1.3, every service with health and reflection.

It offers itself a TLS 1.2 hello before it says that it is ready, and does not start where that is accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from broker.config import CONNECTION_SECONDS
from broker.errors import SetupError
from broker.pki.selfcheck import refuse_tls12
from broker.pki.tls import TlsFiles, server_credentials
from broker.rpc.listening import stop_listening
from broker.rpc.wellformed import strict
from broker.v1 import (
    adapter_pb2,
    agreement_pb2,
    audit_pb2,
    directive_pb2,
    directory_pb2,
    exchange_pb2,
    keeping_pb2,
    override_pb2,
    referral_pb2,
    report_pb2,
    rotation_pb2,
    routing_pb2,
    standing_pb2,
)

_FILES = (
    exchange_pb2,
    adapter_pb2,
    directory_pb2,
    agreement_pb2,
    directive_pb2,
    audit_pb2,
    referral_pb2,
    override_pb2,
    keeping_pb2,
    routing_pb2,
    standing_pb2,
    report_pb2,
    rotation_pb2,
)
SERVICES = tuple(service.full_name for file in _FILES for service in file.DESCRIPTOR.services_by_name.values())
# A message holds a batch of up to 1 MiB, or one record of 1 MiB and its evidence.
MAX_MESSAGE = 2 * 1024 * 1024
UNREAD = 256 * 1024
# What is still open when a worker has finished its work: administration, health, a client that does not read.
GRACE = 2.0

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # A message that has begun is read whole before anybody is asked who sends it: so many of them at a time,
    # and so many streams that are opened in one go, for which all others wait. gRPC also counts those that have
    # ended and are not yet put away, as many again at most, and refuses a call beyond: a client of half as many
    # calls at a time never meets that.
    ("grpc.max_concurrent_streams", 64),
    # What a client has sent and we have not read: so much of each stream, and no window that grows by itself.
    ("grpc.http2.lookahead_bytes", UNREAD),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.max_connection_idle_ms", 600_000),
)
# gRPC ends a connection that early or late, as a part of the age that it may reach.
_JITTER = 0.1


class GrpcServer:
    """Starts and stops the port. `add` registers the servicers on the bare server.

    `shared`: other processes of this user may listen on the same port, and the kernel deals out connections.
    A connection takes new calls for `age` seconds; then its client is led to another, and what is open on it
    goes on.
    """

    def __init__(
        self,
        files: TlsFiles,
        host: str,
        port: int,
        add: Callable[[grpc.aio.Server], None],
        *,
        shared: bool = False,
        age: float = CONNECTION_SECONDS,
    ) -> None:
        self._host = host
        self._age = age
        self._shared = shared
        self._stopping: asyncio.Task[None] | None = None
        self._health = health.aio.HealthServicer()
        own = (("grpc.so_reuseport", int(shared)), ("grpc.max_connection_age_ms", int(age * 1000)))
        self._server = grpc.aio.server(options=(*_OPTIONS, *own))
        add(strict(self._server))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        try:
            self.port = self._server.add_secure_port(f"{host}:{port}", server_credentials(files))
        except RuntimeError as e:
            raise SetupError(
                f"port {port} on {host} is taken; choose another (BROKER_GRPC_PORT), or 0 for a free one"
            ) from e

    async def start(self) -> None:
        """Listen, and prove that TLS 1.2 is refused; not healthy until `say` says so.

        On a shared port the proof would be some other worker's: a worker proves it on its own port, which is
        served with the same credentials and suites.
        """
        await self.say(ready=False)
        await self._server.start()
        if self._shared:
            return
        try:
            await asyncio.to_thread(refuse_tls12, self._host, self.port)
        except BaseException:
            await self._server.stop(None)
            raise

    async def say(self, *, ready: bool) -> None:
        """Set the health status of every service (grpc.health.v1)."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *SERVICES):
            await self._health.set(service, status)

    async def lead_away(self) -> float:
        """Say unhealthy and take no more connections; the seconds after which no client calls on one it has.

        Until then calls are answered as ever. A server that is closed ends whatever reaches it at that moment,
        CANCELLED and unheard; so clients are to have gone before.
        """
        await self.say(ready=False)
        if not stop_listening(self.port):
            return 0.0
        return self._age * (1 + _JITTER)

    async def close(self, within: float) -> None:
        """Say unhealthy and take no more connections or calls; open ones go on for at most `within` seconds."""
        await self.say(ready=False)
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._server.stop(within))

    async def stop(self) -> None:
        """Let what is still open finish for a moment, then end it. Idempotent."""
        await self.close(GRACE)
        await self._server.stop(GRACE)
        if self._stopping is not None:
            await self._stopping
