"""One authority for the session, and real gRPC servers on free ports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from broker.pki.folder import CertificateFolder
from broker.pki.tls import TlsFiles, channel_credentials, server_credentials

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=200)
DOMAIN = "blue-light.test"


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority made 200 days ago, with servers and systems that are in date, expired, not yet valid."""
    folder = CertificateFolder(tmp_path_factory.mktemp("pki") / "certs")
    folder.init(DOMAIN, LONG_AGO)  # so `broker`, its first server certificate, has expired
    folder.issue_server("live", NOW)
    folder.issue_server("renamed", NOW, ("other.blue-light.test",))
    folder.issue_client("cfrs", "mdt", NOW)
    folder.issue_client("cfrs", "expired", LONG_AGO)
    folder.issue_client("cfrs", "future", NOW + timedelta(days=2))
    return folder.path


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another authority with the same names, as an impostor would make it."""
    folder = CertificateFolder(tmp_path_factory.mktemp("impostor") / "certs")
    folder.init(DOMAIN, LONG_AGO)
    folder.issue_server("live", NOW)
    folder.issue_client("cfrs", "mdt", NOW)
    return folder.path


@pytest.fixture
async def port(certs: Path) -> AsyncIterator[int]:
    """A gRPC server with the `live` certificate; its one method answers with the caller's SPIFFE ids."""
    async with serving(TlsFiles.within(certs, "live")) as opened:
        yield opened


@asynccontextmanager
async def serving(files: TlsFiles, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[int]:
    """Serve `/test.Who/Ask` with mutual TLS on a free port of 127.0.0.1."""

    async def ask(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        found = context.auth_context()
        return b" ".join([*found["ssl_tls_version"], *found["peer_spiffe_id"]])

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(ask)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", {"Ask": method}),))
    opened = server.add_secure_port("127.0.0.1:0", credentials or server_credentials(files))
    await server.start()
    try:
        yield opened
    finally:
        await server.stop(None)


async def ask(port: int, credentials: grpc.ChannelCredentials, host: str = "127.0.0.1") -> str:
    """One call on a connection of its own; raises `grpc.aio.AioRpcError`."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with grpc.aio.secure_channel(f"{host}:{port}", credentials, options=options) as channel:
        answer = await channel.unary_unary("/test.Who/Ask")(b"", timeout=10)
    return bytes(answer).decode()


async def ask_as(port: int, certs: Path, name: str) -> str:
    """Call as one of the systems in a folder."""
    return await ask(port, channel_credentials(TlsFiles.within(certs, name)))


def swap(target: Path, source: Path) -> None:
    """Put a copy of `source` in place of `target` in one step, as a renewal does."""
    staged = target.with_name("staged")
    staged.write_bytes(source.read_bytes())
    staged.chmod(source.stat().st_mode & 0o777)
    staged.replace(target)
