"""A real log in PostgreSQL, the port's application over it under real TLS, and systems with certificates."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from broker.console.app import Parts, build_app
from broker.console.published import LogPages
from broker.console.server import HttpsServer
from broker.core.directory import Agency, System
from broker.core.keys import Signer
from broker.core.model import Caller, Function
from broker.core.reference import Reference
from broker.core.views import ProviderView, RequesterView
from broker.errors import InvalidRequest
from broker.keys import FolderKeys
from broker.law import load
from broker.pki.files import read_certificates
from broker.pki.folder import CertificateFolder
from broker.pki.identity import key_digest, spiffe_id_of
from broker.pki.tls import TlsFiles
from broker.ports import Appended, Draft
from broker.store.blind import Blind
from broker.store.guard import Guard
from broker.store.log import PostgresLog
from broker.store.notary import Notary
from broker.store.pool import Database, migrate
from broker.store.reader import LogReader
from broker.store.seal import Seals
from broker.telemetry import Telemetry
from tests.support.postgres import Server

DOMAIN = "blue-light.test"
ORIGIN = f"{DOMAIN}/log/2026h2"
NOW = datetime.now(UTC)
ENTRIES = 600


def utc_now() -> datetime:
    """The real time."""
    return datetime.now(UTC)


class Clock:
    """The real time, as the store asks for it."""

    def now(self) -> datetime:
        return utc_now()

    def loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    async def until(self, loop_time: float) -> None:
        await asyncio.sleep(loop_time - self.loop_time())


@dataclass(frozen=True, slots=True)
class Written:
    """A log that can be appended to."""

    log: PostgresLog
    reader: LogReader
    notary: Notary

    async def grow(self, count: int) -> list[bytes]:
        """Append this many entries; their leaves in the order of the log."""
        answers = await asyncio.gather(*(self.log.append(_draft()) for _ in range(count)))
        receipts = sorted((a.receipt for a in answers if isinstance(a, Appended)), key=lambda r: r.index)
        assert len(receipts) == count
        return [receipt.entry for receipt in receipts]


def _draft() -> Draft:
    view = RequesterView("disclosure", request_id=str(uuid.uuid4()), outcome="permit", provider="ncic")
    provider = ProviderView(view, {"id": "x"}, (("nhs-number", "9000000009"),))
    full = {**provider.as_json(), "policy": 0, "now": "x"}
    return Draft(str(uuid.uuid4()), datetime.now(UTC), view, provider, full, "cfrs", "ncic")


@asynccontextmanager
async def written(dsn: str, folder: Path, origin: str = ORIGIN) -> AsyncIterator[Written]:
    """A new log in an empty database; its keys and guard lie in `folder`."""
    await migrate(dsn)
    ring, database = FolderKeys(folder / "keys"), Database(dsn)
    await database.open()
    guard = Guard(folder / "guard")
    try:
        notary = Notary(Signer.from_seed(origin, ring.signing_seed()), guard)
        seals = Seals(database, ring)
        reader = LogReader(database, seals, notary)
        await reader.open()
        log = PostgresLog(database, seals, Blind(ring.index_key()), notary, reader, Clock())
        async with log.appends:
            yield Written(log, reader, notary)
    finally:
        guard.close()
        await database.close()


@pytest.fixture(scope="session")
def https_certs(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    """An authority and the certificates of systems, of which `cfrs-new` is enrolled nowhere."""
    folder = CertificateFolder(tmp_path_factory.mktemp("https-certs") / "certs")
    folder.init(DOMAIN, NOW)
    for agency, system in [("cfrs", "mdt"), ("cfrs", "new"), ("nwas", "cad"), ("operator", "cli")]:
        folder.issue_client(agency, system, NOW)
    return folder


@dataclass
class Site:
    """What stands behind a running port, and how tests reach it."""

    certs: CertificateFolder
    telemetry: Telemetry
    reference: Reference
    port: int = 0
    reasons: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def identify(self, certificate: bytes) -> Caller | None:
        """As the directory says."""
        leaf = x509.load_der_x509_certificate(certificate)
        try:
            name = spiffe_id_of(leaf)
        except InvalidRequest:
            return None
        return self.reference.identify(name.agency, name.system, key_digest(leaf), datetime.now(UTC))

    def ready(self) -> tuple[bool, Sequence[str]]:
        """Ready unless a test has given reasons; it may have given something that is only told."""
        return not self.reasons, (*self.reasons, *self.told)

    def context(self, name: str | None) -> ssl.SSLContext:
        """A client's TLS that shows the certificate of `name`, or none."""
        context = ssl.create_default_context(cafile=str(self.certs.ca))
        if name is not None:
            context.load_cert_chain(self.certs.path / name / "cert.pem", self.certs.path / name / "key.pem")
        return context

    def client(self, name: str | None = None) -> httpx.AsyncClient:
        """A client of this port."""
        url = f"https://localhost:{self.port}"
        return httpx.AsyncClient(verify=self.context(name), base_url=url, timeout=20, trust_env=False)


