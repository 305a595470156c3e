"""The authority, its profiles, and files on disk."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.errors import InvalidRequest, SetupError
from broker.pki import authority, profile
from broker.pki.files import read_certificates
from broker.pki.folder import CertificateFolder
from broker.pki.identity import SpiffeId, key_digest, spiffe_id_of
from tests.pki.conftest import DOMAIN, NOW

ROOT = Path(profile.__file__).parents[2]


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The most careless umask there is."""
    before = os.umask(0)
    yield
    os.umask(before)


def tree(path: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.usefixtures("open_umask")
def test_a_key_is_private_from_its_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between creation and the final mode, with the bytes not yet synced, nobody else can open the file."""
    seen: list[int] = []
    fchmod = os.fchmod

    def watching(descriptor: int, mode: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", watching)
    CertificateFolder(tmp_path / "certs").init(DOMAIN, NOW)
    assert len(seen) == 6
    assert set(seen) == {0o600}


@pytest.mark.usefixtures("open_umask")
def test_keys_are_private_under_any_umask(tmp_path: Path) -> None:
    """Keys have mode 0600 in folders of mode 0700; nothing at all can be written by others."""
    folder = CertificateFolder(tmp_path / "state" / "certs")
    folder.init(DOMAIN, NOW, root_key=tmp_path / "root-key.pem")
    folder.issue_client("cfrs", "mdt", NOW)
    keys = [*tmp_path.rglob("*key.pem")]
    assert {key.name for key in keys} == {"root-key.pem", "issuing-key.pem", "key.pem"}
    for key in keys:
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert key.parent == tmp_path or stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert all(not file.stat().st_mode & 0o022 for file in tmp_path.rglob("*"))
    assert stat.S_IMODE(folder.ca.stat().st_mode) == 0o644


def test_the_root_key_can_be_kept_apart(tmp_path: Path) -> None:
    """With a place of its own the root's key is not in the folder, and issuing works without it."""
    root_key = tmp_path / "stick.pem"
    folder = CertificateFolder(tmp_path / "certs")
    folder.init(DOMAIN, NOW, root_key=root_key)
    root_key.unlink()
    assert not [*folder.path.rglob("root-key.pem")]
    assert folder.issue_client("cfrs", "mdt", NOW).name == "cfrs-mdt"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A second init or issue is refused and leaves every byte as it was, with no debris."""
    folder = CertificateFolder(tmp_path / "certs")
    folder.init(DOMAIN, NOW)
    folder.issue_client("cfrs", "mdt-a", NOW)
    before = tree(tmp_path)
    for again in (
        lambda: folder.init(DOMAIN, NOW),
        lambda: folder.issue_client("cfrs", "mdt-a", NOW),
        lambda: folder.issue_client("cfrs-mdt", "a", NOW),  # another system, the same folder name
        lambda: folder.issue_server("broker", NOW),
        lambda: CertificateFolder(tmp_path / "new").init(DOMAIN, NOW, root_key=folder.ca),
    ):
        with pytest.raises(SetupError, match="already"):
            again()
    assert tree(tmp_path) == before


def test_a_key_is_not_written_through_a_link(tmp_path: Path) -> None:
    """A link planted where the root's key goes, even a dangling one, is refused."""
    (tmp_path / "stick.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SetupError, match="never overwritten"):
        CertificateFolder(tmp_path / "certs").init(DOMAIN, NOW, root_key=tmp_path / "stick.pem")
    assert not (tmp_path / "elsewhere").exists()


def test_an_authority_key_that_others_can_read_does_not_sign(tmp_path: Path) -> None:
    """A loosened issuing key is refused until someone looks at it."""
    folder = CertificateFolder(tmp_path / "certs")
    folder.init(DOMAIN, NOW)
    (folder.path / "authority" / "issuing-key.pem").chmod(0o640)
    with pytest.raises(SetupError, match="chmod 600"):
        folder.issue_client("cfrs", "mdt", NOW)


@pytest.mark.parametrize(("name", "purpose"), [("cfrs-mdt", "sslclient"), ("live", "sslserver")])
def test_openssl_accepts_the_chain_strictly(certs: Path, name: str, purpose: str) -> None:
    """OpenSSL's strict RFC 5280 checks pass for the purpose of the profile, and fail for the other."""
    file = certs / name / "cert.pem"

    def verify(purpose: str) -> int:
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose]
        command += ["-CAfile", str(certs / "ca.pem"), "-untrusted", str(file), str(file)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert verify(purpose) == 0
    assert verify({"sslclient": "sslserver", "sslserver": "sslclient"}[purpose]) != 0


def test_a_leaf_is_an_svid(certs: Path) -> None:
    """X509-SVID: one URI name, no authority, only digitalSignature, critical; the chain follows."""
    leaf, issuing = read_certificates(certs / "cfrs-mdt" / "cert.pem")
    assert spiffe_id_of(leaf) == SpiffeId(DOMAIN, "cfrs", "mdt")
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value == profile.load("client").usage()
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert [profile.recognise(each) for each in (leaf, issuing)] == ["client", "issuing"]
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    assert leaf.not_valid_after_utc - NOW <= timedelta(days=90)


def test_the_authority_cannot_make_another(certs: Path) -> None:
    """Root and issuing authority carry path lengths 1 and 0."""
    files = (certs / "ca.pem", certs / "authority" / "issuing.pem")
    chain = [read_certificates(file)[0] for file in files]
    found = [each.extensions.get_extension_for_class(x509.BasicConstraints).value for each in chain]
    assert [each.path_length for each in found] == [1, 0]


def test_a_leaf_never_outlives_its_authority(certs: Path) -> None:
    """A longer validity is cut at the issuing authority's end, and after that nothing is issued."""
    issuing = CertificateFolder(certs).issuing()
    last = issuing.certificate.not_valid_after_utc
    identity = SpiffeId(DOMAIN, "cfrs", "mdt")
    key = authority.new_key().public_key()
    leaf = authority.issue_client(issuing, identity, key, last - timedelta(days=5))
    assert leaf.not_valid_after_utc == last
    with pytest.raises(SetupError, match="valid from"):
        authority.issue_client(issuing, identity, key, last)


def test_names_outside_the_authority_are_not_signed(certs: Path) -> None:
    """Another trust domain, an unpermitted host, a wildcard and a malformed id are refused before signing."""
    folder = CertificateFolder(certs)
    issuing, key = folder.issuing(), authority.new_key().public_key()
    with pytest.raises(SetupError, match=r"not for evil\.test"):
        authority.issue_client(issuing, SpiffeId("evil.test", "cfrs", "mdt"), key, NOW)
    for host in ("bank.example", "notblue-light.test", "*.blue-light.test", "LOCALHOST"):
        with pytest.raises(SetupError):
            authority.issue_server(issuing, "s", key, NOW, (host,))
    for agency in ("../x", "Cfrs", ""):
        with pytest.raises(InvalidRequest):
            folder.issue_client(agency, "mdt", NOW)
    with pytest.raises(SetupError, match="P-256"):
        authority.issue_server(issuing, "s", ec.generate_private_key(ec.SECP384R1()).public_key(), NOW)


def test_a_request_is_certified_without_its_key_or_its_wishes(tmp_path: Path, certs: Path) -> None:
    """From a signing request only the key is taken: names and extensions it asks for do not appear."""
    key = authority.new_key()
    wanted = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("spiffe://blue-light.test/agency/a/system/b")]
    )
    request = (
        x509.CertificateSigningRequestBuilder(x509.Name([]))
        .add_extension(wanted, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "request.pem"
    file.write_bytes(request.public_bytes(Encoding.PEM))
    target = CertificateFolder(certs).issue_client("nwas", "cad", NOW, csr=file)
    leaf = read_certificates(target / "cert.pem")[0]
    assert [entry.name for entry in target.iterdir()] == ["cert.pem"]
    assert str(spiffe_id_of(leaf)) == "spiffe://blue-light.test/agency/nwas/system/cad"
    assert profile.recognise(leaf) == "client"
    assert key_digest(leaf) == key_digest(request) == key_digest(key.public_key())


def test_a_request_for_a_key_one_does_not_have_is_refused(tmp_path: Path, certs: Path) -> None:
    """A request not signed by the key it names, or of another kind of key, is certified for nobody."""
    mine, theirs = authority.new_key(), authority.new_key().public_key()
    signed = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(mine, hashes.SHA256())
    encodings = [
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in (mine.public_key(), theirs)
    ]
    forged = signed.public_bytes(Encoding.DER).replace(*encodings)
    other = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(
        ed25519.Ed25519PrivateKey.generate(), None
    )
    file = tmp_path / "request.pem"
    for request in (x509.load_der_x509_csr(forged), other):
        file.write_bytes(request.public_bytes(Encoding.PEM))
        with pytest.raises(SetupError, match="not signed by the P-256 key"):
            CertificateFolder(certs).issue_client("nwas", "forged", NOW, csr=file)
    file.write_text("hello")
    with pytest.raises(SetupError, match="not a readable"):
        CertificateFolder(certs).issue_client("nwas", "forged", NOW, csr=file)
    assert not (certs / "nwas-forged").exists()


def test_a_renewal_keeps_key_and_names(tmp_path: Path, others: Path) -> None:
    """Renewing changes dates and serial only; another authority's certificate is not renewed."""
    folder = CertificateFolder(tmp_path / "certs")
    folder.init(DOMAIN, NOW, ("broker.example.nhs.uk", "10.0.0.7"))
    folder.issue_client("cfrs", "mdt", NOW)
    for name in ("cfrs-mdt", "broker"):
        file, key = folder.path / name / "cert.pem", (folder.path / name / "key.pem").read_bytes()
        old = read_certificates(file)[0]
        folder.renew(name, NOW + timedelta(days=60))
        new = read_certificates(file)[0]
        assert new.not_valid_after_utc == old.not_valid_after_utc + timedelta(days=60)
        assert new.serial_number != old.serial_number
        assert key_digest(new) == key_digest(old)
        assert (folder.path / name / "key.pem").read_bytes() == key
        names = [
            each.extensions.get_extension_for_class(x509.SubjectAlternativeName).value for each in (old, new)
        ]
        assert set(names[0]) == set(names[1])
    (folder.path / "broker" / "cert.pem").write_bytes((others / "live" / "cert.pem").read_bytes())
    for name in ("broker", "../certs/broker"):
        with pytest.raises(SetupError):
            folder.renew(name, NOW)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("days = 90", "days = 0"),
        ("days = 90", "dayz = 90"),
        ("authority = false", "authority = true"),
        ('"digital_signature"', '"digital_signature", "key_cert_sign"'),
        ('"client_auth"', '"clientauth"'),
        ("authority = false", ""),
        ("authority = false", "authority = 0"),
    ],
)
def test_a_misspelt_profile_is_refused(old: str, new: str) -> None:
    """A profile with an unknown key or word, or that contradicts itself, is no profile."""
    text = (ROOT / "broker/profiles/client.toml").read_text()
    assert profile.parse("client", text) == profile.load("client")
    assert old in text
    with pytest.raises(SetupError, match=r"^certificate profile client: "):
        profile.parse("client", text.replace(old, new))


def test_the_profiles_folder_shows_what_is_used() -> None:
    """`certs/profiles` is the packaged folder itself, and there is no key beside it."""
    assert (ROOT / "certs" / "profiles").resolve() == ROOT / "broker" / "profiles"
    assert not [*(ROOT / "certs").rglob("*.pem")]
    assert {file.stem for file in (ROOT / "broker" / "profiles").iterdir()} == set(profile.NAMES)
