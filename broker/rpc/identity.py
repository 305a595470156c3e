"""Who is at the other end: from the channel's certificate and the directory, never from a message.

The issuing authority alone cannot impersonate: the certificate's key must be enrolled for the system it
names. A certificate is parsed once; whether it may still speak is asked for every message, since streams
outlive suspensions and certificates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509

from broker.core.model import Caller
from broker.core.reference import Reference
from broker.errors import AuditUnavailable, InvalidRequest, RevokedCertificate, UnknownSystem
from broker.pki.identity import SpiffeId, key_digest, spiffe_id_of
from broker.rpc.context import Context

TLS = "TLSv1.3"
_BETWEEN_LOOKS = 0.05  # seconds


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

    def __init__(
        self,
        trust_domain: str,
        reference: Callable[[], Reference],
        now: Callable[[], datetime],
        refresh: Callable[[], Awaitable[object]],
    ) -> None:
        self._trust_domain = trust_domain
        self._reference = reference
        self._now = now
        self._refresh = refresh
        self._looking = asyncio.Lock()
        self._looks = 0

    async def admit(self, context: Context) -> Caller:
        """The caller of a call that begins. Raises UnknownSystem, RevokedCertificate.

        Nobody is turned away on an old snapshot: another worker may have enrolled this system just now.
        """
        try:
            return self.of(context)
        except UnknownSystem:
            await self._look()
            return self.of(context)

    async def _look(self) -> None:
        """Return after one look for what is new that began after this call: many callers share each, and there
        are at most twenty a second, however many strangers knock."""
        wanted = self._looks + (2 if self._looking.locked() else 1)
        while self._looks < wanted:
            async with self._looking:
                if self._looks < wanted:
                    with suppress(AuditUnavailable):  # then what is known has to do
                        await self._refresh()
                    self._looks += 1
                    await asyncio.sleep(_BETWEEN_LOOKS)

    def of(self, context: Context) -> Caller:
        """The caller of this call, now. Raises UnknownSystem, RevokedCertificate."""
        auth: Mapping[str, Iterable[bytes]] = context.auth_context()
        version = next(iter(auth.get("ssl_tls_version", ())), b"").decode()
        if version != TLS:
            raise UnknownSystem(f"the channel is {version or 'not TLS'}; {TLS} is required")
        certificate = next(iter(auth.get("x509_pem_cert", ())), None)
        if certificate is None:
            raise UnknownSystem("no client certificate was presented")
        return self.check(read_peer(certificate))

    def of_certificate(self, der: bytes) -> Caller:
        """The caller behind a verified certificate, for HTTPS. Raises as `of`."""
        return self.check(read_peer(der, pem=False))

    def check(self, peer: Peer) -> Caller:
        """The caller, if it may speak at this moment."""
        now = self._now()
        spiffe = peer.spiffe
        if spiffe.trust_domain != self._trust_domain:
            raise UnknownSystem("the certificate is of another trust domain")
        if peer.expires <= now:
            raise RevokedCertificate("the certificate has expired; renew it with `broker certs renew`")
        reference = self._reference()
        caller = reference.identify(spiffe.agency, spiffe.system, peer.key_digest, now)
        if caller is not None:
            return caller
        known = reference.systems.get(f"{spiffe.agency}/{spiffe.system}")
        if known is not None and peer.key_digest in known.key_digests:
            raise RevokedCertificate("this system is suspended or out of its dates; ask the operator")
        raise UnknownSystem(
            "this certificate's key is not enrolled; the operator does it with `broker system enrol`"
        )