def site_of(certs: CertificateFolder) -> Site:
    """A site whose directory knows a partner, a suspended partner and an operator."""
    start = NOW - timedelta(days=1)

    def system(agency: str, name: str, function: Function, suspended: bool = False) -> System:
        leaf = read_certificates(certs.path / f"{agency}-{name}" / "cert.pem")[0]
        return System(agency, name, function, frozenset([key_digest(leaf)]), start, suspended=suspended)

    systems = [
        system("cfrs", "mdt", Function.PARTNER),
        system("nwas", "cad", Function.PARTNER, suspended=True),
        system("operator", "cli", Function.OPERATOR),
    ]
    agencies = [Agency(a, a, "fire", "england", start) for a in ("cfrs", "nwas", "operator")]
    telemetry = Telemetry("0.1.0", lambda name: name == "records.fire.v1.PremisesRisk")
    return Site(certs, telemetry, Reference.build(0, load(), agencies, systems, (), {}))


@asynccontextmanager
async def serving(
    certs: CertificateFolder,
    logs: Mapping[str, LogPages],
    vkeys: Sequence[str],
    *,
    answer_seconds: float = 10,
    now: Callable[[], datetime] = utc_now,
) -> AsyncIterator[Site]:
    """The application over these logs, on a free port."""
    site = site_of(certs)
    parts = Parts("0.1.0", logs, vkeys, site.identify, site.ready, site.telemetry, now)
    app = build_app(parts, answer_seconds=answer_seconds)
    server = await HttpsServer.start(app, TlsFiles.within(certs.path, "broker"), "127.0.0.1", 0)
    site.port = server.port
    try:
        yield site
    finally:
        await server.stop()


@pytest.fixture(scope="session")
async def shared_log(
    postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Written, list[bytes]]]:
    """A log of 600 entries, and these; nobody appends to it."""
    async with postgres.fresh() as dsn, written(dsn, tmp_path_factory.mktemp("log")) as made:
        yield made, await made.grow(ENTRIES)


@pytest.fixture(scope="session")
async def site(https_certs: CertificateFolder, shared_log: tuple[Written, list[bytes]]) -> AsyncIterator[Site]:
    """A port over the shared log, for tests that leave it as it was."""
    log, _ = shared_log
    async with serving(https_certs, {ORIGIN: log.reader}, (log.notary.vkey,)) as made:
        yield made


@pytest.fixture
async def own_site(
    https_certs: CertificateFolder, shared_log: tuple[Written, list[bytes]]
) -> AsyncIterator[Site]:
    """A port over the shared log, for one test."""
    log, _ = shared_log
    async with serving(https_certs, {ORIGIN: log.reader}, (log.notary.vkey,)) as made:
        yield made
