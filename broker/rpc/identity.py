"""Who is at the other end: from the channel's certificate and the directory, never from a message.

The issuing authority alone cannot impersonate: the certificate's key must be enrolled for the system it
names. A certificate is parsed once; whether it may still speak is asked for every message, and once a second
where there is none, since streams outlive suspensions and certificates.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NoReturn

from cryptography import x509

from broker.buckets import Buckets
from broker.core.model import Caller
from broker.core.reference import Reference
from broker.errors import (
    InvalidRequest,
    QuotaExceeded,
    RevokedCertificate,
    Saturated,
    TookTooLong,
    UnknownSystem,
)
from broker.pki.identity import SpiffeId, key_digest, spiffe_id_of
from broker.ports import ReferenceSource
from broker.rpc.context import Context
from broker.seats import Seats
from broker.turns import Turns

TLS = "TLSv1.3"
# Calls of one system a second, and at once, beside requests for records: lists, changes, proofs.
CALLS, CALLS_AT_ONCE = 500.0, 1000.0
# Answers that come in pages (searches, plans, replays), of one system at a time at this worker.
PAGED = 8
# Calls that read much for one answer (lists, plans), of one system at a time at this worker; and of all that
# are worked on, one of an agency: each may keep the loop for some milliseconds and a database connection for
# longer.
HEAVY, HEAVY_AT_ONCE = 8, 2
HEAVY_SECONDS = 10.0  # that one of them may take once it is its turn
# And of one system a second, and in one go. It bounds work: many lists are no entry. `limits.LOOKS` bounds what
# an agency adds to everybody's log, and most looks read little. A list that is a look counts as both.
READS, READS_AT_ONCE = 5.0, 200.0
# All other calls of one system at a time: each waits for the database.
WAITING = 128
# Looks into the directory for one key that it does not know, a second and at once.
STRANGER, STRANGER_AT_ONCE = 2.0, 8.0
# So many calls of one agency may be refused for their number in a second, and of one key that may not speak,
# before it is told of it later.
REFUSALS = 20.0
_MAX_HELD = 4096  # that wait for that
_LONGEST = 10.0  # seconds
RECHECK = 1.0  # seconds between looks at whether the other end of an open stream may still speak


@dataclass(frozen=True, slots=True)
class Peer:
    """What a certificate says."""

    spiffe: SpiffeId
    key_digest: str
    expires: datetime


@lru_cache(maxsize=4096)
def read_peer(certificate: bytes, *, pem: bool = True) -> Peer:
    """The peer of a certificate that the TLS layer has verified. Raises UnknownSystem."""
    load = x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate
    try:
        parsed = load(certificate)
        return Peer(spiffe_id_of(parsed), key_digest(parsed), parsed.not_valid_after_utc)
    except (ValueError, InvalidRequest) as e:
        raise UnknownSystem("the certificate names no system (a SPIFFE id is expected)") from e


class Identity:
    """Finds the enrolled system behind a channel."""

    def __init__(self, trust_domain: str, reference: ReferenceSource, now: Callable[[], datetime]) -> None:
        self._trust_domain = trust_domain
        self._reference = reference
        self.now = now
        # One at a time, so that strangers who hold a certificate of ours cost one connection at most.
        self._looking = asyncio.Lock()
        self._calls = Buckets()
        self.paged = Seats(PAGED, "searches, plans and replays")
        self._heavy = Seats(HEAVY, "lists and plans")
        self.waiting = Seats(WAITING, "calls")
        self.turns = Turns(HEAVY_AT_ONCE)
        self._reads = Buckets()
        self._strangers = Buckets()
        self._refused = Buckets()
        self._held = Seats(_MAX_HELD, "refused calls")
        self._reviewed = asyncio.Event()
        self._looks: set[Callable[[], None]] = set()

    @property
    def reference(self) -> Reference:
        """The snapshot by which callers are known now."""
        return self._reference.current

    async def fresh(self, context: Context) -> Caller:
        """The caller of this call by the directory as it is now: for whoever changes things or looks at them.

        Each such call reads the database, so a system may make only so many of them.
        Raises UnknownSystem, RevokedCertificate, QuotaExceeded, AuditUnavailable.
        """
        try:
            known = self.of(context)
        except UnknownSystem:
            return await self.find(context)
        if wait := self._calls.take(known.name, CALLS, CALLS_AT_ONCE, asyncio.get_running_loop().time()):
            text = f"{known.name} makes more than {CALLS:g} such calls a second at this worker"
            raise QuotaExceeded(text, wait, quota="calls")
        await self._reference.refresh()
        return self.of(context)

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """A place for a call of this system that reads much. Raises Saturated, QuotaExceeded."""
        with self._heavy.one(name):
            now = asyncio.get_running_loop().time()
            if wait := self._reads.take(name, READS, READS_AT_ONCE, now):
                text = f"{name} asks for more than {READS:g} lists and plans a second at this worker"
                raise QuotaExceeded(text, wait, quota="reads")
            yield

    @asynccontextmanager
    async def turn(self, agency: str) -> AsyncIterator[None]:
        """This agency's turn at what reads much, and so long for it as one may take. Raises TookTooLong."""
        async with self.turns.one(agency):
            limit = asyncio.timeout(HEAVY_SECONDS)
            try:
                async with limit:
                    yield
            except TimeoutError as e:
                if not limit.expired():
                    raise
                raise TookTooLong(
                    f"this took more than {HEAVY_SECONDS:g} s and was ended: ask for less, by a shorter time "
                    "or a narrower question where there is one, or again when less is asked of the broker",
                    HEAVY_SECONDS,
                ) from e

    async def hold(self, whose: str) -> None:
        """Wait before somebody, an agency or a key, is told that such a call was refused: only where they make
        a great many of them.

        What waits keeps its place on its connection, so that no other comes in it.
        """
        now = asyncio.get_running_loop().time()
        if wait := self._refused.owe(whose, REFUSALS, REFUSALS, now, 1, _LONGEST):
            with suppress(Saturated), self._held.one(whose):
                await asyncio.sleep(wait)

    async def find(self, context: Context) -> Caller:
        """As `of`; a system that our snapshot does not know is looked for in the directory as it is now.

        Only so often for one key: beyond that it is told by our snapshot, and later. For requests: what a
        suspension changes there is read again with every decision.
        Raises UnknownSystem, RevokedCertificate, AuditUnavailable.
        """
        peer = self.peer(context)
        try:
            return self.check(peer)
        except UnknownSystem:
            now = asyncio.get_running_loop().time()
            if self._strangers.take(peer.key_digest, STRANGER, STRANGER_AT_ONCE, now):
                # The key's own, not those of the agency that its certificate names.
                await self.hold(f"key {peer.key_digest}")
                raise
            async with self._looking:
                await self._reference.refresh()
        return self.check(peer)

    async def watch(self, context: Context) -> NoReturn:
        """Wait until the other end of an open stream may no longer speak. Raises UnknownSystem then."""
        peer = self.peer(context)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RECHECK):
                    await self._reviewed.wait()
            self.check(peer)

    def review(self) -> None:
        """The snapshot has changed: each open stream, silent or not, and each call that waits is looked at."""
        self._reviewed.set()
        self._reviewed = asyncio.Event()
        for look in tuple(self._looks):
            look()

    @contextmanager
    def reviewing(self, context: Context, ended: Callable[[], None]) -> Iterator[None]:
        """For as long as the block lasts, call `ended` once a review finds that the caller may no longer speak.

        What `watch` is to a stream, without a task and a timer: a call ends by its own time soon enough.
        """

        def look() -> None:
            try:
                self.of(context)
            except UnknownSystem:
                ended()

        self._looks.add(look)
        try:
            yield
        finally:
            self._looks.discard(look)

    def of(self, context: Context) -> Caller:
        """The caller of this call, by our snapshot. Raises UnknownSystem, RevokedCertificate."""
        return self.check(self.peer(context))

    def named(self, context: Context) -> str:
        """The system (agency/system) that the certificate names, where there is one of that name, whether or
        not it is the one that speaks; else empty."""
        try:
            spiffe = self.peer(context).spiffe
        except UnknownSystem:
            return ""
        name = f"{spiffe.agency}/{spiffe.system}"
        ours = spiffe.trust_domain == self._trust_domain
        return name if ours and name in self.reference.systems else ""

    def peer(self, context: Context) -> Peer:
        """What the certificate at the other end says: the same for as long as a stream lives."""
        auth: Mapping[str, Iterable[bytes]] = context.auth_context()
        version = next(iter(auth.get("ssl_tls_version", ())), b"").decode()
        if version != TLS:
            raise UnknownSystem(f"the channel is {version or 'not TLS'}; {TLS} is required")
        certificate = next(iter(auth.get("x509_pem_cert", ())), None)
        if certificate is None:
            raise UnknownSystem("no client certificate was presented")
        return read_peer(certificate)

    def of_certificate(self, der: bytes) -> Caller:
        """The caller behind a verified certificate, for HTTPS. Raises as `of`."""
        return self.check(read_peer(der, pem=False))

    def check(self, peer: Peer) -> Caller:
        """The caller, if it may speak at this moment."""
        now = self.now()
        spiffe = peer.spiffe
        if spiffe.trust_domain != self._trust_domain:
            raise UnknownSystem("the certificate is of another trust domain")
        if peer.expires <= now:
            raise RevokedCertificate("the certificate has expired; renew it with `broker certs renew`")
        reference = self._reference.current
        caller = reference.identify(spiffe.agency, spiffe.system, peer.key_digest, now)
        if caller is not None:
            return caller
        known = reference.systems.get(f"{spiffe.agency}/{spiffe.system}")
        if known is not None and peer.key_digest in known.key_digests:
            raise RevokedCertificate("this system is suspended or out of its dates; ask the operator")
        if known is not None and peer.key_digest in known.revoked:
            raise RevokedCertificate("this certificate's key was revoked; the system needs a new one")
        raise UnknownSystem(
            "this certificate's key is not enrolled; the operator does it with `broker system enrol`"
        )
