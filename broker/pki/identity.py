"""The name in a certificate: SPIFFE ids of systems, and the digest of a public key.

Owns the one spelling of a system's name, `spiffe://<trust-domain>/agency/<agency>/system/<system>`, and of a
server's, `spiffe://<trust-domain>/server/<name>`. Refuses everything the SPIFFE id standard allows beyond
that (other paths) and everything it forbids (query, fragment, port, user, escapes, empty segments), so that
two strings never mean one system.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.errors import InvalidRequest

DEVELOPMENT_TRUST_DOMAIN = "blue-light.test"

# A DNS label in lower case: 1 to 63 of [a-z0-9-], no hyphen at either end, so also a safe file name.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ID = re.compile(_LABEL)
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SYSTEM_URI = re.compile(r"spiffe://([^/]*)/agency/([^/]*)/system/([^/]*)")


def require_id(field: str, text: str) -> str:
    """Return `text` if it is a lower-case id of 1 to 63 characters [a-z0-9-]; raises `InvalidRequest`."""
    if _ID.fullmatch(text) is None:
        raise InvalidRequest(field, "must be 1 to 63 of a-z, 0-9 and inner hyphens")
    return text


def require_trust_domain(text: str) -> str:
    """Return `text` if it is a lower-case DNS name of at most 253 characters; raises `InvalidRequest`.

    Narrower than SPIFFE-ID section 2.1, which also allows underscores: the name doubles as the host of an
    X.509 name constraint (RFC 5280 section 4.2.1.10).
    """
    if len(text) > 253 or _DOMAIN.fullmatch(text) is None:
        raise InvalidRequest("trust_domain", "must be a lower-case DNS name of at most 253 characters")
    return text


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """The id of one agency's system in one trust domain; an instance is always well formed."""

    trust_domain: str
    agency: str
    system: str

    def __post_init__(self) -> None:
        require_trust_domain(self.trust_domain)
        require_id("agency", self.agency)
        require_id("system", self.system)

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Parse `spiffe://<trust-domain>/agency/<agency>/system/<system>`, in exactly that spelling.

        Raises `InvalidRequest` naming the part that is wrong, for any other string (SPIFFE-ID section 2).
        """
        match = _SYSTEM_URI.fullmatch(text)
        if match is None:
            raise InvalidRequest("spiffe_id", "must be spiffe://<trust-domain>/agency/<agency>/system/<system>")
        return cls(*match.groups())

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/agency/{self.agency}/system/{self.system}"

    @property
    def folder(self) -> str:
        """The name of the folder that holds this system's certificate: `<agency>-<system>`."""
        return f"{self.agency}-{self.system}"


def server_uri(trust_domain: str, name: str) -> str:
    """The SPIFFE id of a server certificate, one that `SpiffeId.parse` refuses: no server is a system."""
    return f"spiffe://{require_trust_domain(trust_domain)}/server/{require_id('server', name)}"


def uri_of(certificate: x509.Certificate) -> str:
    """The certificate's only URI name; raises `InvalidRequest` unless there is exactly one.

    X509-SVID section 2: an SVID holds exactly one URI SAN, and a validator rejects one with more.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise InvalidRequest("certificate", "has no readable subject alternative name") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise InvalidRequest("certificate", "must hold exactly one URI name")
    return uris[0]


def spiffe_id_of(certificate: x509.Certificate) -> SpiffeId:
    """The system a leaf certificate names; raises `InvalidRequest` if it names none, or more than one."""
    return SpiffeId.parse(uri_of(certificate))


def key_digest(holder: x509.Certificate | x509.CertificateSigningRequest | PublicKeyTypes) -> str:
    """Hex SHA-256 of the DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7): what the directory enrols.

    The same for a certificate, its renewal under the same key, and the bare public key.
    """
    key = (
        holder.public_key() if isinstance(holder, x509.Certificate | x509.CertificateSigningRequest) else holder
    )
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
