"""A time stamp over a checkpoint (RFC 3161): what is asked for, and whether what comes back holds.

Owns the verification. Refuses a response over other bytes, to another question, of an authority that is not
among those believed, and whatever cannot be read. No I/O: whoever has the files can check them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from broker.anchor.order import in_order
from broker.errors import IntegrityError

MAX_RESPONSE = 64 * 1024
_GRANTED = 0
# What comes of a certificate or a stamp that is none: `cryptography` has names of its own for some of it.
_UNSOUND = (
    VerificationError,
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_HASHES = {
    "sha256": x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1"),
    "sha384": x509.ObjectIdentifier("2.16.840.1.101.3.4.2.2"),
    "sha512": x509.ObjectIdentifier("2.16.840.1.101.3.4.2.3"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """A request for a time stamp over `data`, as DER, and the nonce that the answer must repeat."""

    data: bytes
    der: bytes
    nonce: int | None


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a response proves: its bytes existed at `at`, as `authority` (its certificate's name) says."""

    at: datetime
    authority: str


def certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The roots believed, whatever authorities they vouch for. Raises IntegrityError."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as e:
        raise IntegrityError("time stamp: not a file of certificates (PEM)") from e


def ask(data: bytes) -> Question:
    """The request for a time stamp over the SHA-256 of these bytes."""
    made = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    return Question(data, made.as_bytes(), made.nonce)


def verify(
    response: bytes, data: bytes, believed: Sequence[x509.Certificate], nonce: int | None = None
) -> Stamp:
    """Check a whole response over `data`. Raises IntegrityError, which begins with `time stamp`."""
    decoded = _decode(response)
    if decoded.status != _GRANTED:
        raise IntegrityError(f"time stamp: it was not granted (status {decoded.status})")
    if not believed:
        raise IntegrityError("time stamp: no certificate of an authority was given")
    builder = VerifierBuilder()
    for each in dict.fromkeys(believed):
        builder = builder.add_root_certificate(each)
    if nonce is not None:
        builder = builder.nonce(nonce)
    try:
        builder.build().verify_message(decoded, data)
    except _UNSOUND as e:
        raise IntegrityError(f"time stamp: {_said(str(e))}") from e
    return Stamp(_utc(decoded.tst_info.gen_time), _signer(decoded))


def over(response: bytes, data: bytes) -> datetime:
    """The time that a response states of `data`, whoever signed it. Raises IntegrityError: it is of others."""
    decoded = _decode(response)
    if decoded.status != _GRANTED:
        raise IntegrityError(f"time stamp: it was not granted (status {decoded.status})")
    try:
        imprint, at = decoded.tst_info.message_imprint, decoded.tst_info.gen_time
    except ValueError as e:
        raise IntegrityError("time stamp: it cannot be read") from e
    hashed = {each.dotted_string: name for name, each in _HASHES.items()}.get(
        imprint.hash_algorithm.dotted_string
    )
    if hashed is None or hashlib.new(hashed, data).digest() != imprint.message:
        raise IntegrityError("time stamp: it is over other bytes")
    return _utc(at)


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _decode(response: bytes) -> TimeStampResponse:
    if len(response) > MAX_RESPONSE:
        raise IntegrityError(f"time stamp: more than {MAX_RESPONSE} bytes")
    try:
        return decode_timestamp_response(in_order(response))
    except ValueError as e:
        raise IntegrityError("time stamp: this is no time-stamp response (RFC 3161)") from e


def _said(problem: str) -> str:
    """The library's words for what an authority did, in ours."""
    if problem.startswith("Error while verifying certificates"):
        return "its signature is not that of an authority whose root was given"
    return {
        "Mismatch between messages": "it is over other bytes",
        "Nonce mismatch": "it answers another question",
    }.get(problem, problem)


def _signer(response: TimeStampResponse) -> str:
    """The name of the certificate that signed."""
    signer = next(iter(response.signed_data.signer_infos))
    for der in response.signed_data.certificates:
        try:
            certificate = x509.load_der_x509_certificate(der)
        except _UNSOUND:  # beside the one that counts anything may stand there
            continue
        if certificate.issuer == signer.issuer and certificate.serial_number == signer.serial_number:
            return certificate.subject.rfc4514_string()
    return signer.issuer.rfc4514_string()
