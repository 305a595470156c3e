"""Signing keys and signatures between the wire and our types, both ways."""

from __future__ import annotations

from datetime import date

from broker.core import statement
from broker.core.signature import ALGORITHM, Paper, Signature
from broker.core.signingkey import Endorsement, SigningKey
from broker.errors import IntegrityError, InvalidRequest
from broker.rpc import parse
from broker.v1 import agreement_pb2, directory_pb2


def signature(message: agreement_pb2.AgreementSignature, field: str) -> Signature:
    """A party's signature, well formed; whether it counts is for the use case."""
    if message.algorithm != ALGORITHM:
        raise InvalidRequest(f"{field}.algorithm", f"must be {ALGORITHM}")
    try:
        return Signature(
            agency=message.agency,
            key_id=message.key_id,
            digest=message.digest,
            signed_at=statement.day(message.signed_at, "signed_at"),
            signatory=message.signatory,
            role=message.role,
            signature=message.signature,
            paper=_paper(message.paper) if message.HasField("paper") else None,
        )
    except IntegrityError as e:
        raise InvalidRequest(field, str(e)) from None


def _paper(message: agreement_pb2.PaperSignature) -> Paper:
    attested_at = statement.day(message.attested_at, "attested_at")
    return Paper(message.sha256, attested_at, message.delegation, message.gateway_reference)


def signature_message(of: Signature) -> agreement_pb2.AgreementSignature:
    """A party's signature as it is listed."""
    return agreement_pb2.AgreementSignature(
        agency=of.agency,
        key_id=of.key_id,
        algorithm=ALGORITHM,
        digest=of.digest,
        signature=of.signature,
        signed_at=of.signed_at.isoformat(),
        signatory=of.signatory,
        role=of.role,
        paper=agreement_pb2.PaperSignature(
            sha256=of.paper.sha256,
            delegation=of.paper.delegation,
            gateway_reference=of.paper.gateway_reference,
            attested_at=of.paper.attested_at.isoformat(),
        )
        if of.paper
        else None,
    )


def signing_key(request: directory_pb2.EnrolAgencyKeyRequest, today: date) -> SigningKey:
    """The key that is to be enrolled, from today where no day is given."""
    agency = parse.agency_id("agency", request.agency)
    try:
        valid_from = statement.day(request.valid_from, "valid_from") if request.valid_from else today
        valid_until = statement.day(request.valid_until, "valid_until") if request.valid_until else None
        key = SigningKey(agency, request.public_key, valid_from, valid_until)
    except IntegrityError as e:
        raise InvalidRequest("public_key", str(e)) from None
    if valid_until is not None and valid_until < today:
        raise InvalidRequest("valid_until", "is past: the key would never count")
    return key


def endorsement(request: directory_pb2.EnrolAgencyKeyRequest, key: SigningKey) -> Endorsement | None:
    """The word of an older key for `key`, None where the request brings none."""
    if not request.HasField("endorsement"):
        return None
    if not request.valid_from:
        raise InvalidRequest("valid_from", "is required: an endorsement is for the days it names")
    given = request.endorsement
    return Endorsement(key.agency, given.key_id, key.public, key.valid_from, key.valid_until, given.signature)


def key_message(of: SigningKey, today: date) -> directory_pb2.AgencyKey:
    """A key as it is listed."""
    return directory_pb2.AgencyKey(
        agency=of.agency,
        key_id=of.id,
        public_key=of.public,
        valid_from=of.valid_from.isoformat(),
        valid_until=of.valid_until.isoformat() if of.valid_until else "",
        status=of.status(today),
    )
