"""The root, the issuing authority, and the leaves it signs: P-256 throughout, profiles from TOML.

Owns what is put into a certificate. Refuses to sign for a name outside the authority's trust domain or hosts
(its name constraints would make every verifier refuse it later, with less to say), for a key that is not
P-256, and past the authority's own end. Writes nothing and reads no clock: `now` is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.errors import SetupError
from broker.pki import profile as profiles
from broker.pki.hosts import dns_names, parse_host, require_permitted
from broker.pki.identity import SpiffeId, require_trust_domain, server_uri, uri_of
from broker.pki.profile import Profile

# A certificate is used within seconds of being made, by machines whose clocks differ a little.
BACKDATE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that signs others, with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def trust_domain(self) -> str:
        """The trust domain it speaks for: the host of its own SPIFFE id, which has no path."""
        return require_trust_domain(uri_of(self.certificate).removeprefix("spiffe://"))


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def create_root(trust_domain: str, now: datetime) -> Authority:
    """A self-signed root for the trust domain, with a fresh key."""
    key = new_key()
    profile = profiles.load("root")
    builder = _start(profile, _name(trust_domain, "root"), key.public_key(), now, profile.days)
    builder = _authority_names(builder.issuer_name(_name(trust_domain, "root")), trust_domain)
    return Authority(_sign(builder, key, key.public_key()), key)


def create_issuing(root: Authority, now: datetime, hosts: tuple[str, ...] = ()) -> Authority:
    """An authority under `root` that may sign systems and servers and nothing else.

    Its name constraints (RFC 5280 section 4.2.1.10, critical) permit URIs of the trust domain, and DNS
    names at or under the trust domain, the profile's hosts and `hosts`. Addresses are not
    constrained: BoringSSL, so every gRPC client, refuses an address below an authority that constrains them.
    """
    key = new_key()
    profile = profiles.load("issuing")
    domain = root.trust_domain
    permitted: list[x509.GeneralName] = [x509.UniformResourceIdentifier(domain), x509.DNSName(domain)]
    permitted += dns_names((*profile.hosts, *hosts))
    builder = _start(profile, _name(domain, "issuing"), key.public_key(), now, profile.days, within=root)
    builder = _authority_names(builder.issuer_name(root.certificate.subject), domain)
    builder = builder.add_extension(x509.NameConstraints(permitted, None), critical=True)
    return Authority(_sign(builder, root.key, root.key.public_key()), key)


def issue_client(
    issuing: Authority,
    identity: SpiffeId,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int | None = None,
) -> x509.Certificate:
    """A certificate for one system: an X509-SVID for clients only; `days` defaults to the profile's.

    Raises `SetupError` if the authority does not speak for the identity's trust domain.
    """
    if identity.trust_domain != issuing.trust_domain:
        raise SetupError(f"this authority issues for {issuing.trust_domain}, not for {identity.trust_domain}")
    subject = _name(identity.agency, identity.system)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(identity))]
    return _issue(issuing, profiles.load("client"), subject, names, key, now, days)


def issue_server(
    issuing: Authority,
    name: str,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    hosts: tuple[str, ...] = (),
    days: int | None = None,
) -> x509.Certificate:
    """A certificate for a server called `name`, good for the profile's hosts and for `hosts`.

    Raises `SetupError` for a host that the authority's name constraints do not permit.
    """
    profile = profiles.load("server")
    uri = x509.UniformResourceIdentifier(server_uri(issuing.trust_domain, name))
    hosts_named = [parse_host(host) for host in dict.fromkeys((*profile.hosts, *hosts))]
    for host in hosts_named:
        require_permitted(issuing.certificate, host)
    subject = _name(issuing.trust_domain, name)
    return _issue(issuing, profile, subject, [uri, *hosts_named], key, now, days)


def signed_by(child: x509.Certificate, parent: x509.Certificate) -> bool:
    """Whether `parent` signed `child` and is named as its issuer; says nothing about dates or usages."""
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _issue(
    issuing: Authority,
    profile: Profile,
    subject: x509.Name,
    names: list[x509.GeneralName],
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int | None,
) -> x509.Certificate:
    if not isinstance(key.curve, ec.SECP256R1):
        raise SetupError("only P-256 keys are certified")
    builder = _start(profile, subject, key, now, profile.days if days is None else days, within=issuing)
    builder = builder.issuer_name(issuing.certificate.subject)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _sign(builder, issuing.key, issuing.key.public_key())


def _start(
    profile: Profile,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
    within: Authority | None = None,
) -> x509.CertificateBuilder:
    """What every certificate has. It never outlives `within`, the authority that signs it."""
    start, end = now - BACKDATE, now + timedelta(days=days)
    if days < 1:
        raise SetupError("a certificate is valid for at least one day")
    if within is not None:
        first, last = within.certificate.not_valid_before_utc, within.certificate.not_valid_after_utc
        if not first <= now < last:
            raise SetupError(
                f"the authority that should sign is valid from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
            )
        start, end = max(start, first), min(end, last)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start.replace(microsecond=0))
        .not_valid_after(end.replace(microsecond=0))
        .add_extension(profile.basic_constraints(), critical=True)
        .add_extension(profile.usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    extended = profile.extended_usage()
    return builder if extended is None else builder.add_extension(extended, critical=False)


def _authority_names(builder: x509.CertificateBuilder, trust_domain: str) -> x509.CertificateBuilder:
    """X509-SVID section 3.1: a signing certificate's SPIFFE id is its trust domain, without a path."""
    uri = x509.UniformResourceIdentifier(f"spiffe://{require_trust_domain(trust_domain)}")
    return builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)


def _sign(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePublicKey
) -> x509.Certificate:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer)
    return builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256())


def _name(organisation: str, common: str) -> x509.Name:
    """For people to read only: identity is the URI, and a common name with no dot is never taken for a host.

    An X.520 name holds at most 64 characters, a trust domain may be longer.
    """
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )
