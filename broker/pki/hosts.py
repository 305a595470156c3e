"""The hosts a server certificate may name: DNS names and IP addresses, never a wildcard.

Owns reading them and holding DNS names against an authority's name constraints (RFC 5280 section 4.2.1.10)
before signing rather than at the first handshake.
"""

from __future__ import annotations

from ipaddress import ip_address

from cryptography import x509

from broker.errors import InvalidRequest, SetupError
from broker.pki.identity import require_trust_domain

Host = x509.DNSName | x509.IPAddress


def parse_host(text: str) -> Host:
    """A lower-case DNS name or an IP address as a SAN entry; raises `SetupError` for anything else."""
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        pass
    try:
        return x509.DNSName(require_trust_domain(text))
    except InvalidRequest as error:
        raise SetupError(f"{text!r} is neither a lower-case DNS name nor an IP address") from error


def dns_names(hosts: tuple[str, ...]) -> list[x509.DNSName]:
    """The DNS names among the hosts, each once, in order; addresses are left out."""
    parsed = [parse_host(host) for host in dict.fromkeys(hosts)]
    return [host for host in parsed if isinstance(host, x509.DNSName)]


def require_permitted(issuing: x509.Certificate, host: Host) -> None:
    """Raise `SetupError` unless the issuing certificate's name constraints permit the host."""
    if isinstance(host, x509.IPAddress):
        return
    constraints = issuing.extensions.get_extension_for_class(x509.NameConstraints).value
    permitted = [name.value for name in constraints.permitted_subtrees or () if isinstance(name, x509.DNSName)]
    if not any(host.value == name or host.value.endswith(f".{name}") for name in permitted):
        raise SetupError(
            f"this authority may not name the host {host.value}: "
            "it signs only for the hosts given to `broker certs init --host`"
        )


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """The DNS names and addresses in a certificate, as text; empty if it has none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return [*names.get_values_for_type(x509.DNSName), *addresses]
