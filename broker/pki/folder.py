"""Certificates and keys on disk: one folder, one layout, no key ever overwritten.

    ca.pem                       the root certificate: what every party is given to trust
    authority/issuing.pem        the issuing certificate        authority/issuing-key.pem   its key
    authority/root-key.pem       the root's key, unless it was put elsewhere when it was made
    <agency>-<system>/cert.pem   leaf, then issuing             <agency>-<system>/key.pem   its key
    <server>/cert.pem            likewise for a server          <server>/key.pem

A folder appears complete or not at all. Refused: to replace anything but a certificate by its own renewal, to
renew what this authority did not sign, and to sign with an authority key that others can read (`files` says
how keys are written).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from broker.errors import SetupError
from broker.pki import authority, profile
from broker.pki.authority import Authority, signed_by
from broker.pki.files import (
    certificates_pem,
    key_pem,
    make_folders,
    new_folder,
    read_authority_key,
    read_certificates,
    read_request_key,
    replace,
    write_new,
)
from broker.pki.hosts import hosts_of
from broker.pki.identity import SpiffeId, require_id, spiffe_id_of

SERVER = "broker"  # the name of the broker's own server certificate and of its folder


class CertificateFolder:
    """A folder of that layout; the object holds no key, each use reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ca = path / "ca.pem"
        self._authority = path / "authority"

    def exists(self) -> bool:
        """Whether an authority was set up here."""
        return self.ca.exists() or self._authority.exists()

    def init(
        self, trust_domain: str, now: datetime, hosts: tuple[str, ...] = (), root_key: Path | None = None
    ) -> None:
        """Make a root, an issuing authority, and the broker's own server certificate, good for `hosts` too.

        The root's key goes to `root_key` if given (a medium that is then taken away), else beside the issuing
        key. Raises `SetupError` if an authority or that file is already there.
        """
        if self.exists():
            raise SetupError(f"{self.path} already holds a certificate authority: choose another folder")
        root = authority.create_root(trust_domain, now)
        issuing = authority.create_issuing(root, now, hosts)
        make_folders(self.path)
        with new_folder(self._authority) as staged:
            write_new(staged / "issuing.pem", certificates_pem(issuing.certificate), 0o644)
            write_new(staged / "issuing-key.pem", key_pem(issuing.key), 0o600)
            write_new(root_key or staged / "root-key.pem", key_pem(root.key), 0o600)
        write_new(self.ca, certificates_pem(root.certificate), 0o644)
        self.issue_server(SERVER, now, hosts)

    def issuing(self) -> Authority:
        """Read the issuing authority; raises `SetupError` if it is missing, broken, or readable by others."""
        certificate = read_certificates(self._authority / "issuing.pem")[0]
        key = read_authority_key(self._authority / "issuing-key.pem")
        if key.public_key() != certificate.public_key():
            raise SetupError(f"{self._authority}: issuing-key.pem is not the key of issuing.pem")
        return Authority(certificate, key)

    def issue_client(
        self, agency: str, system: str, now: datetime, days: int | None = None, csr: Path | None = None
    ) -> Path:
        """Certify an agency's system in this trust domain and return its folder, `<agency>-<system>`.

        With `csr`, a PEM certificate signing request (RFC 2986), its public key is certified, nothing else
        in it is used, and no key is written: the private key stays with the agency.
        """
        issuing = self.issuing()
        identity = SpiffeId(issuing.trust_domain, agency, system)
        if csr is not None:
            leaf = authority.issue_client(issuing, identity, read_request_key(csr), now, days)
            return self._write(identity.folder, leaf, issuing, None)
        key = authority.new_key()
        leaf = authority.issue_client(issuing, identity, key.public_key(), now, days)
        return self._write(identity.folder, leaf, issuing, key)

    def issue_server(
        self, name: str, now: datetime, hosts: tuple[str, ...] = (), days: int | None = None
    ) -> Path:
        """Certify a server called `name`, good for the profile's hosts and `hosts`; returns its folder."""
        issuing = self.issuing()
        key = authority.new_key()
        leaf = authority.issue_server(issuing, require_id("server", name), key.public_key(), now, hosts, days)
        return self._write(name, leaf, issuing, key)

    def renew(self, name: str, now: datetime, days: int | None = None) -> Path:
        """Certify the key and names of `<name>/cert.pem` again, from `now` on; returns the folder.

        Raises `SetupError` unless this issuing authority signed the certificate that is there.
        """
        if Path(name).name != name:
            raise SetupError(f"{name!r} is not the name of a folder in {self.path}")
        issuing = self.issuing()
        file = self.path / name / "cert.pem"
        old = read_certificates(file)[0]
        key = old.public_key()
        kind = profile.recognise(old)
        if not signed_by(old, issuing.certificate) or not isinstance(key, ec.EllipticCurvePublicKey):
            raise SetupError(f"{file} was not issued by this authority: issue a new one")
        if kind == "client":
            leaf = authority.issue_client(issuing, spiffe_id_of(old), key, now, days)
        elif kind == "server":
            leaf = authority.issue_server(issuing, name, key, now, tuple(hosts_of(old)), days)
        else:
            raise SetupError(f"{file} is of no profile that is issued here today: issue a new one")
        replace(file, certificates_pem(leaf, issuing.certificate), 0o644)
        return file.parent

    def _write(
        self, name: str, leaf: x509.Certificate, issuing: Authority, key: ec.EllipticCurvePrivateKey | None
    ) -> Path:
        target = self.path / name
        with new_folder(target) as staged:
            write_new(staged / "cert.pem", certificates_pem(leaf, issuing.certificate), 0o644)
            if key is not None:
                write_new(staged / "key.pem", key_pem(key), 0o600)
        return target
