"""What a human decides on somebody's request, as decisions read it: keys, and the provider's signed word.

A grant that lets a request through can carry a statement of the provider agency, signed by its own key, so that
the agency's adapter need not take the broker's word for it (Ed25519, RFC 8032):

    "bluelight-broker/grant/v1" 00 | the statement: canonical JSON (RFC 8785)

Owns the statement's keys and the digest that stands in it for the subject. Refused: a statement that is not
exactly what is asked, another agency's, one by another key, and one that has run out.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.core import canonical
from broker.core.canonical import Json
from broker.core.model import Grant, OneOff, Request, Signed, Stand
from broker.core.signingkey import SigningKey, holds, key_id
from broker.errors import IntegrityError

FORMAT = b"bluelight-broker/grant/v1\x00"
MAX_STATEMENT = 64 * 1024
# What an override can be restricted by: who asks, in which role, from which system (a site's own).
RESTRICTABLE = ("actor", "role", "system")


def ruling_key(system: str, request: str) -> str:
    """Key of what a human decided on a request; `system` is `agency/system`."""
    return f"referral:{system}|{request}"


def override_key(system: str, what: str, who: str) -> str:
    """Key of restrictions of overrides by somebody; `system` is the `agency/system` that they asked with."""
    return f"override:{system.partition('/')[0]}|{what}|{who}"


def restricted_by(key: str, provider: str) -> str:
    """One provider's part of what stands under such a key: who holds the record is not known as it is read."""
    return f"{key}|{provider}"


def override_keys(request: Request) -> dict[str, str]:
    """Under which keys overrides by this request's actor may be restricted, and what each is of."""
    by = (request.actor.id, request.actor.role, request.system)
    return {override_key(request.caller, what, who): what for what, who in zip(RESTRICTABLE, by, strict=True)}


def about(referral: str, scheme: str, value: str, traits: dict[str, str] | None) -> str:
    """Stands for whom a request is about, in a statement: hex SHA-256, salted with the referral's id.

    `traits` are those that were given, none empty; without traits, scheme and value.
    """
    who: dict[str, Json] = {"scheme": scheme, "value": value}
    if traits is not None:
        who = {"traits": dict(traits)}
    return hashlib.sha256(canonical.encode({"referral": referral, **who})).hexdigest()


def traits_given(query: object) -> dict[str, str] | None:
    """The traits of a query that say something, as texts; None where there is no query."""
    if query is None:
        return None
    names = (
        *("family_name", "given_name", "birth_date", "approximate_age", "sex", "address_line", "postcode"),
        "phone",
    )
    return {name: str(value) for name in names if (value := getattr(query, name)) not in ("", 0)}


def statement(
    request: Request,
    referral: str,
    agreement: str,
    permitted: tuple[str, ...],
    until: datetime,
    one_off: OneOff | None,
) -> bytes:
    """What the provider agency says when it grants: exactly this request, these fields, until then.

    `agreement` is `id/version`, or the id of the one-off with version 1.
    """
    subject = request.subject
    said: dict[str, Json] = {
        "agency": request.provider,
        "referral": referral,
        "requester": request.requester,
        "record_type": request.record_type,
        "purpose": request.purpose,
        "actor": request.actor.id,
        "role": request.actor.role,
        "about": about(
            referral,
            subject.scheme if subject else "",
            subject.value if subject else "",
            traits_given(request.query),
        ),
        "agreement": agreement,
        "permitted": [*sorted(permitted)],
        "until": until.isoformat(),
        "law": _codes(one_off) if one_off is not None else None,
    }
    return canonical.encode(said)


def grant_detail(grant: Grant) -> dict[str, Json]:
    """What is stored of a decision on a referral, sealed: all of it but its ids and its outcome."""
    signed = grant.signed
    return {
        "permitted": [*grant.permitted],
        "until": grant.until.isoformat(),
        "law": law_detail(grant.one_off) if grant.one_off else None,
        "signed": {
            "statement": signed.statement.decode(),
            "key_id": signed.key_id,
            "signature": signed.signature.hex(),
        }
        if signed
        else None,
    }


def grant_from(
    referral: str, request: str, detail: dict[str, Any], provider: str = "", *, granted: bool
) -> Grant:
    """The way back from `grant_detail`."""
    law, signed = detail["law"], detail["signed"]
    return Grant(
        referral,
        tuple(detail["permitted"]),
        datetime.fromisoformat(detail["until"]),
        granted,
        request,
        law_from(law) if law else None,
        Signed(signed["statement"].encode(), signed["key_id"], bytes.fromhex(signed["signature"]))
        if signed
        else None,
        provider,
    )


def sign_grant(statement: bytes, key: Ed25519PrivateKey) -> Signed:
    """The agency's word."""
    return Signed(statement, key_id(key.public_key().public_bytes_raw()), key.sign(FORMAT + statement))


def check_signed_grant(signed: Signed, key: SigningKey | None) -> dict[str, Json]:
    """What a signed statement says. Raises IntegrityError where `key` is not the one that signed it."""
    if key is None or key.id != signed.key_id:
        raise IntegrityError("grant: signed with a key that does not count for this agency")
    if len(signed.statement) > MAX_STATEMENT or not holds(
        key.public, signed.signature, FORMAT + signed.statement
    ):
        raise IntegrityError("grant: the signature does not verify")
    said = canonical.decode_object(signed.statement, limit=MAX_STATEMENT)
    if said.get("agency") != key.agency:
        raise IntegrityError("grant: of another agency")
    return said


def law_detail(law: OneOff) -> dict[str, Json]:
    """The law of a one-off as it is stored; fields stand with their numbers."""
    return {
        **_codes(law),
        "pins": [{"path": path, "numbers": [*numbers]} for path, numbers in law.pins],
    }


def law_from(detail: dict[str, Any]) -> OneOff:
    """The way back from `law_detail`."""
    return OneOff(
        requester=Stand(**detail["requester"]),
        provider=Stand(**detail["provider"]),
        **{name: detail[name] for name in _CODES},
        pins=tuple((each["path"], tuple(each["numbers"])) for each in detail["pins"]),
    )


def _codes(law: OneOff) -> dict[str, Json]:
    sides: dict[str, Json] = {side: _side(getattr(law, side)) for side in ("requester", "provider")}
    return {**sides, **{name: getattr(law, name) for name in _CODES}}


_CODES = ("gateway", "confidentiality", "justification", "further_use_law")


def _side(stand: Stand) -> dict[str, Json]:
    return {name: getattr(stand, name) for name in Stand.__struct_fields__}
