"""SPIFFE ids and key digests."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidRequest
from broker.pki import authority
from broker.pki.files import read_certificates
from broker.pki.identity import SpiffeId, key_digest, server_uri, spiffe_id_of
from tests.pki.conftest import DOMAIN, NOW

GOOD = "spiffe://blue-light.test/agency/cfrs/system/mdt"
label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(domain=st.lists(label, min_size=1, max_size=4).map(".".join), agency=label, system=label)
def test_every_id_survives_its_own_spelling(domain: str, agency: str, system: str) -> None:
    """What is written is read back as the same id."""
    identity = SpiffeId(domain, agency, system)
    assert SpiffeId.parse(str(identity)) == identity


@given(
    st.text(max_size=60)
    | st.builds(lambda a, b: f"spiffe://blue-light.test/agency/{a}/system/{b}", st.text(), st.text())
)
def test_what_is_accepted_has_one_spelling(text: str) -> None:
    """Any text is refused, or is exactly the spelling of the id it gives."""
    try:
        identity = SpiffeId.parse(text)
    except InvalidRequest:
        return
    assert str(identity) == text
    assert text.isascii()
    assert text == text.lower()


@given(place=st.integers(0, len(GOOD)), char=st.sampled_from("/?#@:%.AÄ \n\t\x00_~+й\\"))
def test_no_character_can_be_slipped_in(place: int, char: str) -> None:
    """A foreign character anywhere makes it no id, or (a dot or slash) one with another trust domain."""
    text = GOOD[:place] + char + GOOD[place:]
    try:
        identity = SpiffeId.parse(text)
    except InvalidRequest:
        return
    assert char == "."
    assert identity.trust_domain != DOMAIN


@pytest.mark.parametrize(
    "text",
    [
        GOOD + "/",
        GOOD + "\n",
        GOOD + "?x=1",
        GOOD + "#x",
        GOOD.upper(),
        GOOD.replace("spiffe", "SPIFFE"),
        GOOD.replace("blue-light.test", "blue-light.test:443"),
        GOOD.replace("blue-light.test", "me@blue-light.test"),
        GOOD.replace("blue-light.test", "Blue-Light.test"),
        GOOD.replace("blue-light.test", "blue-light.test."),
        GOOD.replace("blue-light.test", ""),
        GOOD.replace("cfrs", "c%66rs"),
        GOOD.replace("cfrs", ""),
        GOOD.replace("cfrs", ".."),
        GOOD.replace("cfrs", "-cfrs"),
        GOOD.replace("cfrs", "cfrs-"),
        GOOD.replace("cfrs", "c" * 64),
        GOOD.replace("/agency", "//agency"),
        GOOD.replace("/system/mdt", ""),
        GOOD.replace("spiffe", "https"),
        " " + GOOD,
        "spiffe://blue-light.test",
        "",
        server_uri(DOMAIN, "broker"),
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    """Everything the standard forbids, every other path and every second spelling is refused."""
    with pytest.raises(InvalidRequest):
        SpiffeId.parse(text)


def test_the_part_at_fault_is_named() -> None:
    """The error says which part is wrong and repeats no value."""
    with pytest.raises(InvalidRequest, match=r"^agency: ") as caught:
        SpiffeId(DOMAIN, "Secret Name", "mdt")
    assert "Secret" not in str(caught.value)


def test_key_digest_is_what_openssl_says(certs: Path) -> None:
    """The digest of certificate and bare key is SHA-256 of the DER public key as OpenSSL writes it."""
    file = certs / "cfrs-mdt" / "cert.pem"
    pem = subprocess.run(
        ["openssl", "x509", "-in", file, "-noout", "-pubkey"], capture_output=True, check=True
    ).stdout
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, capture_output=True, check=True
    ).stdout
    leaf = read_certificates(file)[0]
    assert key_digest(leaf) == key_digest(leaf.public_key()) == hashlib.sha256(der).hexdigest()


def test_a_certificate_with_two_uris_names_nobody() -> None:
    """X509-SVID: exactly one URI; a second one makes the certificate unusable, not ambiguous."""
    uris = [x509.UniformResourceIdentifier(GOOD), x509.UniformResourceIdentifier(GOOD.replace("mdt", "cad"))]
    for names in ([], uris):
        with pytest.raises(InvalidRequest):
            spiffe_id_of(self_signed([*names, x509.DNSName("localhost")]))
    assert spiffe_id_of(self_signed(uris[:1])) == SpiffeId(DOMAIN, "cfrs", "mdt")


def self_signed(names: Sequence[x509.GeneralName]) -> x509.Certificate:
    """A certificate with exactly these names."""
    key = authority.new_key()
    name = x509.Name([])
    return (
        x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(key, hashes.SHA256())
    )
